"""What a head size costs: attention by head size and backend, and the two batched products of unfused attention alone.

    relative = time / time on the straight line between the nearest head sizes that fit (`ANCHORS`; of products the multiples of 16)

A head size below the least anchor is compared with that. Head sizes in elements, times in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .kernel_names import families
from .misalignment import alignment_of
from .runs import Row

#: Head sizes that kernels are written for.
ANCHORS = (16, 32, 64, 128, 192, 256)
PRODUCT_STEP = 16
#: Largest alignment told apart here.
MAX_ALIGNMENT = 16
SCORES, VALUES = "scores product", "values product"
PASSES = (
    "unfused", "unfused backward", "sdpa", "sdpa backward", "flash", "flash backward", "efficient", "cudnn", SCORES, VALUES
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPoint:
    """One head size of one pass (`PASSES`)."""

    pass_name: str
    head_dim: int
    time_s: float
    relative: float
    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLine:
    """A product by the alignment of its head size (at most 16): median, least and largest of `relative`."""

    pass_name: str
    alignment: int
    num_points: int
    relative: float
    low: float
    high: float
    kernels: str


def head_points(rows: Iterable[Row]) -> list[HeadPoint]:
    """Every head size of every pass in `rows` (measured ones), in order."""
    times: dict[str, dict[int, tuple[float, str]]] = {}
    for row in rows:
        name, size = _pass_of(row)
        if name:
            times.setdefault(name, {})[size] = (row["time_s"], row.get("kernel", ""))
    return [point for name in PASSES for point in _points(name, times.get(name, {}))]


def _pass_of(row: Row) -> tuple[str, int]:
    """Which pass a row is of, and its head size; "" for what is none."""
    if row["kind"] == "attention":
        return f"{row['backend']}{' backward' if row['is_backward'] else ''}", row["head_dim"]
    if row["kind"] == "gemm" and row["call"] == "bmm":
        return (SCORES, row["k"]) if row["layout"] == "NT" else (VALUES, row["n"])
    return "", 0


def _points(name: str, times: dict[int, tuple[float, str]]) -> list[HeadPoint]:
    sizes = sorted(times)
    anchors = [size for size in sizes if (size % PRODUCT_STEP == 0 if name in (SCORES, VALUES) else size in ANCHORS)]
    if not anchors:
        return []
    line = np.interp(sizes, anchors, [times[size][0] for size in anchors])
    return [
        HeadPoint(pass_name=name, head_dim=size, time_s=times[size][0], relative=times[size][0] / float(on_line), kernel=times[size][1])
        for size, on_line in zip(sizes, line, strict=True)
    ]


def head_lines(points: Sequence[HeadPoint]) -> list[HeadLine]:
    """The two products by alignment of the head size."""
    lines = []
    for name in (SCORES, VALUES):
        for alignment in (1, 2, 4, 8, 16):
            own = [p for p in points if p.pass_name == name and min(MAX_ALIGNMENT, alignment_of(p.head_dim)) == alignment]
            if own:
                ratios = [p.relative for p in own]
                lines.append(
                    HeadLine(
                        pass_name=name, alignment=alignment, num_points=len(own), relative=float(np.median(ratios)), low=min(ratios),
                        high=max(ratios), kernels=families(p.kernel for p in own),
                    )
                )  # fmt: skip
    return lines
