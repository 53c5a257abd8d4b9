"""What `shapewright decode` measured, on a page: tokens a second, gains and shares of the ceiling, then what is apart of the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ..decode.bench_rows import Check, Row, last_checks
from .decode_cells import LIMIT, OURS, Answer, Cell
from .table import Block, format_hanging, format_remark, format_table
from .table import Row as Line
from .units import num_bytes, seconds, three_digits

#: Engines as columns call them.
SHORT = {
    "hf": "hf", "hf-eager": "eager", "hf-static-compile": "static", "gpt-fast": "gpt-fast", "ours-generate": "generate",
    "ours-loop": "loop", "read": "read",
}  # fmt: skip
#: Their shares of the ceiling.
_SHARES = {"ours-generate": "gen %", "ours-loop": "loop %"}
#: Each of them in words.
MEANINGS = {
    "hf": "hf: generate of Hugging Face, sdpa",
    "hf-eager": "eager: generate of Hugging Face, eager attention",
    "hf-static-compile": "static: generate of Hugging Face, static cache and torch.compile",
    "gpt-fast": "gpt-fast: a compiled loop",
    "ours-generate": "generate: generate of the accelerated model",
    "ours-loop": "loop: shapewright.decode.decode",
    "read": "read: a bare read of the step's bytes, the ceiling",
}
_STATUS = {"failed": "failed", "out_of_memory": "memory"}


def decode_text(answers: Sequence[Answer], checks: Iterable[Check] = (), *, width: int = 80) -> str:
    """A part for each model, then the failures and checks."""
    checks = last_checks(checks)
    parts = ["\n".join(_model(answer, [each for each in checks if each.model == answer.model], width)) for answer in answers]
    names = dict.fromkeys(name for answer in answers for name in answer.engines)
    return "\n\n".join([*parts, "\n".join(format_hanging("; ".join(MEANINGS[name] for name in names) + ".", width))])


def _model(answer: Answer, checks: Sequence[Check], width: int) -> list[str]:
    title = f"{answer.model}, {answer.dtype}, on {answer.gpu}: tokens/s of {' or '.join(map(str, answer.num_steps))} steps"
    lines = [*format_hanging(title, width), *_rates(answer, width)]
    if any(cell.ours for cell in answer.cells):
        lines += ["", *_gains(answer, width)]
    lines += ["", "apart from the steps, over all cells", *_apart(answer, width)]
    for each in answer.rows:
        if each.error is not None:
            lines += format_hanging(f"{each.batch} x {each.context} {each.engine}: {each.error}", width)
    for check in checks:
        lines += format_hanging(check_line(check), width)
    return [*lines, *_raised(answer, width)]


def _rates(answer: Answer, width: int) -> list[str]:
    header = ("batch", "context", *(SHORT[name] for name in answer.engines))
    rows = [(*_place(cell), *(rate_text(cell.rows.get(name)) for name in answer.engines)) for cell in answer.cells]
    return _table(header, rows, width)


def _gains(answer: Answer, width: int) -> list[str]:
    """The faster of ours over each other engine, both of ours as a share of the read, and predictions."""
    others = [name for name in answer.engines if name not in (*OURS, LIMIT)]
    own = [name for name in answer.engines if name in OURS]
    columns: list[tuple[str, Callable[[Cell], str]]] = [
        *((f"/{SHORT[name]}", lambda cell, name=name: times(cell.gain(name))) for name in others),
        *((_SHARES[name], lambda cell, name=name: share(cell.share_of_limit(name)).removesuffix(" %")) for name in own),
    ]
    is_predicted = any(cell.predicted for cell in answer.cells)
    if is_predicted:
        columns += [
            ("~eager", lambda cell: rate(cell, cell.predicted and cell.predicted.eager_s)),
            ("~comp", lambda cell: rate(cell, cell.predicted and cell.predicted.compiled_s)),
        ]
    rows = [(*_place(cell), *(text(cell) for _, text in columns)) for cell in answer.cells]
    said = "the faster of ours over others (/), in one run; % of what the read allows" + (
        "; ~ tokens/s as explain predicts, eager and compiled" if is_predicted else ""
    )
    return [*format_hanging(said, width), *_table(("batch", "context", *(name for name, _ in columns)), rows, width)]


def _apart(answer: Answer, width: int) -> list[str]:
    """Time to first token, warm-up and memory: least and most of each engine."""
    rows = []
    for name in answer.engines:
        own = [row for cell in answer.cells if (row := cell.row(name)) is not None]
        if own and name != LIMIT:
            first = [row.ttft_s for row in own if row.ttft_s is not None]
            warm = [row.warmup_s for row in own if row.warmup_s is not None]
            memory = [row.memory_peak_bytes for row in own if row.memory_peak_bytes]
            rows.append((SHORT[name], _ends(first, seconds), _ends(warm, seconds), _ends(memory, num_bytes), share(deviation(own))))
    header = ("engine", "first token", "warm-up", "peak memory", "deviation")
    return format_table(header, [Block(rows=tuple(Line(cells=cells) for cells in rows))], "<>>>>", width=width)


def deviation(rows: Sequence[Row]) -> float | None:
    """The largest median absolute deviation of a row's repeats, over their median; None where no row has several."""
    several = [row for row in rows if len(row.repeats_s or ()) > 1]
    return max(((row.deviation_s or 0.0) / (row.new_tokens * (row.time_per_step_s or 1.0)) for row in several), default=None)


def _ends(values: Sequence[float], written: Callable[[float], str]) -> str:
    if not values:
        return "-"
    least, most = written(min(values)), written(max(values))
    return least if least == most else f"{least} to {most}"


def _raised(answer: Answer, width: int) -> list[str]:
    raised = {row.positions_raised_to for row in answer.rows} - {None}
    notes = dict.fromkeys(note for row in answer.rows for note in row.notes if row.engine != LIMIT)
    said = [f"learned positions were raised to {max(filter(None, raised))}"] if raised else []
    return [line for each in (*said, *notes) for line in format_remark(f"note: {each}", width, 0)]


def check_line(check: Check) -> str:
    """What holding an engine against Hugging Face came to."""
    place = f"check of {check.engine} at {check.batch} x {check.context}: "
    if check.error is not None:
        return place + check.error
    difference = check.max_relative_difference
    near = "" if difference is None else f"logits within {difference:.1e} of Hugging Face's, "
    near = near if difference is None or math.isfinite(difference) else "logits that are no numbers, "
    if check.max_relative_error is not None and check.hf_max_relative_error is not None:
        near += f"{check.max_relative_error:.1e} of fp32 where Hugging Face's are {check.hf_max_relative_error:.1e}, "
    return f"{place}{near}{check.num_equal_tokens} of {check.num_tokens} tokens equal"


def rate_text(row: Row | None) -> str:
    """Tokens a second, or why there are none."""
    if row is None:
        return "-"
    return tokens(row.tokens_per_s) if row.status == "ok" else _STATUS[row.status]


def rate(cell: Cell, step_s: float | None) -> str:
    """Tokens a second of a cell whose step takes `step_s`."""
    return tokens(None if step_s is None else cell.batch / step_s)


def tokens(value: float | None) -> str:
    return "-" if value is None else three_digits(value)


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _place(cell: Cell) -> tuple[str, str]:
    return str(cell.batch), str(cell.context)


def _table(header: Sequence[str], rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    return format_table(header, [Block(rows=tuple(Line(cells=cells) for cells in rows))], ">" * len(header), width=width)
