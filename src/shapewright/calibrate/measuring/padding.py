"""When Inductor pads a product by itself: the same product eager and through `torch.compile`, their times and their kernels.

A compiled product is padded where Inductor runs a kernel of its own beside the library's: a plain product needs none. Times in seconds,
`ratio` = compiled / eager. Alignment: the largest power of two, at most 64, that divides a size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernel_names import families, family, is_triton, kernels_of
from .misalignment import DIMENSIONS, STEP, alignment_of
from .runs import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedPoint:
    """One product in both runtimes. `dimensions` are those that are no multiple of 64, `alignment` the worst of theirs."""

    dtype: str
    layout: str
    m: int
    n: int
    k: int
    dimensions: str
    alignment: int
    eager_s: float
    compiled_s: float
    ratio: float
    is_padded: bool
    added_kernels: str
    eager_kernel: str
    compiled_kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedLine:
    """Products with one misaligned dimension, by layout, dimension and alignment. `padded_ratio`: median of the padded ones' ratios."""

    layout: str
    dimension: str
    alignment: int
    num_points: int
    num_padded: int
    ratio: float
    padded_ratio: float | None
    eager_kernels: str
    compiled_kernels: str


def padded_points(rows: Iterable[Row]) -> list[PaddedPoint]:
    """Every product that `rows` (measured ones) hold in both runtimes."""
    products: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        if row["kind"] == "gemm" and row["call"] == "mm":
            key = row["dtype"], row["layout"], row["m"], row["n"], row["k"]
            products.setdefault(key, {})[row["runtime"]] = row
    both = [each for each in products.values() if {"eager", "compiled"} <= each.keys()]
    return [_point(each["eager"], each["compiled"]) for each in both]


def _point(eager: Row, compiled: Row) -> PaddedPoint:
    off = [name for name in DIMENSIONS if eager[name] % STEP]
    added = [name for name in kernels_of(compiled.get("kernel", "")) if is_triton(name)]
    return PaddedPoint(
        dtype=eager["dtype"], layout=eager["layout"], m=eager["m"], n=eager["n"], k=eager["k"], dimensions=" and ".join(off),
        alignment=min((alignment_of(eager[name]) for name in off), default=STEP), eager_s=eager["time_s"], compiled_s=compiled["time_s"],
        ratio=compiled["time_s"] / eager["time_s"], is_padded=bool(added), added_kernels=" + ".join(added),
        eager_kernel=family(eager.get("kernel", "")), compiled_kernel=family(compiled.get("kernel", "")),
    )  # fmt: skip


def padded_lines(points: Iterable[PaddedPoint]) -> list[PaddedLine]:
    """Points with one misaligned dimension, gathered."""
    groups: dict[tuple[str, str, int], list[PaddedPoint]] = {}
    for point in points:
        if point.dimensions in DIMENSIONS:
            groups.setdefault((point.layout, point.dimensions, point.alignment), []).append(point)
    lines = []
    for (layout, dimension, alignment), group in groups.items():
        padded = [point.ratio for point in group if point.is_padded]
        lines.append(
            PaddedLine(
                layout=layout, dimension=dimension, alignment=alignment, num_points=len(group), num_padded=len(padded),
                ratio=float(np.median([point.ratio for point in group])), padded_ratio=float(np.median(padded)) if padded else None,
                eager_kernels=families(point.eager_kernel for point in group),
                compiled_kernels=families(point.compiled_kernel for point in group),
            )
        )  # fmt: skip
    return sorted(lines, key=lambda line: (("NT", "NN", "TN").index(line.layout), DIMENSIONS.index(line.dimension), line.alignment))
