"""What the charts of the paper's figures share: rows as records, panels, colours, the marks of each source, and the page around them.

Predicted values are lines (bars, columns), measured ones filled dots, values of the authors' log small dots, published points marks whose
form tells their quality: filled diamonds (exact, or of the authors' notebook), open diamonds (approximate), pale crosses (doubtful).
x in the figure's own sizes, y in its unit. Needs altair: the `report` extra.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from ..paper.figure import Figure
from ..paper.rows import Row
from .accuracy_chart import require_altair

Record = dict[str, Any]
#: Pixels a letter of the notes, of 11 pixels, takes.
LETTER = 5.5
#: Ten colours that differ in hue and in brightness; families of powers of two run through them in order.
COLOURS = ("#c0392b", "#e08a1e", "#a89a00", "#3a9d3a", "#1d9aa3", "#2f6fc1", "#7b3fa0", "#c4569b", "#7a5230", "#5c5c5c")
#: Colours of GPUs, apart from one another where two stand in one panel; the first are those of GPUs that many figures show.
STEADY_GPUS = ("a100-40gb", "h200", "v100-16gb", "mi250x")
GPU_COLOURS = ("#2f6fc1", "#d35400", "#3a9d3a", "#8e44ad", "#b8860b", "#1d9aa3", "#c0392b", "#5c5c5c")
#: Kinds of marks in the order of the key, with the words that explain them.
KEY = {
    "predicted": "predicted",
    "interval": "10th to 90th percentile",
    "measured": "measured",
    "log": "authors' log",
    "sure": "published: exact or authors' notebook",
    "approx": "published: read off, approximate",
    "doubtful": "published: read off, doubtful",
}


LOG_NOTE = "The authors' log holds the slowest of 200 calls (PyTorch 1.13 on the A100), as the paper's curves do."


#: Of every page: white ground, no labels for screen readers on thousands of marks, and a menu of the interactive form that stays offline.
CONFIG: Record = {"aria": False, "background": "white", "view": {"stroke": "#d0d0d0"}, "axis": {"gridColor": "#ececec"}}
USERMETA: Record = {"embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}}
TITLE: Record = {"anchor": "start", "fontSize": 15, "offset": 8}
NOTES: Record = {
    "orient": "bottom", "anchor": "start", "fontSize": 11, "fontWeight": "normal", "color": "#444444", "offset": 10, "lineHeight": 14,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One small chart: its title and its rows."""

    title: str
    rows: tuple[Row, ...]


def own_rows(figure: Figure, rows: Iterable[Row]) -> list[Row]:
    """The figure's rows of `rows`."""
    return [row for row in rows if row.figure == figure.id]


def mark_of(row: Row) -> str:
    """The kind of mark, a key of `KEY`."""
    if row.source != "published":
        return row.source
    return row.quality if row.quality in ("approx", "doubtful") else "sure"


def record(row: Row) -> Record:
    """A row as a record of a chart, y to five digits."""
    found: Record = {"series": row.series, "x": row.x, "y": short(row.y), "gpu": row.gpu, "source": row.source}
    if row.quality:
        found["quality"] = row.quality
    if row.low is not None and row.high is not None:
        found |= {"low": short(row.low), "high": short(row.high)}
    return found


def short(value: float) -> float:
    """Five significant digits: what a chart can show, in a third of the bytes."""
    return float(f"{value:.5g}")


def timed_gpus(rows: Iterable[Row]) -> list[str]:
    """GPUs that were predicted or measured, in the order of the rows."""
    return list(dict.fromkeys(row.gpu for row in rows if row.source in ("predicted", "measured")))


def gpu_colours(names: Iterable[str]) -> tuple[str, ...]:
    """A colour a GPU: the same in every chart for the GPUs of the paper's figures, the further ones in turn for others."""
    steady = dict(zip(STEADY_GPUS, GPU_COLOURS, strict=False))
    others = cycle(GPU_COLOURS[len(steady) :])
    return tuple(steady[name] if name in steady else next(others) for name in names)


def panels_by_gpu(rows: Sequence[Row]) -> list[Panel]:
    """One panel a GPU that was predicted or measured; published and logged values of other GPUs stand in panels of their own."""
    own = timed_gpus(rows)
    others = [gpu for gpu in dict.fromkeys(row.gpu for row in rows) if gpu not in own]
    found = []
    for gpu in (*own, *others):
        mine = tuple(row for row in rows if row.gpu == gpu)
        is_logged = all(row.source == "log" for row in mine)
        prefix = "" if gpu in own else "authors' log, " if is_logged else "as published, "
        found.append(Panel(title=f"{prefix}{gpu}", rows=mine))
    return found


def chart(values: list[Record], kind: str) -> Any:
    """A chart of records; `kind` tells a reader of the specification what the layer holds."""
    alt = require_altair()
    # A tuple: altair copies lists at every step by which a page is put together.
    return alt.Chart(alt.Data(values=tuple(values)), description=kind)  # type: ignore[arg-type]


def page(figure: Figure, body: Any, *, width: int, kinds: Sequence[str], notes: Sequence[str] = ()) -> Any:
    """A whole figure: title, the key of its marks, the charts, and below them every note, wrapped to `width` pixels."""
    alt = require_altair()
    title = alt.Title(f"Figure {figure.id}. {figure.title}", **TITLE)
    said = wrapped((*figure.notes, *notes), width)
    if said:
        body = alt.vconcat(body).properties(title=alt.Title(said, **NOTES))
    joined = alt.vconcat(key(kinds, width), body, spacing=6) if kinds else alt.vconcat(body)
    return finished(joined.properties(title=title))


def finished(joined: Any) -> Any:
    """A page with what holds of all."""
    found = joined.configure(**CONFIG)
    found.usermeta = USERMETA
    return found


def wrapped(notes: Iterable[str], width: int) -> list[str]:
    """Notes as lines of at most `width` pixels; a note's further lines are indented."""
    columns = max(20, int(width / LETTER))
    return [line for note in notes for line in textwrap.wrap(note, columns, initial_indent="- ", subsequent_indent="   ")]


def key(kinds: Sequence[str], width: int) -> Any:
    """What each kind of mark means, in rows as wide as the page: one key for all panels."""
    alt = require_altair()
    placed, x, line = [], 0.0, 0
    for kind in (each for each in KEY if each in kinds):
        need = 34 + LETTER * len(KEY[kind]) + 14
        if x and x + need > width:
            x, line = 0.0, line + 1
        placed.append({"kind": kind, "words": KEY[kind], "x": x, "y": 8 + 17 * line})
        x += need
    size = {"width": width, "height": 17 * (line + 1)}
    samples = [_sample([each for each in placed if each["kind"] == kind], kind) for kind in KEY if kind in kinds]
    words = chart(placed, "key").mark_text(align="left", baseline="middle", dx=30, fontSize=11).encode(**_places(), text="words:N")
    return alt.layer(*samples, words).properties(**size, view=alt.ViewConfig(stroke=None))


def _sample(values: list[Record], kind: str) -> Any:
    """The mark itself, in grey."""
    alt = require_altair()
    if kind in ("predicted", "interval"):
        thickness = {"predicted": 2, "interval": 10}[kind]
        ends = [{**each, "x2": each["x"] + 24} for each in values]
        rule = chart(ends, "key").mark_rule(strokeWidth=thickness, color="#555555", opacity=0.2 if kind == "interval" else 1)
        return rule.encode(**_places(), x2=alt.X2("x2:Q"))
    shifted = [{**each, "x": each["x"] + 12} for each in values]
    fill = None if kind in ("approx", "doubtful") else "#555555"
    return chart(shifted, "key").mark_point(**point_style(kind), stroke="#555555", fill=fill).encode(**_places())


def _places() -> Record:
    """x and y of the key in pixels."""
    alt = require_altair()
    return {"x": alt.X("x:Q", scale=None, axis=None), "y": alt.Y("y:Q", scale=None, axis=None)}


def point_style(kind: str, *, scale: float = 1.0) -> Record:
    """Form, size and opacity of a mark that is a point; filled or open is for the caller's encoding."""
    styles: dict[str, Record] = {
        "measured": {"shape": "circle", "size": 34, "opacity": 1, "strokeWidth": 0.7},
        "log": {"shape": "circle", "size": 14, "opacity": 0.8, "strokeWidth": 0},
        "sure": {"shape": "diamond", "size": 80, "opacity": 1, "strokeWidth": 1},
        "approx": {"shape": "diamond", "size": 60, "opacity": 1, "strokeWidth": 1.5},
        "doubtful": {"shape": "M-1,-1L1,1M-1,1L1,-1", "size": 18, "opacity": 0.45, "strokeWidth": 1.2},
    }
    return {**styles[kind], "size": styles[kind]["size"] * scale}
