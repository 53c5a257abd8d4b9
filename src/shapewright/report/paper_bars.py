"""Figures whose horizontal axis names cases: bars with printed values (1) and stacked shares of a layer (2, 11). Data in, chart out.

Bars: y in the figure's unit, one bar a case, GPU and source. Shares: y in %, a column a case, a panel a GPU and source; what is read off
the picture stands apart from the authors' notebook, its doubtful parts pale and marked with a cross. Needs altair: the `report` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..paper.figure import Figure
from ..paper.rows import Row
from ..units import ceil_div
from .accuracy_chart import require_altair
from .paper_marks import COLOURS, Panel, Record, chart, gpu_colours, mark_of, own_rows, page, record, timed_gpus

#: Pixels of a case's group of bars, of a chart's height, and of a column of shares.
GROUP_WIDTH, HEIGHT, COLUMN_WIDTH = 165, 340, 74
#: Panels of shares in a row, at most.
MOST_COLUMNS = 4
#: Share of a column below which its value is not printed: it would not fit, in percent.
LEAST_PRINTED = 3.5
#: How a source fills a GPU's colour.
FILLS = {"published": 0.12, "predicted": 0.5, "measured": 1.0}


def bars_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """One group of bars a case, every bar with its value."""
    alt = require_altair()
    rows = own_rows(figure, rows)
    gpus = list(dict.fromkeys([*timed_gpus(rows), *(row.gpu for row in rows)]))
    present = {(row.gpu, row.source) for row in rows}
    groups = [(gpu, source) for gpu in gpus for source in FILLS if (gpu, source) in present]
    names = [_bar_name(gpu, source) for gpu, source in groups]
    values = [record(row) | {"bar": _bar_name(row.gpu, row.source)} for row in rows]
    cases = [case["name"] for case in figure.cases]
    colour = dict(zip(gpus, gpu_colours(gpus), strict=True))
    edges = alt.Scale(domain=names, range=[colour[gpu] for gpu, _ in groups])
    fills = alt.Scale(domain=names, range=[pale(colour[gpu], FILLS[source]) for gpu, source in groups])
    encoding = {
        "x": alt.X("x:N", sort=cases, title=None, scale=alt.Scale(paddingInner=0.12), axis=alt.Axis(labelAngle=0, labelFontSize=11)),
        "xOffset": alt.XOffset("bar:N", sort=names),
        "y": alt.Y("y:Q", title=figure.unit),
        "tooltip": ["x:N", "y:Q", "gpu:N", "source:N", "quality:N"],
    }
    colours = {"fill": alt.Fill("bar:N", scale=fills, title=None), "stroke": alt.Stroke("bar:N", scale=edges, title=None)}
    bars = chart(values, "bars").mark_bar(strokeWidth=1.2, opacity=1).encode(**encoding, **colours)
    width = GROUP_WIDTH * max(1, len(cases))
    is_narrow = width / (len(cases) * max(1, len(groups))) < 34
    style: Record = {"angle": 270, "align": "left", "baseline": "middle", "dx": 4} if is_narrow else {"baseline": "bottom", "dy": -3}
    words = chart(values, "values").mark_text(fontSize=10, **style).encode(**encoding, text=alt.Text("y:Q", format=".1f"))
    return page(figure, alt.layer(bars, words).properties(width=width, height=HEIGHT), width=width + 60, kinds=[])


def pale(colour: str, share: float) -> str:
    """`share` of a colour #rrggbb on white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def shares_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """One panel of stacked columns a GPU and source."""
    alt = require_altair()
    panels = share_panels(figure, own_rows(figure, rows))
    columns = ceil_div(len(panels), ceil_div(len(panels), MOST_COLUMNS))
    tallest = max(100.0, *(_tallest(panel) for panel in panels))
    charts = [_share_panel(figure, panel, tallest) for panel in panels]
    body = alt.concat(*charts, columns=columns, spacing=18).resolve_scale(color="shared", y="shared")
    width = max(640, columns * (COLUMN_WIDTH * len(figure.cases) + 62))
    notes = ["Columns read off the picture: x marks doubtful parts, and the parts need not add up."] if _has_read(panels) else []
    return page(figure, body, width=width, kinds=[], notes=notes)


def share_panels(figure: Figure, rows: Sequence[Row]) -> list[Panel]:
    """Timed GPUs first; published values as the notebook's, which win over labels of the same part, and as read off the picture."""
    found = [
        Panel(title=f"{gpu}, {source}", rows=tuple(row for row in rows if row.gpu == gpu and row.source == source))
        for gpu in timed_gpus(rows)
        for source in ("predicted", "measured")
    ]
    for gpu in dict.fromkeys(row.gpu for row in rows if row.source == "published"):
        mine = [row for row in rows if row.gpu == gpu and row.source == "published"]
        sure = {(row.x, row.series): row for quality in ("exact", "notebook") for row in mine if row.quality == quality}
        read = tuple(row for row in mine if row.quality in ("approx", "doubtful"))
        found.append(Panel(title=f"{gpu}, authors' notebook", rows=tuple(sure.values())))
        found.append(Panel(title=f"{gpu}, read off the picture", rows=read))
    return [panel for panel in found if panel.rows]


def _share_panel(figure: Figure, panel: Panel, tallest: float) -> Any:
    """Columns in the order of the figure's groups, from the bottom, with the values of the larger parts."""
    alt = require_altair()
    names = [group["name"] for group in figure.groups]
    values = _stacked(panel, names)
    cases = [case["name"] for case in figure.cases]
    label = alt.Axis(labelAngle=0, labelExpr="split(replace(datum.label, ')', ''), ' (')", labelFontSize=9, labelLimit=COLUMN_WIDTH + 12)
    x = alt.X("x:N", sort=cases, title=None, axis=label, scale=alt.Scale(domain=cases, paddingInner=0.18))
    place = {"x": x, "y": alt.Y("bottom:Q", title=figure.unit, scale=alt.Scale(domain=[0, tallest], nice=False))}
    bars = chart(values, "columns").mark_bar(stroke="white", strokeWidth=0.6)
    bars = bars.encode(
        **place, y2="top:Q", color=alt.Color("series:N", scale=_share_colours(names), title=None, sort=names[::-1]),
        opacity=alt.Opacity("opacity:Q", scale=None), tooltip=["x:N", "series:N", "y:Q", "source:N", "quality:N"],
    )  # fmt: skip
    large = [{**value, "bottom": value["middle"]} for value in values if value["y"] >= LEAST_PRINTED]
    words = chart(large, "values").mark_text(fontSize=9, baseline="middle").encode(**place, text="words:N", color=alt.value("black"))
    width = COLUMN_WIDTH * len(cases)
    return alt.layer(bars, words).properties(width=width, height=HEIGHT, title=alt.Title(panel.title, fontSize=11))


def _stacked(panel: Panel, names: list[str]) -> list[Record]:
    """Every part with its bottom and top in the column."""
    reached: dict[Any, float] = {}
    values = []
    for row in sorted(panel.rows, key=lambda row: names.index(row.series)):
        bottom = reached.get(row.x, 0.0)
        reached[row.x] = bottom + row.y
        is_doubtful = mark_of(row) == "doubtful"
        words = f"{row.y:.1f}" if row.source != "published" or mark_of(row) == "sure" else f"{row.y:g}{' x' if is_doubtful else ''}"
        place = {"bottom": bottom, "top": reached[row.x], "middle": bottom + row.y / 2}
        values.append(record(row) | place | {"opacity": 0.35 if is_doubtful else 0.85, "words": words})
    return values


def _share_colours(names: list[str]) -> Any:
    return require_altair().Scale(domain=names[::-1], range=[COLOURS[place % len(COLOURS)] for place in range(len(names))][::-1])


def _tallest(panel: Panel) -> float:
    sums: dict[Any, float] = {}
    for row in panel.rows:
        sums[row.x] = sums.get(row.x, 0.0) + row.y
    return max(sums.values())


def _has_read(panels: Sequence[Panel]) -> bool:
    return any(mark_of(row) == "doubtful" for panel in panels for row in panel.rows)


def _bar_name(gpu: str, source: str) -> str:
    return f"{gpu}, {source}"
