"""What our decoder gains, in the form of FlashDecoding++'s Figure 12: speed-up bars, tokens/s on a second axis. Data in, chart out.

One panel a model: groups by batch, in each a pair of bars a context (tokens a second over those of Hugging Face's `generate`: ours through
`generate` and through our loop), and a line of markers for the loop's tokens a second. Needs altair: the `report` extra.
Errors: cells without Hugging Face beside them give no bars; where none has any, there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from .accuracy_chart import require_altair
from .decode_cells import BASE, OURS, Answer, Cell
from .decode_text import times

#: Pixels of a context's place, and of a panel's height; panels in a row.
PLACE_WIDTH, HEIGHT, NUM_COLUMNS = 46, 260, 1
GENERATE, LOOP, RATE = "ours, through generate", "ours, own loop", "tokens/s (right axis)"
KINDS = {"ours-generate": GENERATE, "ours-loop": LOOP}
COLOURS = {GENERATE: "#9db9dd", LOOP: "#2f6fc1", RATE: "#c0392b"}
HUGGING_FACE = "#6a6a6a"
Record = dict[str, Any]


def decode_chart(answers: Sequence[Answer]) -> Any:
    """One panel for each answer that has cells of Hugging Face and of ours."""
    alt = require_altair()
    drawn = [answer for answer in answers if any(is_drawn(cell) for cell in answer.cells)]
    if not drawn:
        raise InputError("nothing to draw: no cell has both hf and ours", hint="measure with --versus hf")
    charts = [_panel(answer) for answer in drawn]
    return alt.concat(*charts, columns=NUM_COLUMNS, spacing=28).resolve_scale(color="shared", x="independent").configure(aria=False)


def is_drawn(cell: Cell) -> bool:
    """Whether the cell gives a bar."""
    return any(cell.gain(BASE, engine) is not None for engine in OURS)


def _panel(answer: Answer) -> Any:
    """Bars with their values and a rule at 1 on the left axis, the line on the right one."""
    alt = require_altair()
    cells = [cell for cell in answer.cells if is_drawn(cell)]
    order = [_place(cell) for cell in cells]
    bars, rates = [each for cell in cells for each in _bars(cell)], [each for cell in cells for each in _rates(cell)]
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, '|')", labelFontSize=10)
    x = alt.X("place:N", sort=order, title="tokens of context; batch", axis=axis, scale=alt.Scale(paddingInner=0.14, paddingOuter=0.1))
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())))
    colour = colour.legend(orient="top", symbolType="square", symbolOpacity=1, columnPadding=24)
    left = alt.Y("gain:Q", title="times Hugging Face's generate", scale=_roomy(max(each["gain"] for each in bars)))
    pair = {"x": x, "y": left, "xOffset": alt.XOffset("kind:N", sort=[GENERATE, LOOP])}
    tip = ["kind:N", "batch:Q", "context:Q", "gain:Q", "rate:Q"]
    speed = alt.Chart(alt.Data(values=bars)).mark_bar().encode(**pair, color=colour, tooltip=tip)
    words = alt.Chart(alt.Data(values=bars)).mark_text(fontSize=8, baseline="bottom", dy=-2).encode(**pair, text="words:N")
    one = alt.Chart(alt.Data(values=[{"gain": 1.0}])).mark_rule(color=HUGGING_FACE, strokeDash=[5, 3]).encode(y=left)
    own = alt.Axis(orient="right", grid=False, titleColor=COLOURS[RATE])
    right = alt.Y("rate:Q", title="tokens/s of the batch", axis=own, scale=_roomy(max(each["rate"] for each in rates)))
    # One line a batch: between batches nothing lies.
    line = alt.Chart(alt.Data(values=rates)).mark_line(
        point=alt.OverlayMarkDef(shape="diamond", size=60, filled=True, stroke="white"), strokeWidth=1.4
    )
    line = line.encode(x=x, y=right, color=colour, detail="batch:N", tooltip=tip[1:])
    title = alt.Title(f"{answer.model}, {answer.dtype}, on {answer.gpu}", subtitle=_versions(answer), fontSize=12, subtitleFontSize=10)
    size = {"width": max(260, PLACE_WIDTH * len(order)), "height": HEIGHT}
    return alt.layer(alt.layer(speed, words, one), line).resolve_scale(y="independent").properties(title=title, **size)


def _versions(answer: Answer) -> str:
    row = answer.rows[0]
    return ", ".join(f"{name} {row.versions[name]}" for name in ("transformers", "torch", "triton") if name in row.versions)


def _place(cell: Cell) -> str:
    return f"{cell.context}|b={cell.batch}"


def _bars(cell: Cell) -> list[Record]:
    found = []
    for engine, kind in KINDS.items():
        gain = cell.gain(BASE, engine)
        if gain is not None:
            found.append(_record(cell, kind, engine) | {"gain": _short(gain), "words": times(gain)})
    return found


def _rates(cell: Cell) -> list[Record]:
    """The loop's rate, or where there is none that of `generate`."""
    engine = "ours-loop" if cell.row("ours-loop") else "ours-generate"
    return [_record(cell, RATE, engine)]


def _record(cell: Cell, kind: str, engine: str) -> Record:
    rate = cell.tokens_per_s(engine)
    assert rate is not None
    return {"place": _place(cell), "kind": kind, "batch": cell.batch, "context": cell.context, "rate": _short(rate)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _roomy(tallest: float) -> Any:
    """From 0 to above the tallest value, with room for its label."""
    return require_altair().Scale(domain=[0, 1.15 * max(1.0, tallest)], nice=False)
