"""The curves of a figure as points: what is to be timed at each x, and the FLOPs that turn its time into a rate.

    for curve in curves(load_figure("7a")): curve.name, curve.items[0].x, curve.items[0].points

An item's time is the sum of its points' times. `thinned` keeps the x that are measured: for each of `num_measured` positions spread evenly
over the axis the nearest x of the curve, so that curves of one figure are measured near the same places. Sizes in elements, FLOPs as the
paper counts them (the product's; fused attention without its mask).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..measure.points import Point, point_of
from .figure import FAMILIES, Axis, Figure, Operator, Part, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is timed at one x."""

    x: int
    points: tuple[Point, ...]
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series, or one family of it."""

    name: str
    items: tuple[Item, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(point for item in self.items for point in item.points)


def curves(figure: Figure, dtype: str = "fp16", *, is_measured: bool = False) -> tuple[Curve, ...]:
    """Every curve of a figure over a size; `is_measured`: at the x that are measured alone."""
    found = []
    for series in figure.series:
        for name, xs in _families(figure, series).items():
            kept = measured_xs(figure, xs) if is_measured else xs
            found.append(Curve(name=name, items=tuple(item(figure, series, x, dtype) for x in kept)))
    return tuple(found)


def curve_at(figure: Figure, name: str, xs: Sequence[int], dtype: str = "fp16") -> Curve:
    """The curve (series or family) of that name at any x, on its grid or not."""
    for series in figure.series:
        if name in _families(figure, series):
            return Curve(name=name, items=tuple(item(figure, series, x, dtype) for x in xs))
    raise KeyError(name)


def item(figure: Figure, series: Series, x: int, dtype: str) -> Item:
    """What the series times at x."""
    assert figure.axis is not None
    values = {**figure.fixed, **series.fixed, figure.axis.name: x}
    return item_of(series.operator, values, dtype, x=x)


def item_of(operator: Operator, values: Mapping[str, int], dtype: str, *, x: int = 0) -> Item:
    """An operator with all its variables given."""
    points = tuple(_point(part, values, dtype) for part in operator.parts)
    return Item(x=x, points=points, flops=float(operator.flops(values)))


def grid(axis: Axis, values: Mapping[str, int]) -> list[int]:
    """Every x of a curve with these variables."""
    if axis.values is not None:
        return list(axis.values)
    assert axis.start is not None and axis.stop is not None and axis.step is not None
    return list(range(axis.start(values), axis.stop(values) + 1, axis.step(values)))


def family_of(value: int) -> int:
    """The largest power of two that divides `value`, up to the last family."""
    return min(value & -value, FAMILIES[-1])


def measured_xs(figure: Figure, xs: Sequence[int]) -> list[int]:
    """Those x of a curve that a measurement takes."""
    inside = [x for x in xs if not figure.measured_to or x <= figure.measured_to]
    return thinned(inside, figure.num_measured, grid_end(figure))


def thinned(xs: Sequence[int], num: int, end: int) -> list[int]:
    """At most `num` of `xs`: the nearest to each of as many even positions up to `end` (0: all of them), and the last."""
    if not num or len(xs) <= num:
        return list(xs)
    sizes = np.asarray(xs)
    wanted = np.linspace(end / num, end, num)
    return sorted({int(sizes[np.argmin(np.abs(sizes - each))]) for each in wanted} | {xs[-1]})


def grid_end(figure: Figure) -> int:
    """The largest x of the figure's curves."""
    assert figure.axis is not None
    return max(grid(figure.axis, {**figure.fixed, **series.fixed})[-1] for series in figure.series)


def _families(figure: Figure, series: Series) -> dict[str, list[int]]:
    """The grid of each family by its name, or of the series itself."""
    assert figure.axis is not None
    fixed = {**figure.fixed, **series.fixed}
    xs = grid(figure.axis, fixed)
    if figure.split is None:
        return {series.name: xs}
    split = figure.split
    members = {family: [x for x in xs if family_of(split({**fixed, figure.axis.name: x})) == family] for family in FAMILIES}
    return {f"pow2={family}": own for family, own in members.items() if own}


def _point(part: Part, values: Mapping[str, int], dtype: str) -> Point:
    sizes = {name: expression(values) for name, expression in part.sizes.items()}
    return point_of({"kind": part.kind, **part.words, **sizes, "dtype": dtype})
