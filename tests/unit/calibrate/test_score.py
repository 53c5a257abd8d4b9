"""Metrics against numbers worked out by hand, and the baselines against lines that are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from shapewright.calibrate.score import Line, fit_line, rank, score_set
from shapewright.calibrate.scored import ScoredSet


def scored(measured: list[float], predicted: list[float], held: list[bool], **changes: object) -> ScoredSet:
    time_s, answer_s = np.array(measured), np.array(predicted)
    plain = ScoredSet(
        name="gemm-x", gpu="h200", library="cuda13", source="by hand", split="none", goal_percent=4.0, measured_s=time_s,
        predicted_s=answer_s, low_s=0.9 * answer_s, high_s=1.1 * answer_s, limit_s=time_s / 2, is_held_out=np.array(held),
        regimes={"long": time_s > 2.5, "none": time_s > 99},
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


#: Errors of the held-out rows: +10, -10, 0, +50 %; the fifth row is not scored.
SET = scored([1.0, 2.0, 3.0, 4.0, 5.0], [1.1, 1.8, 3.0, 6.0, 50.0], [True, True, True, True, False])


def test_metrics_are_those_worked_out_by_hand() -> None:
    score = score_set(SET).overall
    assert score.num_rows == 4
    assert score.mape_percent == pytest.approx(17.5)
    assert score.median_percent == pytest.approx(10.0)
    assert score.p90_percent == pytest.approx(np.quantile([0, 10, 10, 50], 0.9))
    assert score.bias_percent == pytest.approx(5.0)
    assert score.rank == pytest.approx(1.0)
    # 1.0 lies in 0.99-1.21, 2.0 above 1.62-1.98, 3.0 in, 4.0 below 5.4.
    assert score.coverage_percent == pytest.approx(50.0)
    assert score.roofline_mape_percent == pytest.approx(50.0)


def test_regimes_are_scored_apart_and_empty_ones_left_out() -> None:
    regimes = score_set(SET).regimes
    assert list(regimes) == ["long"]
    assert (regimes["long"].num_rows, regimes["long"].mape_percent) == (2, pytest.approx(25.0))


def test_without_rows_to_fit_there_is_no_line() -> None:
    answer = score_set(replace(SET, is_held_out=np.ones(5, bool)))
    assert answer.line is None and answer.overall.line_mape_percent is None and answer.num_fitted == 0


def test_every_row_may_be_scored() -> None:
    answer = score_set(SET, is_every_row_scored=True)
    assert (answer.scored, answer.overall.num_rows, answer.num_fitted) == ("all", 5, 1)


def test_the_line_is_fitted_to_the_rows_that_are_not_held_out() -> None:
    limit_s = np.geomspace(1e-6, 1e-3, 60)
    held = np.arange(60) % 3 == 0
    truth = Line(launch_s=3e-6, factor=1.5).time_s(limit_s)
    # Held-out rows are three times as slow: the line must not know.
    time_s = np.where(held, 3 * truth, truth)
    answer = score_set(scored(list(time_s), list(time_s), list(held), limit_s=limit_s))
    assert answer.line is not None
    assert (answer.line.launch_s, answer.line.factor) == (pytest.approx(3e-6, rel=1e-3), pytest.approx(1.5, rel=1e-3))
    assert answer.overall.line_mape_percent == pytest.approx(200 / 3, rel=1e-3)


def test_outliers_do_not_pull_the_line() -> None:
    limit_s = np.geomspace(1e-6, 1e-3, 100)
    time_s = 2e-6 + 1.3 * limit_s
    time_s[::10] *= 20
    line = fit_line(limit_s, time_s)
    assert (line.launch_s, line.factor) == (pytest.approx(2e-6, rel=0.02), pytest.approx(1.3, rel=0.02))


def test_no_line_of_other_constants_has_less_error() -> None:
    random = np.random.default_rng(0)
    limit_s = np.exp(random.uniform(np.log(1e-7), np.log(1e-3), 300))
    time_s = (4e-6 + 1.4 * limit_s) * np.exp(0.3 * random.standard_normal(300))

    def error(line: Line) -> float:
        return float(np.abs(line.time_s(limit_s) / time_s - 1).mean())

    best = fit_line(limit_s, time_s)
    for launch, factor in [(0.9, 1), (1.1, 1), (1, 0.9), (1, 1.1), (1.05, 0.95), (0.95, 1.05)]:
        assert error(best) <= error(Line(launch_s=best.launch_s * launch, factor=best.factor * factor)) + 1e-6


def test_neither_constant_of_the_line_is_negative() -> None:
    limit_s = np.geomspace(1e-6, 1e-3, 50)
    steep, falling = fit_line(limit_s, 1.2 * limit_s**1.2), fit_line(limit_s, 1e-5 / limit_s)
    assert steep.launch_s >= 0 and steep.factor > 0
    assert falling.factor >= 0 and falling.launch_s > 0


def test_rank_counts_pairs_in_order() -> None:
    assert rank(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == pytest.approx(1.0)
    assert rank(np.array([3.0, 2, 1]), np.array([10.0, 20, 30])) == pytest.approx(-1.0)
    # Two of three pairs right: (2 - 1) / 3.
    assert rank(np.array([1.0, 3, 2]), np.array([1.0, 2, 3])) == pytest.approx(1 / 3)
    assert rank(np.array([1.0, 1]), np.array([1.0, 2])) is None
    assert rank(np.array([1.0]), np.array([1.0])) is None


def test_errors_grow_with_the_predictions_distance() -> None:
    errors = [score_set(replace(SET, predicted_s=factor * SET.measured_s)).overall.mape_percent for factor in (1.0, 1.05, 1.2, 2.0)]
    assert errors == pytest.approx([0.0, 5.0, 20.0, 100.0]) and all(a < b for a, b in pairwise(errors))
