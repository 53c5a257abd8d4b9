"""Rows of decode as text of at most 80 columns: a line for each cell while it is measured, a table of tokens a second at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .bench_rows import ENGINES, Check, Row

_WIDTH = 9
_STATUS = {"failed": "failed", "out_of_memory": "memory"}


def cell_text(rows: Sequence[Row | Check]) -> str:
    """What a cell's rows come to, in one line each: ours (or the first engine) and its gain, what failed, what a check found."""
    lines = [_check_line(row) for row in rows if isinstance(row, Check)]
    measured = [row for row in rows if isinstance(row, Row)]
    lines += [_best_line(measured)] if any(row.status == "ok" for row in measured) else []
    lines += [f"{_place(row)} {row.engine}: {row.error}" for row in measured if row.status != "ok"]
    return "\n".join(lines)


def table_text(rows: Iterable[Row]) -> str:
    """Tokens a second, a line for each cell and a column for each engine; of `read` what it would allow."""
    rows = list(rows)
    names = [name for name in ENGINES if any(row.engine == name for row in rows)]
    blocks = []
    for model in dict.fromkeys((row.model, row.dtype) for row in rows):
        own = [row for row in rows if (row.model, row.dtype) == model]
        lines = [f"{model[0]}, {model[1]}: tokens/s", *_head(names)]
        for cell in dict.fromkeys((row.batch, row.context) for row in own):
            by_name = {row.engine: row for row in own if (row.batch, row.context) == cell}
            lines.append(f"{cell[0]:>5} {cell[1]:>8}" + "".join(_value(by_name.get(name)).rjust(_WIDTH) for name in names))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _head(names: Sequence[str]) -> list[str]:
    """Names of the columns, broken at their hyphens, the last words on the last line."""
    words = [name.split("-") for name in names]
    height = max(map(len, words), default=1)
    lines = ["".join((([""] * height + each)[-height:][line]).rjust(_WIDTH) for each in words) for line in range(height)]
    return [(" " * 14 if number < height - 1 else "batch  context") + line for number, line in enumerate(lines)]


def _value(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{row.tokens_per_s:.1f}" if row.tokens_per_s is not None else _STATUS.get(row.status, row.status)


def _best_line(rows: Sequence[Row]) -> str:
    found = {row.engine: row for row in rows if row.status == "ok" and row.tokens_per_s}
    best = next((found[name] for name in ("ours-loop", "ours-generate", *ENGINES) if name in found), rows[0])
    text = f"{_place(best)} {best.engine} {_value(best)} tokens/s"
    if best.speed_of_light is not None and best.engine != "read":
        text += f", {100 * best.speed_of_light:.0f} % of a bare read"
    base = next((found[name] for name in ENGINES if name in found), best)
    if base is not best and base.tokens_per_s and best.tokens_per_s:
        text += f", {best.tokens_per_s / base.tokens_per_s:.2f}x {base.engine}"
    return text


def _place(row: Row | Check) -> str:
    return f"{row.model} {row.batch} x {row.context}"


def _check_line(check: Check) -> str:
    text = f"{_place(check)} {check.engine}: "
    if check.error is not None:
        return text + check.error
    if check.max_relative_difference is not None:
        text += f"logits within {check.max_relative_difference:.2e} of Hugging Face's, "
    if check.max_relative_error is not None:
        text += f"{check.max_relative_error:.2e} of fp32 (its own {check.hf_max_relative_error:.2e}), "
        text += f"{check.num_sure_tokens_right} of {check.num_sure_tokens} sure tokens right, "
    return text + f"{check.num_equal_tokens} of {check.num_tokens} tokens equal"
