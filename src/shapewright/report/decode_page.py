"""docs/decode.md, written from measured rows: what decoding gains, how it works, the goals, every cell, predictions and the Pythia suite.

Every number is a row's or computed from rows; sentences choose their words by them. Errors: rows in which no cell has both Hugging Face
and ours are refused, for the page would have nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..decode.bench_rows import ENGINES, Check, last_checks
from ..errors import InputError
from .accuracy_page import markdown_table
from .decode_cells import BASE, LIMIT, OURS, Answer, Cell
from .decode_goals import GOALS, Outcome, outcomes
from .decode_prose import HOW_IT_WORKS, HOW_MEASURED, INTRODUCTION, MISSED, ONE_LINE, PREDICTED, PYTHIA, RUNS_PLAIN
from .decode_text import SHORT, deviation, rate, share, times, tokens
from .units import num_bytes, seconds

ENGINES_AGAINST = ("hf", "hf-eager", "hf-static-compile", "gpt-fast")
#: The two sizes that Figure 13 of the co-design paper sets against its trend.
SMALL, LARGE = "pythia-410m", "pythia-1b"


def decode_page(answers: Sequence[Answer], checks: Sequence[Check] = (), *, images: Mapping[str, str], files: Sequence[str]) -> str:
    """The page as Markdown; `images`: path of a chart from the page by its alternative text; `files`: runs, as the page links them."""
    shown = [answer for answer in answers if not answer.model.startswith("pythia")]
    if not any(cell.gain(BASE) for answer in shown for cell in answer.cells):
        raise InputError("no cell has both hf and ours", hint="measure with --versus hf")
    parts = [
        INTRODUCTION, ONE_LINE, headline(shown), *(f"![{alt}]({path})\n" for alt, path in images.items()),
        "## Goals\n", *_goals(shown), HOW_IT_WORKS, RUNS_PLAIN, HOW_MEASURED, "## Every cell\n",
        *(part for answer in shown for part in _cells(answer)), *_predicted(shown), *_pythia(answers), *_checks(checks),
        *_machines(answers, files),
    ]  # fmt: skip
    return "\n".join(parts)


def headline(answers: Sequence[Answer]) -> str:
    """What each model gains at its first cell and over all of them; the rows choose the words."""
    lines = []
    for answer in answers:
        cells = [cell for cell in answer.cells if cell.gain(BASE)]
        if not cells:
            continue
        first = cells[0]
        ours = first.beside(BASE)
        assert ours is not None
        gains = [gain for cell in cells if (gain := cell.least_gain(BASE)) is not None]
        limit = ours.speed_of_light or first.share_of_limit(ours.engine)
        of_limit = "" if limit is None else f", {share(limit)} of what reading the same bytes allows"
        lines.append(
            f"- **{answer.model}** ({answer.dtype}, {answer.gpu}), batch {first.batch}, {first.context} tokens of context: "
            f"{tokens(ours.tokens_per_s)} tokens/s, {times(first.gain(BASE))} times Hugging Face's "
            f"{tokens(first.tokens_per_s(BASE))}{of_limit}; {_over(gains)} its fastest repeat in "
            f"{len(cells)} cells. {_against(answer)}".rstrip()
        )
    return "\n".join(lines) + "\n"


def readme_lines(answers: Sequence[Answer], image: str | None) -> str:
    """What the README says of the gain: a chart, and the first lines of the page."""
    shown = [answer for answer in answers if not answer.model.startswith("pythia")]
    picture = [f"![Tokens a second over those of Hugging Face's generate, by batch and context]({image})\n"] if image else []
    return "\n".join([*picture, headline(shown)])


def _of_cells(count: int, measured: int) -> str:
    if measured == 1:
        return "the one cell measured" if count else "none, of one cell measured"
    return f"all {measured} cells measured" if count == measured else f"{count} of {measured} cells"


def _over(gains: Sequence[float]) -> str:
    least, most = times(min(gains)), times(max(gains))
    return f"{least} times" if least == most else f"{least} to {most} times"


def _against(answer: Answer) -> str:
    """How often ours is the faster one, engine by engine."""
    said = []
    for name in ENGINES_AGAINST[1:]:
        gains = [gain for cell in answer.cells if (gain := cell.gain(name)) is not None]
        if gains:
            faster = sum(gain > 1 for gain in gains)
            said.append(f"faster than {name} in {_of_cells(faster, len(gains))} ({_over(gains)})")
    return f"{'; '.join(said).capitalize()}." if said else ""


def _goals(answers: Sequence[Answer]) -> list[str]:
    found = [(answer, told) for answer in answers if (told := outcomes(answer))]
    if not found:
        return ["No row is of a model and GPU that goals are set for.\n"]
    parts = [goals_sentence([each for _, told in found for each in told]), _goal_summary([each for _, told in found for each in told])]
    for answer, told in found:
        parts += [
            f"{answer.model}, by batch and context; asked for is what stands in brackets or in the head of the column.\n",
            _goal_cells(told),
        ]
    return [*parts, *_missed(found)]


def _missed(found: Sequence[tuple[Answer, Sequence[Outcome]]]) -> list[str]:
    """What each missed goal asks of the limit, and how much of it there is."""
    rows = [
        (each.model, str(each.batch), str(each.context), each.goal.name, share(each.share_reached), share(each.share_asked))
        for _, told in found
        for each in told
        if each.is_reached is False and each.share_asked is not None
    ]
    if not rows:
        return []
    table = markdown_table(("model", "batch", "context", "missed", "reached, of the limit", "asked for, of the limit"), rows, "<>><>>")
    return [MISSED, table]


def goals_sentence(told: Sequence[Outcome]) -> str:
    """How many goals are reached, and which cells miss theirs."""
    measured = [each for each in told if each.value is not None]
    missed = [each for each in measured if not each.is_reached]
    rest = len(told) - len(measured)
    text = f"Of {len(measured)} goals in measured cells {len(measured) - len(missed)} are reached and {len(missed)} missed"
    return f"{text}{f'; {rest} cells of goals are not measured' if rest else ''}.\n"


def _goal_summary(told: Sequence[Outcome]) -> str:
    rows = []
    for goal in GOALS:
        own = [each for each in told if each.goal is goal]
        known = [each for each in own if each.value is not None]
        missed = [f"{each.model} {each.batch} x {each.context}" for each in known if not each.is_reached]
        if own:
            rows.append(
                (goal.words, str(len(known)), str(len(known) - len(missed)), ", ".join(missed) or "none" if known else "not measured")
            )
    return markdown_table(("goal", "cells measured", "reached", "missed in"), rows, "<>><")


def _goal_cells(told: Sequence[Outcome]) -> str:
    """A line for each cell, a column for each goal; a goal that is the same everywhere stands in its column's name."""
    goals = [goal for goal in GOALS if any(each.goal is goal for each in told)]
    same = {goal.name: own.pop() for goal in goals if len(own := {goal.asked(each.wanted) for each in told if each.goal is goal}) == 1}
    names = [f"{goal.name}, {same[goal.name]}" if goal.name in same else goal.name for goal in goals]
    sizes = dict.fromkeys(sorted((each.batch, each.context) for each in told))
    by_place = {(each.goal.name, each.batch, each.context): each for each in told}
    rows = [
        (str(batch), str(context), *(_goal_text(by_place.get((goal.name, batch, context)), is_plain=goal.name in same) for goal in goals))
        for batch, context in sizes
    ]
    return _right(("batch", "context", *names), rows)


def _goal_text(outcome: Outcome | None, *, is_plain: bool) -> str:
    """Value and goal; a missed one stands out and is called so."""
    if outcome is None:
        return ""
    wanted = "" if is_plain else f" ({outcome.goal.asked(outcome.wanted)})"
    if outcome.value is None:
        return f"-{wanted}"
    text = f"{outcome.goal.form(outcome.value)}{wanted}"
    return text if outcome.is_reached else f"**{text} missed**"


def _cells(answer: Answer) -> list[str]:
    """Three tables of a model: rates, gains and shares, what is apart from the steps."""
    raised = {row.positions_raised_to for row in answer.rows} - {None}
    note = f" Learned positions are raised to {max(filter(None, raised))} for the longest cells." if raised else ""
    engines = [name for name in answer.engines if name != LIMIT]
    said = f"Tokens/s, medians of {_repeats(answer)}; limit: the bytes of a step at the rate of the read.{note}\n"
    rates = [
        (*_place(cell), *(_rate(cell, name) for name in engines), tokens(cell.tokens_per_s(LIMIT)), _bytes(cell), _read_rate(cell))
        for cell in answer.cells
    ]
    others, own = [name for name in ENGINES_AGAINST if name in engines], [name for name in engines if name in OURS]
    gains = [
        (*_place(cell), *(times(cell.gain(name)) for name in others), *(share(cell.share_of_limit(name)) for name in own))
        for cell in answer.cells
    ]
    head = ("batch", "context")
    return [
        f"### {answer.model}, {answer.dtype}\n",
        said,
        _right((*head, *(SHORT[name] for name in engines), "limit", "bytes", "read"), rates),
        "Gain of the faster of ours over the others, and share of the limit:\n",
        _right((*head, *(f"/ {SHORT[name]}" for name in others), *(f"{SHORT[name]} / limit" for name in own)), gains),
        f"Time to first token, warm-up and peak memory.{_spread(answer)}\n",
        _right((*head, *_apart_head(engines)), [(*_place(cell), *_apart(cell, engines)) for cell in answer.cells]),
        *_failures(answer),
    ]


def _apart_head(engines: Sequence[str]) -> list[str]:
    own = [name for name in engines if name in OURS]
    return [
        *(f"first token, {SHORT[name]}" for name in engines if name in (BASE, *OURS)), *(f"warm-up, {SHORT[name]}" for name in engines),
        f"memory, {SHORT[BASE]}", *(f"memory, {SHORT[name]} / {SHORT[BASE]}" for name in own),
    ]  # fmt: skip


def _apart(cell: Cell, engines: Sequence[str]) -> list[str]:
    rows = {name: cell.row(name) for name in engines}
    first = [None if (row := rows[name]) is None else row.ttft_s for name in engines if name in (BASE, *OURS)]
    warm = [None if (row := rows[name]) is None else row.warmup_s for name in engines]
    base = cell.row(BASE)
    memory = None if base is None else base.memory_peak_bytes
    return [
        *("-" if each is None else seconds(each) for each in (*first, *warm)), "-" if not memory else num_bytes(memory),
        *(_ratio(cell.memory_ratio(name)) for name in engines if name in OURS),
    ]  # fmt: skip


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _spread(answer: Answer) -> str:
    found = deviation([row for row in answer.rows if row.status == "ok" and row.engine != LIMIT])
    return "" if found is None else f" Repeats deviate by {share(found)} at most (median deviation)."


def _failures(answer: Answer) -> list[str]:
    lines = [f"- {row.engine}, {row.batch} x {row.context}: {row.error}" for row in answer.rows if row.error is not None]
    return ["\n".join(lines) + "\n"] if lines else []


def _repeats(answer: Answer) -> str:
    counts = sorted({len(row.repeats_s) for row in answer.rows if row.repeats_s})
    return f"{' or '.join(map(str, counts))} repeats of {' or '.join(map(str, answer.num_steps))} steps"


def _predicted(answers: Sequence[Answer]) -> list[str]:
    """Predictions of `explain` beside what was measured, and their mean error."""
    known = [(answer, cell) for answer in answers for cell in answer.cells if cell.predicted is not None]
    if not known:
        return []
    rows, errors = [], {BASE: [], "hf-static-compile": []}
    for answer, cell in known:
        assert cell.predicted is not None
        pairs = ((BASE, cell.predicted.eager_s), ("hf-static-compile", cell.predicted.compiled_s))
        for name, step_s in pairs:
            if (measured := cell.tokens_per_s(name)) is not None:
                errors[name].append(abs(cell.batch / step_s / measured - 1))
        rows.append(
            (
                answer.model, *_place(cell), rate(cell, cell.predicted.eager_s), tokens(cell.tokens_per_s(BASE)),
                rate(cell, cell.predicted.compiled_s), tokens(cell.tokens_per_s("hf-static-compile")), rate(cell, cell.predicted.bytes_s),
                tokens(cell.tokens_per_s(LIMIT)), tokens(None if cell.ours is None else cell.tokens_per_s(cell.ours)),
            )
        )  # fmt: skip
    head = ("model", "batch", "context", "eager", "hf", "compiled", "static", "bytes", "read", "ours")
    said = "; ".join(f"{SHORT[name]} {share(sum(each) / len(each))} over {len(each)} cells" for name, each in errors.items() if each)
    return [PREDICTED, markdown_table(head, rows, "<" + ">" * (len(head) - 1)), f"Mean error of the predictions: {said}.\n" if said else ""]


def _pythia(answers: Sequence[Answer]) -> list[str]:
    """The suite under Hugging Face and under ours, and what becomes of 1B against 410M."""
    own = [answer for answer in answers if answer.model.startswith("pythia")]
    if not own:
        return [PYTHIA, "Not measured yet.\n"]
    head = ("model", "parameters", "batch", "context", "hf", "generate", "loop", "limit", "gain", "loop / limit")
    rows = [
        (
            answer.model, f"{answer.rows[0].num_parameters / 1e9:.2f} B", *_place(cell),
            *(_rate(cell, name) for name in (BASE, "ours-generate", "ours-loop")), tokens(cell.tokens_per_s(LIMIT)),
            times(cell.gain(BASE)), share(cell.share_of_limit("ours-loop")),
        )
        for answer in sorted(own, key=lambda each: each.rows[0].num_parameters) for cell in answer.cells
    ]  # fmt: skip
    return [PYTHIA, markdown_table(head, rows, "<" + ">" * (len(head) - 1)), *pythia_sentences(own)]


def pythia_sentences(answers: Sequence[Answer]) -> list[str]:
    """1B against 410M in each cell that both have, under Hugging Face and under ours; the words follow from the ratio."""
    named = {answer.model: answer for answer in answers}
    if not {SMALL, LARGE} <= named.keys():
        return []
    said = []
    for large in named[LARGE].cells:
        small = named[SMALL].cell(large.batch, large.context)
        pairs = [] if small is None else [(name, large.tokens_per_s(name), small.tokens_per_s(name)) for name in (BASE, "ours-loop", LIMIT)]
        known = {name: above / below for name, above, below in pairs if above and below}
        if BASE in known and "ours-loop" in known:
            text = (
                f"At batch {large.batch} and {large.context} tokens Pythia-1B is {_compared(known[BASE])} Pythia-410M under Hugging Face, "
                f"and {_compared(known['ours-loop'])} it in our loop"
            )
            said.append(f"{text}; by its bytes it would be {_compared(known[LIMIT])} it." if LIMIT in known else f"{text}.")
    return [" ".join(said) + "\n"] if said else []


def _compared(ratio: float) -> str:
    """1.53: "1.53 times as fast as"."""
    return f"{ratio:.2f} times as fast as"


def _checks(checks: Sequence[Check]) -> list[str]:
    """Engines held against Hugging Face, each as it was last."""
    rows = [
        (
            check.model, SHORT[check.engine], check.dtype, str(check.batch), str(check.context),
            "-" if check.max_relative_difference is None else f"{check.max_relative_difference:.1e}",
            "-" if check.max_relative_error is None else f"{check.max_relative_error:.1e} / {check.hf_max_relative_error:.1e}",
            "-" if check.num_sure_tokens is None else f"{check.num_sure_tokens_right} of {check.num_sure_tokens}",
            f"{check.num_equal_tokens} of {check.num_tokens}" if check.error is None else check.error,
        )
        for check in sorted(
            last_checks(checks), key=lambda each: (each.model, each.dtype, each.batch, each.context, ENGINES.index(each.engine))
        )
    ]  # fmt: skip
    text = (
        "Fed Hugging Face's greedy tokens; difference: of a logit, over the largest of its step. Random weights make near ties. Against\n"
        "fp32: the engine's error against the same weights in fp32 / Hugging Face's own in this dtype. Sure tokens: of those that lead\n"
        "there by more than twice Hugging Face's error, how many are the engine's likeliest too. - where that was not measured.\n"
    )
    head = ("model", "engine", "dtype", "batch", "context", "difference", "against fp32", "sure tokens", "tokens equal")
    return ["## Held against Hugging Face\n", text, markdown_table(head, rows, "<<<>>>>>>")] if rows else []


def _machines(answers: Sequence[Answer], files: Sequence[str]) -> list[str]:
    made = dict.fromkeys(
        f"{row.gpu}; {', '.join(f'{name} {value}' for name, value in row.versions.items())}" for answer in answers for row in answer.rows
    )
    return ["## Machines\n", "\n".join(f"- {each}" for each in made) + "\n", f"Rows: {', '.join(files)}.\n" if files else ""]


def _place(cell: Cell) -> tuple[str, str]:
    return str(cell.batch), str(cell.context)


def _rate(cell: Cell, engine: str) -> str:
    row = cell.rows.get(engine)
    return tokens(cell.tokens_per_s(engine)) if row is None or row.status == "ok" else row.status.replace("_", " ")


def _bytes(cell: Cell) -> str:
    row = next(iter(cell.rows.values()))
    return num_bytes(row.weight_bytes + row.cache_bytes)


def _read_rate(cell: Cell) -> str:
    row = cell.row(LIMIT)
    return "-" if row is None or row.bytes_per_s is None else f"{row.bytes_per_s / 1e12:.2f} TB/s"


def _right(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, rows, ">" * len(header))
