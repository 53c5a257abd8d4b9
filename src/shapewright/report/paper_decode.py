"""Figures of decoding: latency over model size (13) and speed-up bars with tokens/s on a second axis (S4). Data in, chart out.

Latency: x in billions of parameters, y in s, each model named once. Speed-up: y in times transformers' eager decoding, tokens/s on an axis
of its own as diamonds. Needs altair: the `report` extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..paper.figure import Figure
from ..paper.rows import Row
from .accuracy_chart import require_altair
from .paper_marks import COLOURS, KEY, Panel, Record, chart, mark_of, own_rows, page, panels_by_gpu, point_style, record

#: Pixels of a panel of latencies and of speed-ups, and panels in a row.
LATENCY_SIZE, SPEEDUP_SIZE, NUM_COLUMNS = (430, 330), (440, 240), 2
#: Curves of a latency chart in their order, and bars of a speed-up chart.
RUNS = ("eager", "compiled", "GPU alone", "as published")
BASE, OURS, RATE = "HuggingFace (PyTorch) speedup", "Ours speedup", "Ours (token/s)"
BAR_COLOURS = {BASE: "#9a9a9a", OURS: "#2f6fc1", RATE: "#c0392b"}


def latency_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """One panel a GPU; points of one run are joined by a line."""
    alt = require_altair()
    panels = panels_by_gpu(own_rows(figure, rows))
    highest = max(float(row.x) for panel in panels for row in panel.rows)
    width, height = LATENCY_SIZE
    present = {_latency_record(row)["run"] for panel in panels for row in panel.rows}
    runs = [run for run in RUNS if run in present]
    charts = [_latency_panel(figure, panel, highest, runs).properties(width=width, height=height) for panel in panels]
    body = alt.concat(*charts, columns=NUM_COLUMNS, spacing=24).resolve_scale(color="shared")
    columns = min(NUM_COLUMNS, len(panels))
    kinds = {mark_of(row) for panel in panels for row in panel.rows}
    return page(figure, body, width=max(620, columns * (width + 60)), kinds=[kind for kind in KEY if kind in kinds])


def _latency_panel(figure: Figure, panel: Panel, highest: float, runs: list[str]) -> Any:
    """Lines, then marks by source, then one name a model above the highest of its marks; `runs` of any panel are in the legend."""
    alt = require_altair()
    values = [_latency_record(row) for row in panel.rows]
    scale = alt.Scale(domain=list(RUNS), range=[COLOURS[5], COLOURS[3], COLOURS[1], "#222222"])
    axis = {
        "x": alt.X("x:Q", title="parameters, billions", scale=alt.Scale(domain=[0, 1.12 * highest], nice=False)),
        "y": alt.Y("y:Q", title=f"latency, {figure.unit}", scale=alt.Scale(zero=True, padding=0)),
    }
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, values=runs)
    encoding = {**axis, "color": alt.Color("run:N", scale=scale, legend=legend), "tooltip": ["model:N", "run:N", "x:Q", "y:Q", "quality:N"]}
    lines = [each for each in values if each["kind"] == "predicted"]
    layers = [chart(lines, "predicted").mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=14)).encode(**encoding)] if lines else []
    for kind in ("measured", "doubtful", "approx", "sure"):
        marks = [each for each in values if each["kind"] == kind]
        if marks:
            layers.append(chart(marks, kind).mark_point(**point_style(kind), filled=kind in ("measured", "sure")).encode(**encoding))
    # A white edge under each name keeps it apart from the lines that it crosses.
    names = [
        chart(_names(values), kind).mark_text(align="left", angle=325, dx=5, dy=-5, fontSize=10, **edge).encode(**axis, text="model:N")
        for kind, edge in (("edges", {"stroke": "white", "strokeWidth": 4}), ("names", {}))
    ]
    return alt.layer(*layers, *names).properties(title=alt.Title(panel.title, fontSize=12))


def _latency_record(row: Row) -> Record:
    run, _, model = row.series.rpartition(": ")
    return record(row) | {"run": run or "as published", "model": model.removeprefix("Pythia-"), "kind": mark_of(row)}


def _names(values: list[Record]) -> list[Record]:
    """One name a model, at the highest of its values: of marks that one could confuse the other is named already."""
    tops: dict[str, Record] = {}
    for each in values:
        if each["model"] not in tops or each["y"] > tops[each["model"]]["y"]:
            tops[each["model"]] = each
    return list(tops.values())


def decode_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """One panel a model and GPU: bars of speed-up on the left axis, diamonds of tokens/s on the right one."""
    alt = require_altair()
    panels = decode_panels(figure, own_rows(figure, rows))
    width, height = SPEEDUP_SIZE
    charts = [_decode_panel(figure, panel).properties(width=width, height=height) for panel in panels]
    body = alt.concat(*charts, columns=NUM_COLUMNS, spacing=24).resolve_scale(color="shared")
    columns = min(NUM_COLUMNS, len(panels))
    is_read = any(mark_of(row) == "doubtful" for panel in panels for row in panel.rows)
    notes = ["Doubtful published values are drawn pale and marked with x."] if is_read else []
    return page(figure, body, width=max(640, columns * (width + 120)), kinds=[], notes=notes)


def decode_panels(figure: Figure, rows: Sequence[Row]) -> list[Panel]:
    """A panel a model, GPU and source."""
    places = dict.fromkeys((row.gpu, row.source) for row in rows)
    timed = sorted(places, key=lambda place: (place[1] == "published", list(places).index(place)))
    found = []
    for gpu, source in timed:
        mine = [row for row in rows if row.gpu == gpu and row.source == source]
        for case in figure.cases:
            own = tuple(row for row in mine if row.series.partition(" | ")[0] == case["name"])
            found.append(Panel(title=f"{case['name']} on {gpu}, {source}", rows=own))
    return [panel for panel in found if panel.rows]


def _decode_panel(figure: Figure, panel: Panel) -> Any:
    """Two layers with an axis each, both over context and batch."""
    alt = require_altair()
    batches = {group["name"]: group["batch"] for group in figure.groups}
    values = [_decode_record(row, batches) for row in panel.rows]
    order = list(dict.fromkeys(each["place"] for each in values))
    scale = alt.Scale(domain=list(BAR_COLOURS), range=list(BAR_COLOURS.values()))
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, '|')", labelFontSize=9)
    shared = {
        "x": alt.X("place:N", sort=order, title="context; batch", axis=axis, scale=alt.Scale(paddingInner=0.15)),
        "opacity": alt.Opacity("opacity:Q", scale=None),
        "tooltip": ["kind:N", "x:Q", "y:Q", "unit:N", "quality:N"],
    }
    tallest = {is_rate: max((each["y"] for each in values if (each["kind"] == RATE) is is_rate), default=1.0) for is_rate in (True, False)}
    speed = [each for each in values if each["kind"] != RATE]
    color = alt.Color("kind:N", scale=scale, title=None)
    height = alt.Y("y:Q", title=f"speed-up, {figure.unit}", scale=_roomy(tallest[False]))
    left = {"y": height, "xOffset": alt.XOffset("kind:N", sort=[BASE, OURS])}
    bars = chart(speed, "bars").mark_bar().encode(**shared, **left, color=color)
    words = chart(speed, "values").mark_text(fontSize=8, baseline="bottom", dy=-2).encode(**shared, **left, text="words:N")
    rate = chart([each for each in values if each["kind"] == RATE], "rates").mark_point(shape="diamond", size=55, filled=True)
    own = alt.Axis(orient="right", grid=False, titleColor=BAR_COLOURS[RATE])
    right = alt.Y("y:Q", title="token/s", axis=own, scale=_roomy(tallest[True]))
    joined = alt.layer(alt.layer(bars, words), rate.encode(**shared, y=right, color=color))
    return joined.resolve_scale(y="independent").properties(title=alt.Title(panel.title, fontSize=12))


def _roomy(tallest: float) -> Any:
    """From 0 to above the tallest value, with room for its label."""
    return require_altair().Scale(domain=[0, 1.18 * tallest], nice=False)


def _decode_record(row: Row, batches: Mapping[str, int]) -> Record:
    _, kind, group = row.series.split(" | ")
    is_doubtful = mark_of(row) == "doubtful"
    return record(row) | {
        "kind": kind, "place": f"{row.x}|b={batches[group]}", "unit": row.unit, "opacity": 0.4 if is_doubtful else 1.0,
        "words": f"{row.y:.2f}{' x' if is_doubtful else ''}".replace(".00", ""),
    }  # fmt: skip
