"""The misalignment map as small charts (layout down, dimension across), and head sizes as two: data in, chart out.

Needs altair: the `report` extra. x: size modulo 64, or head size, in elements; y: time a FLOP relative to multiples of 64, or time in us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..calibrate.measuring.head_sizes import PASSES, SCORES, VALUES
from ..calibrate.measuring.misalignment import DIMENSIONS, LAYOUTS
from ..units import MICRO
from .accuracy_chart import require_altair

if TYPE_CHECKING:
    import altair as alt

Row = Mapping[str, Any]
#: Pixels of a small chart.
MAP_WIDTH, MAP_HEIGHT, HEAD_WIDTH, HEAD_HEIGHT = 210, 130, 520, 220
#: One colour a sweep: blues for bf16, oranges for fp16, greens for fp8, the darkest for the largest product.
_COLOURS = {"bf16": ("#9ecae1", "#4292c6", "#08519c"), "fp16": ("#fdd0a2", "#fd8d3c", "#a63603"), "fp8": ("#a1d99b", "#41ab5d", "#005a32")}


def misalignment_chart(points: Sequence[Row]) -> alt.VConcatChart:
    """One small chart for each layout and dimension; both ends of a sweep are multiples of 64, where the ratio is 1."""
    alt = require_altair()
    names, colours = _series(points)
    scale = alt.Scale(domain=names, range=colours)
    ratios = [point["relative"] for point in points]
    span = (min([0.8, *ratios]), 1.05 * max([1.2, *ratios]))
    rows = []
    for layout in LAYOUTS:
        charts = [_small(layout, dimension, points, scale, span) for dimension in DIMENSIONS]
        rows.append(alt.hconcat(*charts))
    return alt.vconcat(*rows).configure(aria=False)


def _small(layout: str, dimension: str, points: Sequence[Row], scale: Any, span: tuple[float, float]) -> Any:
    """The sweeps of one dimension in one layout, a dot each product."""
    alt = require_altair()
    values = [
        {"residue": point["residue"] or 64 * (point[dimension] == _end(point)), "relative": point["relative"], "sweep": _name(point)}
        for point in points
        if point["layout"] == layout and point["dimension"] == dimension
    ]
    chart = alt.Chart(alt.Data(values=values)).mark_circle(size=13, opacity=0.75, clip=True)
    chart = chart.encode(
        x=alt.X("residue:Q", title=f"{dimension} modulo 64", scale=alt.Scale(domain=[0, 64]), axis=alt.Axis(values=list(range(0, 65, 8)))),
        y=alt.Y("relative:Q", title="time a FLOP", scale=alt.Scale(type="log", domain=list(span), nice=False)),
        color=alt.Color("sweep:N", title="dtype, m x n x k", scale=scale),
    )
    return chart.properties(width=MAP_WIDTH, height=MAP_HEIGHT, title=alt.Title(f"{layout}: {dimension}", fontSize=11))


def _end(point: Row) -> int:
    """The size at the upper end of the point's sweep."""
    return int(point["sweep"].split(" x ")[DIMENSIONS.index(point["dimension"])])


def _name(point: Row) -> str:
    return f"{point['dtype']}, {point['sweep']}"


def _series(points: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Names of the sweeps by dtype and size of the product, and the colour of each."""
    names, colours = [], []
    for dtype, shades in _COLOURS.items():
        found = dict.fromkeys(_name(point) for point in points if point["dtype"] == dtype)
        ordered = sorted(found, key=lambda name: _flops(name.partition(", ")[2]))
        names += ordered
        colours += [shades[min(index, len(shades) - 1)] for index in range(len(ordered))]
    return names, colours


def _flops(sweep: str) -> int:
    m, n, k = map(int, sweep.split(" x "))
    return m * n * k


def head_chart(points: Sequence[Row]) -> alt.VConcatChart:
    """Above, attention by head size and pass; below, its two products alone relative to the line between multiples of 16."""
    alt = require_altair()
    is_product = {point["pass_name"] in (SCORES, VALUES): True for point in points}
    charts = [_attention_chart(points)] if False in is_product else []
    charts += [_product_chart(points)] if True in is_product else []
    return alt.vconcat(*charts).resolve_scale(color="independent").configure(aria=False)


def _attention_chart(points: Sequence[Row]) -> Any:
    values = [
        {"head_dim": point["head_dim"], "time_us": float(f"{point['time_s'] / MICRO:.4g}"), "pass": point["pass_name"]}
        for point in points
        if point["pass_name"] not in (SCORES, VALUES)
    ]
    return _head_marks(values, ("time_us", "time, us"), "attention, 4 x 32 heads over 2,048 tokens")


def _product_chart(points: Sequence[Row]) -> Any:
    values = [
        {"head_dim": point["head_dim"], "relative": point["relative"], "pass": point["pass_name"]}
        for point in points
        if point["pass_name"] in (SCORES, VALUES)
    ]
    return _head_marks(values, ("relative", "time, relative"), "its two batched products alone")


def _head_marks(values: list[dict[str, Any]], y: tuple[str, str], title: str) -> Any:
    """Lines by pass; dots alone for ratios, which jump from one head size to the next."""
    alt = require_altair()
    column, name = y
    is_ratio = column == "relative"
    chart = alt.Chart(alt.Data(values=values))
    chart = chart.mark_circle(size=22) if is_ratio else chart.mark_line(point=alt.OverlayMarkDef(size=14), strokeWidth=1.2)
    names = [each for each in PASSES if any(value["pass"] == each for value in values)]
    chart = chart.encode(
        x=alt.X("head_dim:Q", title="head size", axis=alt.Axis(values=list(range(0, 257, 16)))),
        y=alt.Y(f"{column}:Q", title=name, scale=alt.Scale(type="log", nice=False, padding=8) if is_ratio else alt.Scale()),
        color=alt.Color("pass:N", title=None, scale=alt.Scale(domain=names)),
    )
    return chart.properties(width=HEAD_WIDTH, height=HEAD_HEIGHT, title=alt.Title(title, fontSize=12))
