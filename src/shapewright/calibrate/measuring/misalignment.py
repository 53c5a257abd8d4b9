"""The misalignment map: what a product costs as one dimension leaves the multiples of 64, from sweeps of neighbouring sizes.

    relative = (time / size) / (time / size of the nearest multiple of 64)         time a FLOP: 1 where alignment costs nothing
    padded   = time / time of the next multiple of 64                              above 1 padding by hand would be faster

A sweep is a run of at least `MIN_SIZES` sizes of one dimension, everything else being equal and the other two dimensions multiples of 64.
The alignment of a size is the largest power of two, at most 64, that divides it. Sizes in elements, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from .kernel_names import families
from .runs import Row

T = TypeVar("T")
STEP = 64
#: Sizes that make a sweep; fp8 has 17, in steps of 16.
MIN_SIZES = 16
#: A dimension counts as aligned enough where its products are no slower than this in the median.
TOLERANCE = 1.05
DIMENSIONS = ("m", "n", "k")
DTYPES, LAYOUTS = ("bf16", "fp16", "fp8"), ("NT", "NN", "TN")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """One product of a sweep. `sweep` names the size at its upper end: "4096 x 4096 x 4096" (m, n, k)."""

    dtype: str
    layout: str
    dimension: str
    sweep: str
    m: int
    n: int
    k: int
    residue: int
    alignment: int
    time_s: float
    relative: float
    padded: float | None
    kernel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLine:
    """Sizes of one alignment of one dimension: `relative` is the median of all, `low` and `high` the medians of the sweeps."""

    dtype: str
    layout: str
    dimension: str
    alignment: int
    num_points: int
    relative: float
    low: float
    high: float
    padded: float | None
    kernels: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The alignment from which on a dimension costs nothing more (medians within `TOLERANCE`), and the slowest sweep's median below it.

    `worst` is 1 where every alignment that was measured is as good as another.
    """

    dtype: str
    layout: str
    dimension: str
    alignment: int
    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """Two dimensions off at once: time over that of the worse one alone (per FLOP), over the sizes where either is misaligned."""

    dtype: str
    layout: str
    dimensions: str
    num_points: int
    ratio: float
    low: float
    high: float


def misalignment_map(rows: Iterable[Row]) -> list[MapPoint]:
    """The products of every sweep in `rows` (measured eager products), ordered by dtype, layout, dimension, sweep and size."""
    products = _products(rows)
    found = []
    for dimension in DIMENSIONS:
        fixed = [name for name in DIMENSIONS if name != dimension]
        candidates = [row for row in products if all(row[name] % STEP == 0 for name in fixed)]
        for sweep in _grouped(candidates, lambda row, fixed=fixed: (row["dtype"], row["layout"], *(row[name] for name in fixed))):
            if len({row[dimension] for row in sweep}) >= MIN_SIZES:
                found += _sweep_points(sweep, dimension)
    return sorted(found, key=_order)


def _sweep_points(sweep: Sequence[Row], dimension: str) -> list[MapPoint]:
    """The products of one sweep beside its multiples of 64; without one of those there is nothing to compare with."""
    rows = sorted(sweep, key=lambda row: row[dimension])
    aligned = {row[dimension]: row["time_s"] for row in rows if row[dimension] % STEP == 0}
    if not aligned:
        return []
    last = rows[-1] | {dimension: max(aligned)}
    name = " x ".join(str(last[each]) for each in DIMENSIONS)
    points = []
    for row in rows:
        size, time_s = row[dimension], row["time_s"]
        nearest = min(aligned, key=lambda each: (abs(each - size), -each))
        above = next((each for each in sorted(aligned) if each >= size), None)
        points.append(
            MapPoint(
                dtype=row["dtype"], layout=row["layout"], dimension=dimension, sweep=name, m=row["m"], n=row["n"], k=row["k"],
                residue=size % STEP, alignment=alignment_of(size), time_s=time_s, relative=time_s / size / (aligned[nearest] / nearest),
                padded=time_s / aligned[above] if above else None, kernel=row.get("kernel", ""),
            )
        )  # fmt: skip
    return points


def alignment_of(size: int) -> int:
    """The largest power of two, at most 64, that divides `size`."""
    return min(STEP, size & -size)


def map_lines(points: Iterable[MapPoint]) -> list[MapLine]:
    """The map by alignment: one line for each dtype, layout, dimension and alignment."""
    lines = []
    for (dtype, layout, dimension, alignment), group in _keyed(points, lambda p: (*_kind(p), p.alignment)):
        medians = [float(np.median([p.relative for p in own])) for own in _grouped(group, lambda p: p.sweep)]
        lines.append(
            MapLine(
                dtype=dtype, layout=layout, dimension=dimension, alignment=alignment, num_points=len(group),
                relative=float(np.median([p.relative for p in group])), low=min(medians), high=max(medians),
                padded=_median([p.padded for p in group if p.padded is not None]), kernels=families(p.kernel for p in group),
            )
        )  # fmt: skip
    return sorted(lines, key=lambda line: (*_order(line)[:3], line.alignment))


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def needs(lines: Iterable[MapLine]) -> list[Need]:
    """For each dtype, layout and dimension the least alignment above which nothing is gained."""
    found = []
    for (dtype, layout, dimension), group in _keyed(lines, _kind):
        slow = [line.alignment for line in group if line.relative > TOLERANCE]
        known = sorted(line.alignment for line in group)
        enough = next((each for each in known if each > max(slow, default=0)), STEP)
        worst = max((line.high for line in group if line.alignment < enough), default=1.0)
        found.append(Need(dtype=dtype, layout=layout, dimension=dimension, alignment=enough, worst=worst))
    return sorted(found, key=_order)


def pair_lines(rows: Iterable[Row]) -> list[PairLine]:
    """What two misaligned dimensions cost, beside the worse of them alone at the same other sizes."""
    products = _products(rows)
    per_flop = {_identity(row): row["time_s"] / (row["m"] * row["n"] * row["k"]) for row in products}
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in products:
        off = [name for name in DIMENSIONS if row[name] % STEP]
        alone = [per_flop.get(_identity(row | {name: _next_aligned(row[name])})) for name in off]
        if len(off) == 2 and all(alone):
            ratio = per_flop[_identity(row)] / max(each for each in alone if each)
            found.setdefault((row["dtype"], row["layout"], " and ".join(off)), []).append(ratio)
    return [
        PairLine(dtype=key[0], layout=key[1], dimensions=key[2], num_points=len(ratios), ratio=float(np.median(ratios)),
                 low=min(ratios), high=max(ratios))
        for key, ratios in sorted(found.items())
    ]  # fmt: skip


def _products(rows: Iterable[Row]) -> list[Row]:
    """Plain eager products, each once: the last where several runs hold it."""
    chosen = (row for row in rows if row["kind"] == "gemm" and row["runtime"] == "eager" and row["call"] == "mm")
    return list({_identity(row): row for row in chosen}.values())


def _identity(row: Row) -> tuple[Any, ...]:
    return row["dtype"], row["layout"], row["m"], row["n"], row["k"]


def _next_aligned(size: int) -> int:
    return -(-size // STEP) * STEP


def _kind(each: MapPoint | MapLine) -> tuple[str, str, str]:
    return each.dtype, each.layout, each.dimension


def _order(each: MapPoint | MapLine | Need) -> tuple[Any, ...]:
    """By dtype, layout and dimension as they are told of, then by sweep and size."""
    place = (DTYPES.index(each.dtype), LAYOUTS.index(each.layout), DIMENSIONS.index(each.dimension))
    return (*place, each.m * each.n * each.k) if isinstance(each, MapPoint) else place


def _grouped(items: Iterable[T], key: Callable[[T], Any]) -> list[list[T]]:
    return [group for _, group in _keyed(items, key)]


def _keyed(items: Iterable[T], key: Callable[[T], Any]) -> list[tuple[Any, list[T]]]:
    return [(found, list(group)) for found, group in groupby(sorted(items, key=key), key=key)]
