"""Figures over a size: lines on linear and log-2 axes, families of powers of two, bands of model size. Data in, chart out.

    lines_chart(load_figure("7a"), rows)

A figure of one series is one panel with a colour a GPU; any other one panel a GPU with a colour a series. x: the figure's size in
elements; y: TFLOP/s. Needs altair: the `report` extra.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..paper.figure import FAMILIES, Figure
from ..paper.rows import Row
from .accuracy_chart import require_altair
from .paper_marks import (
    COLOURS,
    KEY,
    LOG_NOTE,
    Panel,
    Record,
    chart,
    gpu_colours,
    mark_of,
    own_rows,
    page,
    panels_by_gpu,
    point_style,
    record,
    timed_gpus,
)

#: Pixels of the one panel of a figure, and of each of several; several stand in this many columns.
WIDE, NARROW, NUM_COLUMNS = (760, 400), (430, 320), 2
#: Curves with intervals that a panel still shows shaded, and points of a curve beyond which it is a band of spikes.
MOST_SHADED, MOST_POINTS = 2, 120
#: Dots of a curve beyond which they are smaller, and room beside the first and last x, as a share of the axis.
MOST_DOTS, MARGIN = 48, 0.013


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What all panels share: whether colours are of GPUs or series, their names and palette, the range of x.

    Small charts also share the range of y, and show labels on the axes at the page's edge alone.
    """

    figure: Figure
    field: str
    names: tuple[str, ...]
    palette: tuple[str, ...]
    domain: tuple[float, float]
    is_small: bool = False
    highest: float | None = None
    labelled: str = "xy"

    @property
    def padded(self) -> list[float]:
        """The range of x with room for marks at its ends."""
        low, high = self.domain
        if self.figure.axis is not None and self.figure.axis.scale == "log2":
            return [low * (low / high) ** MARGIN, high * (high / low) ** MARGIN]
        return [low - MARGIN * (high - low), high + MARGIN * (high - low)]

    @property
    def colours(self) -> list[str]:
        return [self.palette[place % len(self.palette)] for place in range(len(self.names))]


def lines_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """The whole figure."""
    alt = require_altair()
    rows = own_rows(figure, rows)
    shown, dropped = _drawable(figure, rows)
    is_single = len(figure.series) == 1 and figure.split is None
    panels = [Panel(title="", rows=tuple(shown))] if is_single else panels_by_gpu(shown)
    names = _names(figure, shown, is_single)
    drawing = Drawing(
        figure=figure, field="gpu" if is_single else "series", names=names, palette=gpu_colours(names) if is_single else COLOURS,
        domain=x_domain(figure, shown),
    )  # fmt: skip
    width, height = WIDE if len(panels) == 1 else NARROW
    zooms = [alt.selection_interval(name=f"zoom_{place}", bind="scales") for place in range(len(panels))]
    charts = [
        panel_chart(drawing, panel).properties(width=width, height=height).add_params(zoom)
        for panel, zoom in zip(panels, zooms, strict=True)
    ]
    body = alt.concat(*charts, columns=NUM_COLUMNS, spacing=24).resolve_scale(color="shared", strokeDash="shared")
    total = width + 60 if len(panels) == 1 else 2 * width + 100
    notes = [LOG_NOTE] if any(row.source == "log" for row in shown) else []
    notes += [f"{len(dropped)} doubtful published points at 0 cannot stand on a logarithmic axis."] if dropped else []
    return page(figure, body, width=total, kinds=kinds_of(drawing, panels), notes=notes)


def panel_chart(drawing: Drawing, panel: Panel) -> Any:
    """Layers from back to front: bands, intervals, lines, logged and measured dots, published marks."""
    alt = require_altair()
    by_mark: dict[str, list[Record]] = {}
    for row in sorted(panel.rows, key=lambda row: (row.series, row.x)):
        by_mark.setdefault(mark_of(row), []).append(record(row))
    if drawing.highest is None:
        drawing = replace(drawing, highest=_highest(drawing, panel))
    layers = [] if drawing.is_small else _bands(drawing)
    if is_shaded(drawing, panel):
        layers.append(_interval(drawing, by_mark["predicted"]))
    if "predicted" in by_mark:
        layers.append(_lines(drawing, by_mark["predicted"]))
    if _is_sparse(by_mark.get("log", [])):
        thin = chart(by_mark["log"], "log lines").mark_line(strokeWidth=0.7, opacity=0.7)
        layers.append(thin.encode(**_encoding(drawing), detail="gpu:N"))
    if _has_spread(drawing, panel.rows):
        layers.append(_spread(drawing, by_mark["measured"]))
    layers += [_points(drawing, by_mark[kind], kind) for kind in ("log", "measured", "doubtful", "approx", "sure") if kind in by_mark]
    style = {"fontSize": 9, "offset": 2} if drawing.is_small else {"fontSize": 12, "offset": 8}
    return alt.layer(*layers).properties(title=alt.Title(panel.title, **style))


def _highest(drawing: Drawing, panel: Panel) -> float:
    """The top of y: above every mark and what is shaded."""
    is_tall = is_shaded(drawing, panel)
    return 1.03 * max(row.high if is_tall and row.source == "predicted" and row.high is not None else row.y for row in panel.rows)


def _has_spread(drawing: Drawing, rows: Sequence[Row]) -> bool:
    """Whether measured dots have intervals and room for them."""
    measured = [row for row in rows if row.source == "measured"]
    most = max(Counter((row.series, row.gpu) for row in measured).values(), default=0)
    return not drawing.is_small and most <= MOST_DOTS and any(row.low is not None for row in measured)


def _is_sparse(values: Sequence[Record]) -> bool:
    """Whether every curve has few enough points for dots of full size."""
    return 0 < max(Counter((each["series"], each["gpu"]) for each in values).values(), default=0) <= MOST_DOTS


def kinds_of(drawing: Drawing, panels: Sequence[Panel]) -> list[str]:
    """Kinds of marks that the panels hold, in the order of the key."""
    found = {mark_of(row) for panel in panels for row in panel.rows}
    if any(is_shaded(drawing, panel) or _has_spread(drawing, panel.rows) for panel in panels):
        found.add("interval")
    return [kind for kind in KEY if kind in found]


def is_shaded(drawing: Drawing, panel: Panel) -> bool:
    """Whether intervals of the predicted curves are few and smooth enough to be shaded."""
    curves: dict[tuple[str, str], int] = {}
    for row in panel.rows:
        if row.source == "predicted" and row.low is not None:
            curves[row.gpu, row.series] = curves.get((row.gpu, row.series), 0) + 1
    return not drawing.is_small and 0 < len(curves) <= MOST_SHADED and max(curves.values()) <= MOST_POINTS


def x_domain(figure: Figure, rows: Sequence[Row]) -> tuple[float, float]:
    """From 0, or from the first x where the axis is a close-up or a logarithm, to the last; a log that goes on beyond is cut off."""
    xs = [float(row.x) for row in rows if row.source != "log"] or [float(row.x) for row in rows]
    low, high = min(xs), max(xs)
    if low == high:  # a lone x stands in the middle
        return (low / 2, 2 * high) if figure.axis is not None and figure.axis.scale == "log2" else (low - 1, high + 1)
    is_near = figure.axis is not None and figure.axis.scale == "linear" and low < high / 4
    return (0.0 if is_near else low, high)


def ticks(figure: Figure, domain: tuple[float, float]) -> list[float]:
    """Powers of two, or multiples of the one that gives four to nine labels."""
    assert figure.axis is not None
    low, high = domain
    if figure.axis.ticks:
        return list(figure.axis.ticks)
    if figure.axis.scale == "log2":
        return [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    step = 2.0 ** max(0, math.ceil(math.log2((high - low) / 9)))
    return [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _drawable(figure: Figure, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows that the axis can hold, and those that it cannot."""
    is_log = figure.axis is not None and figure.axis.scale == "log2"
    return [row for row in rows if not is_log or float(row.x) > 0], [row for row in rows if is_log and float(row.x) <= 0]


def _names(figure: Figure, rows: Sequence[Row], is_single: bool) -> tuple[str, ...]:
    """Domain of the colours: GPUs, those that were timed first, or the figure's series in their order."""
    if is_single:
        own = {row.gpu for row in rows}
        return tuple(name for name in dict.fromkeys([*timed_gpus(rows), *figure.published_gpus, *(row.gpu for row in rows)]) if name in own)
    present = dict.fromkeys(row.series for row in rows)
    known = [series.name for series in figure.series] if figure.split is None else [f"pow2={family}" for family in FAMILIES]
    return tuple(name for name in dict.fromkeys([*known, *present]) if name in present)


def _encoding(drawing: Drawing) -> Record:
    """x, y and colour, on the same axes in every layer."""
    alt = require_altair()
    axis = drawing.figure.axis
    assert axis is not None
    kind: Record = {"type": "log", "base": 2} if axis.scale == "log2" else {}
    places = ticks(drawing.figure, drawing.domain)
    style: Record = {"labelFontSize": 8, "labelPadding": 2, "tickSize": 3} if drawing.is_small else {}
    height = {"domain": [0, drawing.highest], "nice": not drawing.is_small}
    return {
        "x": alt.X(
            "x:Q", title=None if drawing.is_small else axis.title, scale=alt.Scale(domain=drawing.padded, nice=False, **kind),
            axis=alt.Axis(
                values=places[:: 4 if drawing.is_small else 1], format="d", labelFlush=drawing.is_small, labelOverlap=True,
                labels="x" in drawing.labelled, **style,
            ),
        ),
        "y": alt.Y(
            "y:Q", title=None if drawing.is_small else drawing.figure.unit, scale=alt.Scale(**height),
            axis=alt.Axis(labels="y" in drawing.labelled, tickCount=5 if drawing.is_small else 10, **style),
        ),
        "color": alt.Color(f"{drawing.field}:N", scale=_scale(drawing), legend=legend(drawing)),
        "tooltip": ["series:N", "x:Q", "y:Q", "gpu:N", "source:N", "quality:N"],
    }  # fmt: skip


def _scale(drawing: Drawing) -> Any:
    """Names to colours."""
    return require_altair().Scale(domain=list(drawing.names), range=drawing.colours)


def legend(drawing: Drawing) -> Any:
    """Names of the curves; families by their power of two alone, under a title that says what it is."""
    alt = require_altair()
    title: str | list[str] | None = "GPU" if drawing.field == "gpu" else None
    if drawing.is_small:
        title = ["largest power of", "two in h/a; grey:", "heads of Figure 34"]
    elif drawing.figure.split is not None:
        title = ["largest power of", "two in h/a"]
    words = "datum.value == 'pow2=64' ? '64 and beyond' : replace(datum.value, 'pow2=', '')"
    return alt.Legend(title=title, labelExpr=words, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, labelLimit=200)


def _bands(drawing: Drawing) -> list[Any]:
    """Ranges of model size, shaded in turns, named along the bottom, where no curve runs."""
    alt = require_altair()
    bands = drawing.figure.bands
    if not bands:
        return []
    values = [
        {"start": band.start, "stop": min(band.stop, drawing.domain[1]), "label": band.label, "shade": 0.10 if place % 2 else 0.04}
        for place, band in enumerate(bands)
    ]
    x = alt.X("start:Q", scale=alt.Scale(domain=drawing.padded, nice=False))
    shades = chart(values, "bands").mark_rect(color="#000000").encode(x=x, x2="stop:Q", opacity=alt.Opacity("shade:Q", scale=None))
    # At two heights in turn, from the band's left edge: a name may be wider than its band.
    words = [
        chart(values[place::2], "band labels").mark_text(baseline="bottom", align="left", fontSize=10, color="#555555", dx=3, dy=dy)
        for place, dy in ((0, -4), (1, -17))
        if values[place::2]
    ]
    return [shades, *(each.encode(x=x, y=alt.value("height"), text="label:N") for each in words)]


def _interval(drawing: Drawing, values: list[Record]) -> Any:
    """From the 10th to the 90th percentile of what is predicted."""
    alt = require_altair()
    encoding = {name: each for name, each in _encoding(drawing).items() if name in ("x", "color")}
    return chart(values, "interval").mark_area(opacity=0.13).encode(**encoding, y=alt.Y("low:Q", title=drawing.figure.unit), y2="high:Q")


def _spread(drawing: Drawing, values: list[Record]) -> Any:
    """From the 10th to the 90th percentile of repeated runs, behind the dot of each measurement."""
    encoding = {name: each for name, each in _encoding(drawing).items() if name in ("x", "color")}
    known = [each for each in values if "low" in each]
    return chart(known, "spread").mark_rule(opacity=0.45, strokeWidth=3).encode(**encoding, y="low:Q", y2="high:Q")


def _lines(drawing: Drawing, values: list[Record]) -> Any:
    """Predicted curves; thin where they are many or spiky, dashed where they are of a second operator."""
    alt = require_altair()
    most = max(Counter((each["series"], each["gpu"]) for each in values).values())
    thickness = 0.8 if drawing.is_small or most > 2 * MOST_POINTS else 1.1 if most > MOST_POINTS else 1.8
    encoding = _encoding(drawing)
    dashes = _dashes(drawing)
    if any(len(each) > 1 for each in dashes):
        scale = alt.Scale(domain=list(drawing.names), range=dashes)
        encoding["strokeDash"] = alt.StrokeDash(f"{drawing.field}:N", scale=scale, legend=legend(drawing))
    lonely = min(Counter((each["series"], each["gpu"]) for each in values).values()) < 2
    dots = alt.OverlayMarkDef(size=4 if drawing.is_small else 16) if lonely else False
    return chart(values, "predicted").mark_line(strokeWidth=thickness, strokeJoin="round", point=dots).encode(**encoding, detail="gpu:N")


def _dashes(drawing: Drawing) -> list[list[int]]:
    """Dashes of a curve's operator: the figure's first one is drawn whole."""
    operators = list(dict.fromkeys(series.operator.name for series in drawing.figure.series))
    of = {series.name: series.operator.name for series in drawing.figure.series}
    return [[6, 3] if name in of and of[name] != operators[0] else [1, 0] if len(operators) > 1 else [1] for name in drawing.names]


def _points(drawing: Drawing, values: list[Record], kind: str) -> Any:
    """Marks that are points: filled ones in the curve's colour, edged in white or black; open ones outlined in it."""
    alt = require_altair()
    encoding = _encoding(drawing)
    is_crowded = kind in ("measured", "log") and not _is_sparse(values)
    style = point_style(kind, scale=0.25 if drawing.is_small else 0.45 if is_crowded else 1.0)
    if kind in ("approx", "doubtful"):
        return chart(values, kind).mark_point(**style, fill=None if kind == "doubtful" else "white", fillOpacity=0.6).encode(**encoding)
    del encoding["color"]
    encoding["fill"] = alt.Fill(f"{drawing.field}:N", scale=_scale(drawing), legend=None)
    return chart(values, kind).mark_point(**style, clip=kind == "log", stroke="black" if kind == "sure" else "white").encode(**encoding)
