"""Readings: questions answered from rows, verdicts and comparisons by hand; conditions that fail; what the shipped file names exists."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from shapewright.errors import InputError
from shapewright.expressions import Expression
from shapewright.paper.comparing import compare
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.judging import Verdict, all_claims
from shapewright.paper.readings import Facts, Reading, load_readings, load_rules, tell
from shapewright.paper.rows import Row


def row(x: int | str, y: float, *, source: str = "measured", series: str = "", gpu: str = "h200") -> Row:
    return Row(figure="5a", source=source, gpu=gpu, series=series, x=x, y=y, unit="TFLOP/s")  # type: ignore[arg-type]


MEASURED = [row(100, 10.0), row(200, 50.0), row(300, 40.0), row(400, 60.0), row("wide", 7.0, series="bars")]
ROWS = [*MEASURED, row(200, 20.0, source="predicted", gpu="a100-40gb"), *(replace(each, source="predicted") for each in MEASURED[:4])]
UNDECIDED = Verdict(word="not testable here", value=None, unit="", reading="")
COMPARED = compare(load_figure("5a"), [each for each in ROWS if each.source == "predicted" and each.gpu == "h200"], MEASURED[:4])
assert COMPARED is not None
FACTS = Facts(
    rows={"5a": ROWS},
    verdicts={("measured", 65): Verdict(word="disagrees", value=-2.5, unit="%", reading=""), ("a100", 65): UNDECIDED},
    comparisons={"5a": COMPARED},
)


def told(question: str, form: str = "{v:.2f}", holds: str = "1 == 1") -> str:
    return tell(_reading(question, form, holds), FACTS).text


def _reading(question: str, form: str = "{v:.2f}", holds: str = "1 == 1") -> Reading:
    return Reading(id="5a", text=form, asks={"v": question}, also={}, holds=(Expression(holds),))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("measured at 200", "50.00"), ("measured at 150", "30.00"), ("a100 at 200", "20.00"), ("measured at wide of bars", "7.00"),
        ("measured best", "60.00"), ("measured best_at", "400.00"), ("measured least", "10.00"), ("measured first", "10.00"),
        ("measured last", "60.00"), ("measured mean 150..350", "45.00"), ("measured falls", "1.00"), ("measured deepest", "20.00"),
        ("measured claim 65", "-2.50"), ("h200 error", "0.00"), ("h200 drops", "1.00"), ("h200 found", "1.00"),
        ("5a: measured at 100", "10.00"),
    ],
)  # fmt: skip
def test_questions_are_answered_from_the_rows(question: str, text: str) -> None:
    assert told(question) == text


@pytest.mark.parametrize(
    "question", ["measured at 500", "measured best of none", "a100 claim 65", "7a: measured at 100", "measured at of bars"]
)
def test_what_nothing_answers_breaks_the_reading_and_leaves_no_text(question: str) -> None:
    found = tell(_reading(question), FACTS)
    assert (found.text, found.broken) == ("", (question,))


def test_a_condition_that_fails_is_named() -> None:
    assert tell(_reading("measured best", holds="v > 100"), FACTS).broken == ("v > 100",)
    assert tell(_reading("measured best", holds="v > 50"), FACTS).broken == ()


@pytest.mark.parametrize("question", ["h100 at 200", "best"])
def test_a_question_of_an_unknown_source_is_refused(question: str) -> None:
    with pytest.raises(InputError, match="the reading of 5a asks"):
        told(question)


def test_an_unknown_blank_is_refused() -> None:
    with pytest.raises(InputError, match="the reading of 5a cannot be told"):
        told("measured best", form="{other}")


def test_every_figure_has_a_reading_and_rules_name_claims_and_figures_that_exist() -> None:
    figures, claims = {each.id for each in all_figures()}, {each.id for each in all_claims()}
    assert figures <= set(load_readings())
    assert sum(name.startswith("headline") for name in load_readings()) == 5
    for rule in load_rules():
        assert {rule.claim, *rule.claims} <= claims, rule.name
        assert set(rule.figures) <= figures, rule.name


def test_no_result_is_typed() -> None:
    """Rates, shares and ratios come from blanks alone: no number with a unit of a result stands in a text."""
    units = ("TFLOP/s", "token/s")
    for reading in (*load_readings().values(), *(rule.reading for rule in load_rules())):
        words = reading.text.split()
        for before, word in pairwise(words):
            assert not (word.strip(".,;()") in units and before[0].isdigit()), reading.id
