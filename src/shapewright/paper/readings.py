"""What a figure or a rule shows, in sentences whose every number is computed, and the conditions under which the sentences are true.

    told = tell(load_readings()[0], facts)
    told.text, told.broken           # broken: conditions that do not hold; the sentence is false then and must not be shown

A reading of `readings.toml` asks for values, `measured at 8192 of t=8`, may derive others by arithmetic, and fills them into its text.
`Facts` answers: rows of figures, verdicts of claims and comparisons. Units are those of the figures (TFLOP/s, %, s) and claims. A question
that nothing answers breaks the sentences too. Errors: a question or an expression that cannot be read is an `InputError`.

A question is `[FIGURE: ]SOURCE WHAT [WHERE] [of SERIES]`; SOURCE is a100 (predicted), h200 (predicted) or measured (H200). WHAT:

- at X (on straight lines between points), first, last, best, least: y; best_at: the x of the best
- mean LOW..HIGH: the mean of y there; deepest: the deepest fall from one x to the next in %; falls: how many exceed 8 %
- claim N: the number that decides it; error, order, drops, found: of the comparison of this prediction with the measurement
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from ..errors import InputError, ShapewrightError
from ..expressions import Expression
from .comparing import Comparison, drops, value_at
from .judging import Verdict
from .rows import Row

#: What the questions call each GPU and source.
SOURCES = {"a100": ("a100-40gb", "predicted"), "h200": ("h200", "predicted"), "measured": ("h200", "measured")}
_QUESTION = re.compile(r"(?:(?P<figure>\w+): )?(?P<source>\w+) (?P<what>\w+)(?: (?!of )(?P<where>.+?))?(?: of (?P<series>.+))?")
_COMPARED = {"error": "mean", "order": "order", "drops": "num_drops", "found": "num_drops_found"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Sentences with blanks. `id`: a figure, or the name of a rule or of one of the headlines."""

    id: str
    text: str
    asks: Mapping[str, str]
    also: Mapping[str, Expression]
    holds: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the paper: the claim whose number decides it, what that number is, and where else it is dealt with."""

    name: str
    claim: int
    number: str
    claims: tuple[int, ...]
    figures: tuple[str, ...]
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What readings ask: rows by figure, verdicts by source and claim, and comparisons of predictions with measurements on the H200."""

    rows: Mapping[str, Sequence[Row]]
    verdicts: Mapping[tuple[str, int], Verdict]
    comparisons: Mapping[str, Comparison]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A reading with its numbers; `broken`: conditions that do not hold, and questions that nothing answers."""

    id: str
    text: str
    broken: tuple[str, ...]


@cache
def load_readings() -> Mapping[str, Reading]:
    """Readings of figures and the headlines, by id, in the order of the file."""
    found = [_reading(entry, each) for entry in _data()["readings"] for each in entry.get("ids", [entry.get("id")])]
    return {each.id: each for each in found}


@cache
def load_rules() -> tuple[Rule, ...]:
    """The paper's rules, in the order in which the book lists them."""
    return tuple(_rule(entry) for entry in _data()["rules"])


def tell(reading: Reading, facts: Facts) -> Told:
    """The sentences with their numbers; a question that nothing answers breaks them as a condition does that fails."""
    values: dict[str, Any] = {name: _answer(question, reading, facts) for name, question in reading.asks.items()}
    if open_questions := tuple(reading.asks[name] for name, value in values.items() if value is None):
        return Told(id=reading.id, text="", broken=open_questions)
    try:
        for name, expression in reading.also.items():
            values[name] = expression(values)
        broken = tuple(each.text for each in reading.holds if not each(values))
        return Told(id=reading.id, text=reading.text.format(**values), broken=broken)
    except (ShapewrightError, KeyError, ValueError) as error:
        raise InputError(f"the reading of {reading.id} cannot be told: {error}", hint="mend it in readings.toml") from None


def _answer(question: str, reading: Reading, facts: Facts) -> float | str | None:
    """The value asked for; None where it was not measured, or nothing decides the claim."""
    match = _QUESTION.fullmatch(question)
    if match is None or match["source"] not in SOURCES:
        raise InputError(f"the reading of {reading.id} asks {question!r}", hint="as in: 5a: measured at 8192 of t=8")
    figure, what = match["figure"] or reading.id, match["what"]
    if what == "claim":
        return facts.verdicts[match["source"], int(match["where"])].value
    if what in _COMPARED:
        found = facts.comparisons.get(figure)
        return None if found is None else getattr(found, _COMPARED[what])
    line = _line(facts.rows.get(figure, ()), SOURCES[match["source"]], match["series"] or "")
    return _of_line(line, what, match["where"] or "") if line else None


def _line(rows: Sequence[Row], source: tuple[str, str], series: str) -> dict[float | str, float]:
    """y by x of one curve, x rising."""
    own = {row.x: row.y for row in rows if (row.gpu, row.source) == source and row.series == series}
    return dict(sorted(own.items(), key=lambda each: (isinstance(each[0], str), each[0])))


def _of_line(line: Mapping[float | str, float], what: str, where: str) -> float | str | None:
    values = list(line.values())
    match what:
        case "at":
            return value_at(line, where if where in line else float(where)) if where in line or _is_number(where) else None
        case "mean":
            low, high = (float(each) for each in where.split(".."))
            kept = [y for x, y in line.items() if not isinstance(x, str) and low <= x <= high]
            return sum(kept) / len(kept) if kept else None
        case "first" | "last":
            return values[0 if what == "first" else -1]
        case "best" | "least":
            return max(values) if what == "best" else min(values)
        case "best_at":
            return max(line, key=lambda x: line[x])
        case "falls":
            return len(drops(line))
        case "deepest":
            return 100 * max((1 - then / now for now, then in pairwise(values)), default=0.0)
    return None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads((files("shapewright.paper") / "readings.toml").read_text("utf-8"))


def _rule(entry: Mapping[str, Any]) -> Rule:
    return Rule(
        name=entry["name"], claim=entry["claim"], number=entry["number"], claims=tuple(entry.get("claims", ())),
        figures=tuple(entry.get("figures", ())), reading=_reading(entry, f"rule {entry['claim']}"),
    )  # fmt: skip


def _reading(entry: Mapping[str, Any], name: str) -> Reading:
    return Reading(
        id=name, text=" ".join(entry["text"].split()), asks=entry.get("ask", {}),
        also={key: Expression(text) for key, text in entry.get("also", {}).items()},
        holds=tuple(Expression(text) for text in entry.get("holds", ())),
    )  # fmt: skip
