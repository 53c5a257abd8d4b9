"""Many sweeps as one page of small charts: Figures 21 to 47 by default. Rows in, specification out.

    multiples_chart(figures, rows)

A block a GPU; in a block all panels have the same axes, one key and one legend hold for the page. Families keep their colours, the heads
of a figure by heads (34) are greys. x: hidden size in elements; y: TFLOP/s. Needs altair: the `report` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import InputError
from ..paper.figure import FAMILIES, Figure
from ..paper.rows import Row
from ..units import ceil_div
from .paper_lines import Drawing, kinds_of, panel_chart, x_domain
from .paper_marks import COLOURS, CONFIG, LOG_NOTE, NOTES, TITLE, USERMETA, Panel, Record, key, panels_by_gpu, wrapped

#: Pixels of a small chart, charts in a row, and the most points of a predicted curve: a point every three pixels.
SIZE, NUM_COLUMNS, MOST_POINTS = (142, 104), 7, 48
#: Curves by heads, light to dark from the first.
GREYS = ("#c4c4c4", "#a6a6a6", "#888888", "#6a6a6a", "#474747", "#111111")
PAGE_WIDTH = 1180


def multiples_chart(figures: Sequence[Figure], rows: Sequence[Row]) -> Record:
    """The whole page, as a Vega-Lite specification."""
    wanted = {figure.id for figure in figures if figure.is_sweep}
    own = _thinned([row for row in rows if row.figure in wanted])
    if not own:
        raise InputError("nothing to draw in these figures", hint="predict or measure them first")
    families = tuple(f"pow2={family}" for family in FAMILIES)
    heads = tuple(dict.fromkeys(series.name for figure in figures if figure.split is None for series in figure.series))
    drawing = Drawing(
        figure=figures[0], field="series", names=(*families, *heads), palette=(*COLOURS[: len(families)], *GREYS),
        domain=x_domain(figures[0], own), is_small=True,
    )  # fmt: skip
    panels = panels_by_gpu(own)
    notes = dict.fromkeys(note for figure in figures for note in figure.notes)
    said = wrapped([*notes, *([LOG_NOTE] if any(row.source == "log" for row in own) else [])], PAGE_WIDTH)
    body = _joined("vconcat", [_block(drawing, figures, panel) for panel in panels], 14, {"text": said, **NOTES})
    legend = key(kinds_of(drawing, panels), PAGE_WIDTH).to_dict(validate=False)
    whole = _joined("vconcat", [_inner(legend), body], 6, {"text": _title(figures), **TITLE})
    return {"$schema": legend["$schema"], "config": CONFIG, "usermeta": USERMETA, **whole}


def _block(drawing: Drawing, figures: Sequence[Figure], panel: Panel) -> Record:
    """One GPU: a small chart a figure that has rows, on axes of one range; labels along the left and the bottom."""
    shown = [figure for figure in figures if any(row.figure == figure.id for row in panel.rows)]
    highest = 1.04 * max(row.y for row in panel.rows)
    charts = []
    for place, figure in enumerate(shown):
        is_last = place + NUM_COLUMNS >= len(shown)
        labelled = f"{'x' if is_last else ''}{'' if place % NUM_COLUMNS else 'y'}"
        rows = tuple(row for row in panel.rows if row.figure == figure.id)
        own = replace(drawing, figure=figure, highest=highest, labelled=labelled)
        small = panel_chart(own, Panel(title=_name(figure), rows=rows)).properties(width=SIZE[0], height=SIZE[1])
        charts.append(_inner(small.to_dict(validate=False)))
    title = {"text": f"{panel.title}: TFLOP/s over the hidden size h", "anchor": "start", "fontSize": 12, "offset": 4}
    return {**_joined("concat", charts, 10, title), "columns": NUM_COLUMNS}


def _joined(how: str, charts: list[Record], spacing: int, title: Record) -> Record:
    """Charts side by side, one scale of colours for all; altair would copy each of hundreds of layers hundreds of times."""
    return {how: charts, "spacing": spacing, "title": title, "resolve": {"scale": {"color": "shared"}}}


def _inner(whole: Record) -> Record:
    """A chart without what a page has once."""
    return {name: part for name, part in whole.items() if name not in ("$schema", "config")}


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """Predicted and logged curves at evenly spread points; measured and published ones whole."""
    curves: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        curves.setdefault((row.figure, row.source, row.gpu, row.series), []).append(row)
    kept: list[Row] = []
    for (_, source, *_), curve in curves.items():
        step = ceil_div(len(curve), MOST_POINTS) if source in ("predicted", "log") else 1
        kept += [row for place, row in enumerate(curve) if place % step == 0 or row is curve[-1]]
    return kept


def _name(figure: Figure) -> str:
    """Number, operator and heads."""
    heads = f"{figure.fixed['a']} heads" if figure.split is not None else "by heads"
    return f"{figure.id}: {figure.series[0].operator.name}, {heads}"


def _title(figures: Sequence[Figure]) -> str:
    return f"Figures {figures[0].id} to {figures[-1].id}" if len(figures) > 1 else f"Figure {figures[0].id}. {figures[0].title}"
