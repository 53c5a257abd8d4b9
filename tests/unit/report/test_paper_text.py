"""Pages of the paper's figures and claims: places that are shown, columns of the page, missed drops, verdicts of several sources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.judging import Claim, Judged, Verdict, Word
from shapewright.paper.reports import FigureReport, figure_report
from shapewright.paper.rows import Row
from shapewright.paper.times import Predicted, Source
from shapewright.report.paper_claims import Answer, claims_text, counts, value_text
from shapewright.report.paper_text import figure_list, figures_text, shown_xs

CLAIM = Claim(
    id=7, where="III", text="Waves matter.", expected="a fall of 20 %", how="Figure 5b", error="", is_arithmetic=False, judges="none"
)  # fmt: skip


def test_places_are_spread_over_the_axis() -> None:
    assert shown_xs(range(128, 32641, 128), is_log=False) == [4096, 8192, 12288, 16256, 20352, 24448, 28544, 32640]
    assert shown_xs(range(51136, 51265), is_log=False)[::7] == [51136, 51264]
    assert shown_xs([2**power for power in range(5, 14)], is_log=True) == [2**power for power in range(6, 14)]
    assert shown_xs([3, 1, 3], is_log=False) == [1, 3] and shown_xs([], is_log=False) == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_figure_keeps_to_the_page(width: int) -> None:
    times = [Predicted(gpu=load_gpu("a100-40gb")), Predicted(gpu=load_gpu("h200"))]
    text = figures_text([figure_report(figure, times) for figure in all_figures() if figure.section != "Appendix B"], width=width)
    assert max(map(len, text.splitlines())) <= width
    assert max(map(len, figure_list(all_figures(), width).splitlines())) <= width


def test_missed_drops_are_named() -> None:
    """A curve that falls by half where the prediction does not."""
    figure = load_figure("10a")
    report = figure_report(figure, [Predicted(gpu=load_gpu("a100-40gb"))])
    kept = replace(report.comparisons[0], num_drops=6, num_drops_found=1, missed_drops=tuple(("", x) for x in range(1024, 6000, 1024)))
    text = " ".join(figures_text([replace(report, comparisons=(kept,))]).split())
    assert "1 of 6" in text and "drops not shown after 1024, 2048, 3072, 4096 and 1 more" in text
    assert "compared errors are those of the first source" in text
    assert "compared" not in figures_text([replace(report, comparisons=())])


def test_doubtful_points_stand_in_no_column() -> None:
    figure = load_figure("1")
    own = Row(figure="1", source="predicted", gpu="g", series="throughput", x="C1", y=12.5, unit="TFLOP/s")
    rows = [own, replace(own, source="published", y=99.0, quality="doubtful")]
    report = FigureReport(figure=figure, dtype="fp16", gpus=(), rows=tuple(rows), comparisons=(), remarks=("so it is",))
    text = figures_text([report])
    assert "12.5 TFLOP/s" in text and "99" not in text and "remark" in text and "so it is" in text


def answer(word: Word, value: float | None = 0.25, *, source: Source = "predicted", claim: Claim = CLAIM, unit: str = "x") -> Answer:
    verdict = Verdict(word=word, value=value, unit=unit, reading=f"as {source}")
    return Answer(judged=Judged(claim=claim, verdict=verdict), gpu="h200", source=source)


def test_verdicts_of_one_claim_stand_together() -> None:
    answers = [answer("agrees"), answer("disagrees", source="measured")]
    lines = claims_text(answers, answers).splitlines()
    assert sum("Waves matter." in line for line in lines) == 1
    assert [line.split() for line in lines if "h200 " in line and "claim" not in line] == [
        ["h200", "predicted", "agrees", "0.25", "x"], ["h200", "measured", "disagrees", "0.25", "x"],
    ]  # fmt: skip
    assert counts(answers) == [("h200 predicted", "1 claim: 1 agrees"), ("h200 measured", "1 claim: 1 disagrees")]


def test_what_is_the_same_everywhere_is_said_once() -> None:
    own = replace(CLAIM, is_arithmetic=True, error="it is 21 %")
    answers = [answer("agrees", claim=own), answer("agrees", source="measured", claim=own)]
    text = claims_text(answers, answers)
    assert text.count("agrees  ") == 1 and "any GPU" in text and "the paper's error: it is 21 %" in text


def test_filtered_verdicts_are_counted() -> None:
    answers = [answer("agrees"), answer("depends", claim=replace(CLAIM, id=8))]
    text = claims_text(answers[1:], answers)
    assert "shown: 1 of 2 verdicts" in text and "h200 predicted: 2 claims: 1 agrees, 1 depends" in text
    assert claims_text([], answers).startswith("shown: 0 of 2 verdicts")


def test_values_of_verdicts() -> None:
    values = [(None, ""), (4.0, "of 5 models"), (0.68924, "%"), (2651548160.0, "parameters"), (1e300, "")]
    texts = [value_text(Verdict(word="agrees", value=value, unit=unit, reading="")) for value, unit in values]
    assert texts == ["-", "4 of 5 models", "0.6892 %", "2,651,548,160 parameters", "1e+300"]
