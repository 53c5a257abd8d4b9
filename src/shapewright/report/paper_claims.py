"""Verdicts on the paper's claims for people: each claim, then one line a GPU and source with verdict, number and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..paper.judging import WORDS, Judged, Verdict
from ..paper.times import Source
from . import units
from .table import Block, Row, format_hanging, format_remark, format_table

#: Of what stands under a claim; readings stand further in.
INDENT = 4
#: Below it a value is what rounding leaves.
ROUNDING = 5e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A judged claim, and by whose times."""

    judged: Judged
    gpu: str
    source: Source


def claims_text(answers: Sequence[Answer], every: Sequence[Answer], *, width: int = 80) -> str:
    """The verdicts in `answers`, those of one claim together; the counts below are of `every` one."""
    rows = [row for _, own in groupby(answers, key=lambda each: each.judged.claim.id) for row in _claim_rows(list(own), width)]
    table = format_table(("", "verdict", "value"), [Block(rows=tuple(rows))], "<<>", width=width) if rows else []
    lines = [] if len(answers) == len(every) else [f"shown: {len(answers)} of {units.counted(len(every), 'verdict')}"]
    lines += [f"{name}: {text}" for name, text in counts(every)]
    return "\n".join([*table, *([""] if table else []), *(line for each in lines for line in format_hanging(each, width))])


def counts(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """How many claims came out how, by GPU and source."""
    pairs = []
    for gpu, source in dict.fromkeys((each.gpu, each.source) for each in answers):
        words = [each.judged.verdict.word for each in answers if (each.gpu, each.source) == (gpu, source)]
        listed = ", ".join(f"{words.count(word)} {word}" for word in WORDS if word in words)
        pairs.append((f"{gpu} {source}", f"{units.counted(len(words), 'claim')}: {listed}"))
    return pairs


def _claim_rows(answers: Sequence[Answer], width: int) -> list[Row]:
    """The claim, what is expected and a known error of the paper above the verdicts, each with its reading."""
    claim = answers[0].judged.claim
    under = [f"expected: {claim.expected}", *([f"the paper's error: {claim.error}"] if claim.error else [])]
    lead = ["", *format_hanging(f"{claim.id}  {claim.where}: {claim.text}", width)]
    lead += [line for each in under for line in format_remark(each, width, INDENT)]
    shown = answers[:1] if claim.is_arithmetic else answers
    rows = []
    for place, each in enumerate(shown):
        verdict = each.judged.verdict
        name = "any GPU" if claim.is_arithmetic else f"{each.gpu} {each.source}"
        cells = (f"{' ' * INDENT}{name}", verdict.word, value_text(verdict))
        rows.append(Row(cells=cells, remark=verdict.reading, lead=() if place else tuple(lead)))
    return rows


def value_text(verdict: Verdict) -> str:
    """The number that decides with its unit; nothing where none does."""
    if verdict.value is None:
        return "-"
    if abs(verdict.value) < ROUNDING:
        return f"0 {verdict.unit}".rstrip()
    is_count = verdict.value == int(verdict.value) and abs(verdict.value) < 1e15
    number = f"{int(verdict.value):,}" if is_count else f"{verdict.value:.4g}"
    return f"{number} {verdict.unit}".rstrip()
