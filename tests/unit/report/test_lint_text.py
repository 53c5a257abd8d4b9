"""Findings as people read them: the whole text of one, its parts where something is missing, long or hostile."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shapewright.lint.finding import Fix, Price
from shapewright.report.lint_text import concise_text, full_text
from shapewright.report.lint_words import no_prices

FULL = """\
gpt/config.json:3: SW101 VocabNotPadded: vocab_size 50257 is odd: the logit
    products leave the tensor cores' fast path
    3 |   "vocab_size": 50257,
      |                 ^^^^^
  costs 40.5 of 357 ms a step on h200 (11.3 %, 10.2 to 12.6)
        51.0 of 858 ms on a100-40gb (5.9 %, 5.0 to 7.0)
        within the noise on v100-16gb
        nothing on mi250x
  fix: 50304 (+0.005 % parameters): 316 ms on h200

1 model, 1 finding, dearest 11.3 %; 1 at or above 1 % of the step (--fail-over)"""

CONCISE = (
    "gpt/config.json:3: SW101 VocabNotPadded: vocab_size 50257 is odd: the logit products leave the tensor cores' fast path; "
    "costs 40.5 of 357 ms a step on h200 (11.3 % +-1.2), 5.9 % on a100-40gb, within the noise on v100-16gb, nothing on mi250x; "
    "fix: 50304 (+0.005 % parameters)"
)


def test_the_whole_of_one_finding(make_run) -> None:
    assert full_text(make_run(), 80) == FULL


def test_one_line_a_finding(make_run) -> None:
    assert concise_text(make_run()) == CONCISE


def test_a_clean_model_says_what_was_predicted(make_run, make_linted) -> None:
    run = make_run(make_linted())
    line = "gpt/config.json: no findings; a step takes 357 ms on h200, 858 ms on a100-40gb, 1.20 s on v100-16gb, 900 ms on mi250x"
    assert concise_text(run) == line
    assert full_text(run, 200) == f"{line}\n\n1 model, 0 findings"


def test_a_model_of_the_catalogue_goes_by_its_name(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(file="catalogue", line=None), origin="catalogue"), make_linted(origin="catalogue"))
    lines = concise_text(run).splitlines()
    assert lines[0].startswith("toy: SW101 ") and lines[1].startswith("toy: no findings")


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_no_line_is_wider_than_the_page(make_run, width: int) -> None:
    assert max(map(len, full_text(make_run(), width).splitlines())) <= width


def test_a_run_of_nothing_but_failures_prints_nothing(make_run) -> None:
    run = replace(make_run(), linted=(), failures=(("nope", "unknown model"),))
    assert (full_text(run, 80), concise_text(run)) == ("", "")


def test_the_summary_counts_models_findings_and_failures(make_run, make_linted, make_finding) -> None:
    cheap = make_finding(prices=(Price(gpu="h200", cost_s=0.002, step_s=0.4, low=0.004, high=0.006, is_raised=True),))
    run = make_run(make_linted(make_finding(), cheap), make_linted(), failures=(("nope", "unknown model"),))
    summary = full_text(run, 200).splitlines()[-1]
    expected = "2 models, 2 findings, dearest 11.3 %; 1 at or above 1 % of the step (--fail-over); 1 model could not be linted or fixed"
    assert summary == expected


def shown_config(run, width: int = 80) -> list[str]:
    """The lines between the message and the price."""
    lines = full_text(run, width).splitlines()
    start = next(at for at, line in enumerate(lines) if " | " in line)
    end = next(at for at, line in enumerate(lines) if line.startswith("  costs"))
    return lines[start:end]


def test_a_value_that_is_not_in_its_line_gets_no_mark(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(field="head_dim", value=80)))
    assert shown_config(run) == ['    3 |   "vocab_size": 50257,']


def test_a_mark_stands_under_the_whole_number_only(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(value=64)), texts={"gpt/config.json": '\n\n  "h64": 640, "a": 6.4, "b": 64}'})
    line, mark = shown_config(run)
    assert line == '    3 |   "h64": 640, "a": 6.4, "b": 64}'
    assert mark == "      |".ljust(line.rindex("64")) + "^^"


def test_a_long_line_is_cut_around_its_value(make_run, make_linted, make_finding) -> None:
    long_line = '{"pad": "' + "x" * 300 + '", "vocab_size": 50257, "rest": "' + "y" * 300 + '"}'
    run = make_run(make_linted(make_finding(line=1)), texts={"gpt/config.json": long_line})
    line, mark = shown_config(run)
    assert len(line) <= 80 and line.startswith("    1 | ...") and line.endswith("...")
    assert line[mark.index("^") : mark.rindex("^") + 1] == "50257"


@pytest.mark.parametrize("long_line", ["x" * 500, '"vocab_size": 50257, ' + "y" * 300, "x" * 70 + " 50257", "\u00e9" * 90 + " 50257"])
@pytest.mark.parametrize("width", [40, 80])
def test_every_cut_line_keeps_its_value_over_its_mark(make_run, make_linted, make_finding, long_line: str, width: int) -> None:
    run = make_run(make_linted(make_finding(line=1)), texts={"gpt/config.json": long_line})
    line, *marks = shown_config(run, width)
    assert len(line) <= width
    assert [line[mark.index("^") : mark.rindex("^") + 1] for mark in marks] == (["50257"] if "50257" in long_line else [])


def test_control_characters_are_escaped_everywhere(make_run, make_linted, make_finding) -> None:
    evil = make_finding(file="a\x1b[31m\n.json", message="vocab_size 50257\x07 is\nodd", line=1)
    run = make_run(make_linted(evil, origin=evil.file), texts={evil.file: '\t"vocab_size": 50257\x1b[2J'})
    for text in (full_text(run, 80), concise_text(run)):
        assert all(character.isprintable() for character in text.replace("\n", ""))
    assert concise_text(run).count("\n") == 0
    assert shown_config(run)[0] == '    1 |  "vocab_size": 50257\\x1b[2J'


@pytest.mark.parametrize("texts", [{}, {"gpt/config.json": "one line\n"}, {"gpt/config.json": "\n\n\n"}])
def test_a_file_that_changed_since_shows_no_line(make_run, texts) -> None:
    text = full_text(make_run(texts=texts), 80)
    assert " | " not in text and "gpt/config.json:3: SW101" in text


def fixed(**changes) -> Fix:
    values = {
        "values": (("micro_batch", 5), ("global_batch", 20)), "params_change": 0.0, "step_s": (0.5, 0.6, 0.7, 0.8),
        "shares": (0.25, 0.2, 0.1, 0.0),
        "is_safe": True,
        "is_workload": True, "tokens_ratio": 5.0,
    }  # fmt: skip
    return Fix(**values | changes)


def fix_line(run) -> str:
    return next(line for line in full_text(run, 120).splitlines() if line.startswith("  fix:"))


def test_a_fix_of_the_workload_says_what_it_saves(make_run, make_linted, make_finding) -> None:
    """Its step has other tokens or GPUs, so that its time says nothing beside that of the step as it is."""
    run = make_run(make_linted(make_finding(field="micro_batch", value=4, fixes=(fixed(),))))
    assert fix_line(run) == "  fix: 5 with global_batch 20: saves 25.0 % on h200"


def test_a_price_of_a_fix_that_is_not_shown_names_it(make_run, make_linted, make_finding) -> None:
    first, second, *others = make_finding().prices
    prices = (replace(first, fix=(("vocab_size", 50304),)), replace(second, fix=(("vocab_size", 50432),)), *others)
    run = make_run(make_linted(make_finding(prices=prices)))
    assert "51.0 of 858 ms on a100-40gb (5.9 %, 5.0 to 7.0) for 50432\n" in full_text(run, 200)
    assert "(11.3 %, 10.2 to 12.6)\n" in full_text(run, 200)
    assert "5.9 % on a100-40gb for 50432, within the noise" in concise_text(run)


def test_a_fix_of_another_field_names_it(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(fixes=(fixed(values=(("is_gated", False),), tokens_ratio=1.0),))))
    assert fix_line(run) == "  fix: is_gated false: saves 25.0 % on h200"


def test_a_fix_that_cannot_be_made_on_the_dearest_gpu_has_no_time(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(fixes=(fixed(values=(("vocab_size", 1),), step_s=(math.nan, 1, 1, 1)),))))
    assert fix_line(run) == "  fix: 1"


def test_several_fixes_stand_below_each_other_and_a_caution_is_said_once(make_run, make_linted, make_finding) -> None:
    fixes = tuple(fixed(values=(("vocab_size", size),), tokens_ratio=1.0, caution="fewer heads may cost accuracy") for size in (64, 128))
    lines = full_text(make_run(make_linted(make_finding(fixes=fixes))), 80).splitlines()
    start = lines.index("  fix: 64: saves 25.0 % on h200")
    assert lines[start + 1 : start + 4] == ["       128: saves 25.0 % on h200", "  caution: fewer heads may cost accuracy", ""]


def test_units_that_differ_are_both_said(make_run, make_linted, make_finding) -> None:
    price = Price(gpu="h200", cost_s=0.0021, step_s=2.12, low=0.0005, high=0.0015, is_raised=True)
    assert "costs 2.10 ms of 2.12 s a step on h200" in concise_text(make_run(make_linted(make_finding(prices=(price,)))))


@pytest.mark.parametrize(
    ("share", "low", "high", "words"),
    [
        (0.0005, -0.01, 0.02, "nothing"), (-0.05, -0.1, 0.01, "nothing"), (0.02, -0.01, 0.04, "within the noise"),
        (0.3, 0.25, 0.35, "no fault"), (-0.136, -0.19, -0.08, "the fix costs 13.6 %"),
    ],
)  # fmt: skip
def test_why_a_gpu_raises_no_finding(make_finding, share: float, low: float, high: float, words: str) -> None:
    """A saving clear of the noise that is not raised is no price of the fault: the rule does not see it there."""
    prices = [Price(gpu=gpu, cost_s=share, step_s=1.0, low=low, high=high, is_raised=False) for gpu in ("v100-16gb", "t4")]
    found = make_finding(prices=(make_finding().prices[0], *prices))
    assert no_prices(found) == [f"{words} on v100-16gb, t4"]
