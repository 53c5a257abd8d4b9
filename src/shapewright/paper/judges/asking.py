"""What judges of products and rules ask alike: falls of a curve, rates of single products, means of families, names of kernels.

Rates in TFLOP/s; falls and shares as parts of 1 unless a name says percent. Whatever lacks a time raises `NoTimeError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ...measure.operators import works_of
from ...measure.points import GemmPoint, Point
from ...operators.types import Gemm
from ...predict.gemm import estimate_gemm
from ...predict.profiles import load_profile
from ..curves import curves, family_of
from ..evidence import Evidence, NoTimeError
from ..figure import FAMILIES, FIXED, load_figure, load_operator
from ..times import Predicted

#: Rows of every product with weights: b s.
NUM_TOKENS = FIXED["b"] * FIXED["s"]
#: Places at which families of one figure are compared.
NUM_PLACES = 32


def falls(curve: Mapping[int, float], least: float) -> dict[int, float]:
    """The part of its rate that a curve loses from an x to the next, where that is more than `least`."""
    return {x: 1 - then / now for (x, now), (_, then) in pairwise(curve.items()) if then < (1 - least) * now}


def deepest(curve: Mapping[int, float]) -> tuple[float, int | None]:
    """The deepest fall of a curve, and the x before it; 0 where it never falls."""
    found = falls(curve, 0)
    return max(((depth, x) for x, depth in found.items()), default=(0.0, None))


def between(curve: Mapping[int, float], low: int, high: int) -> dict[int, float]:
    """The curve from `low` to `high`, both included; at least two places."""
    kept = {x: y for x, y in curve.items() if low <= x <= high}
    if len(kept) < 2:
        raise NoTimeError
    return kept


def series_of(evidence: Evidence, figure: str) -> dict[str, dict[int, float]]:
    """Every curve of a figure, by its name."""
    found: dict[str, dict[int, float]] = {}
    for row in evidence.rows(figure):
        found.setdefault(row.series, {})[int(row.x)] = row.y
    return found


def product_rates(evidence: Evidence, sizes: Sequence[tuple[int, int, int]]) -> list[float]:
    """TFLOP/s of linear layers' products (m, n, k), priced together."""
    points = [GemmPoint(m=m, n=n, k=k, dtype=evidence.dtype) for m, n, k in sizes]
    times = evidence.times.of(points)
    if any(time is None for time in times):
        raise NoTimeError
    return [2 * m * n * k / time.time_s / 1e12 for (m, n, k), time in zip(sizes, times, strict=True) if time is not None]


def over_line(curve: Mapping[int, float]) -> dict[int, float]:
    """Each inner rate of evenly spaced sizes over the rate that a time on the straight line between its neighbours' times would give.

    Times that grow evenly with a size give 1 everywhere, which rates, that level off, do not.
    """
    seconds = [(size, size / rate) for size, rate in curve.items()]
    return {
        size: (before + after) / 2 / here
        for (_, before), (size, here), (_, after) in zip(seconds, seconds[1:], seconds[2:], strict=False)
    }  # fmt: skip


def family_means(evidence: Evidence, figure: str) -> dict[int, float]:
    """Mean rate of each family of a figure over the same places, read off the straight lines between its points."""
    lines = {family: evidence.curve(figure, f"pow2={family}") for family in FAMILIES}
    places = np.linspace(max(min(line) for line in lines.values()), min(max(line) for line in lines.values()), NUM_PLACES)
    return {family: float(np.interp(places, list(line), list(line.values())).mean()) for family, line in lines.items()}


def alignment_means(curve: Mapping[int, float]) -> dict[int, float]:
    """Mean rate of the x that the same power of two divides, 64 standing for all beyond; each must have some."""
    found = {family: [y for x, y in curve.items() if family_of(x) == family] for family in FAMILIES}
    if not all(found.values()):
        raise NoTimeError
    return {family: float(np.mean(values)) for family, values in found.items()}


def layer_rate(evidence: Evidence, **variables: int) -> float:
    """TFLOP/s of the six products of a layer together."""
    names = ("qkv", "score", "aov", "projection", "mlp_up", "mlp_down")
    values = {**FIXED, **variables}
    flops = [float(load_operator(name).flops(values)) for name in names]
    rates = [evidence.rate(name, **variables) for name in names]
    return sum(flops) / sum(work / rate for work, rate in zip(flops, rates, strict=True))


def layer_shares(evidence: Evidence, case: str) -> dict[str, float]:
    """Percent of a layer's time by the groups of Figure 11, for the case whose name begins so."""
    found = {row.series: row.y for row in evidence.rows("11") if str(row.x).startswith(f"{case} (")}
    if not found:
        raise NoTimeError
    return found


def figure_kernels(evidence: Evidence, figure: str, series: str | None = None) -> dict[int, str]:
    """The kernel that ran at each x of a figure's products (of its one curve, or of `series`), or the tile that the model picks.

    Those without a name are left out.
    """
    found = curves(load_figure(figure), evidence.dtype, is_measured=True)
    points = {item.x: item.points[0] for curve in found if series in (None, curve.name) for item in curve.items}
    if not evidence.is_measured:
        return {x: _tile(evidence, point) for x, point in points.items()}
    times = zip(points, evidence.times.of(list(points.values())), strict=True)
    return {x: time.kernel for x, time in times if time is not None and time.kernel}


def kernel_words(evidence: Evidence, kernels: Mapping[int, str]) -> str:
    """How many kernels or tiles a figure's products ran."""
    num, one = len(set(kernels.values())), "kernel" if evidence.is_measured else "tile"
    return f"{num} {one}{'s' * (num > 1)} over the sweep" if num else "kernel names were not recorded"


def _tile(evidence: Evidence, point: Point) -> str:
    """`tile 128 x 256` of a product."""
    (work,) = works_of(point)
    assert isinstance(work, Gemm)
    library = evidence.times.library if isinstance(evidence.times, Predicted) else None
    reasons = estimate_gemm(work, evidence.gpu, load_profile(evidence.gpu, library)).reasons
    return next(reason.split(",")[0] for reason in reasons if reason.startswith("tile "))
