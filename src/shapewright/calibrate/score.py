"""How well predictions match measurements: errors of a `ScoredSet` on the rows that were kept out of the fit, beside two baselines.

Errors are |predicted / measured - 1| in percent: their mean (MAPE), median and 90th percentile. `bias_percent` is the median of
predicted / measured - 1, signed: above 0 the predictor says too long. `rank` is Kendall's tau-b between predicted and measured times (1:
every pair in the right order). `coverage_percent` is the share of measurements inside the 10-90 % interval; 80 is meant.
Baselines: the plain roofline (`limit_s`), and the line launch_s + factor x roofline fitted to the rows that are not held out, with the
least mean |line / measured - 1| that such a line can have there: least absolute deviations, which outliers do not pull, and the measure
that the line is then scored by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .scored import Array, ScoredSet

#: Relative error below which a row's weight in the fit of the line grows no further (met exactly, it would be infinite).
_LEAST_RELATIVE_ERROR = 1e-4
_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Baseline: `launch_s` + `factor` x roofline."""

    launch_s: float
    factor: float

    def time_s(self, limit_s: Array) -> Array:
        return self.launch_s + self.factor * limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of the scored rows of a set or of one regime; `line_mape_percent` is None where no row was left to fit the line to."""

    num_rows: int
    mape_percent: float
    median_percent: float
    p90_percent: float
    bias_percent: float
    rank: float | None
    """None where fewer than two measured times differ."""
    coverage_percent: float
    roofline_mape_percent: float
    line_mape_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetScore:
    """A set's score over all held-out rows and in each regime that has any; `num_fitted` rows were not held out.

    `scored` is "held out", or "all" for rows that no fit can have seen; the line is then scored on its own rows too.
    """

    name: str
    scored: Literal["held out", "all"]
    gpu: str
    library: str
    source: str
    split: str
    goal_percent: float | None
    num_fitted: int
    line: Line | None
    overall: Score
    regimes: Mapping[str, Score]


def score_set(scored: ScoredSet, *, is_every_row_scored: bool = False) -> SetScore:
    """The set's errors; at least one row must be scored."""
    held = scored.is_held_out.astype(bool)
    kept = held | is_every_row_scored
    assert kept.any(), f"{scored.name}: no row is held out"
    line = fit_line(scored.limit_s[~held], scored.measured_s[~held]) if (~held).sum() >= 2 else None
    masks = {name: kept & mask.astype(bool) for name, mask in scored.regimes.items()}
    return SetScore(
        name=scored.name,
        scored="all" if is_every_row_scored else "held out",
        gpu=scored.gpu,
        library=scored.library,
        source=scored.source,
        split=scored.split,
        goal_percent=scored.goal_percent,
        num_fitted=int((~held).sum()),
        line=line,
        overall=score_rows(scored, kept, line),
        regimes={name: score_rows(scored, mask, line) for name, mask in masks.items() if mask.any()},
    )


def score_rows(scored: ScoredSet, mask: Array, line: Line | None) -> Score:
    """Errors of the rows of `mask`."""
    measured, predicted, limit = (column[mask] for column in (scored.measured_s, scored.predicted_s, scored.limit_s))
    error = absolute_percent(predicted, measured)
    inside = (scored.low_s[mask] <= measured) & (measured <= scored.high_s[mask])
    return Score(
        num_rows=len(measured),
        mape_percent=float(error.mean()),
        median_percent=float(np.median(error)),
        p90_percent=float(np.quantile(error, 0.9)),
        bias_percent=float(100 * np.median(predicted / measured - 1)),
        rank=rank(predicted, measured),
        coverage_percent=float(100 * inside.mean()),
        roofline_mape_percent=float(absolute_percent(limit, measured).mean()),
        line_mape_percent=None if line is None else float(absolute_percent(line.time_s(limit), measured).mean()),
    )


def absolute_percent(predicted: Array, measured: Array) -> Array:
    """|predicted / measured - 1| in percent."""
    return 100 * np.abs(predicted / measured - 1)


def rank(predicted: Array, measured: Array) -> float | None:
    """Kendall's tau-b; None where either side is all one value."""
    from scipy.stats import kendalltau

    if len(np.unique(predicted)) < 2 or len(np.unique(measured)) < 2:
        return None
    return float(kendalltau(predicted, measured)[0])  # pyright: ignore[reportArgumentType]  # scipy has no types


def fit_line(limit_s: Array, measured_s: Array) -> Line:
    """The line of least mean |line / measured - 1|, neither launch nor factor below 0, by reweighted least squares."""
    columns = np.stack([1 / measured_s, limit_s / measured_s], axis=1)
    weight = np.ones(len(measured_s))
    solved = np.zeros(2)
    for _ in range(_ROUNDS):
        solved = _least_squares(columns, weight)
        weight = 1 / np.maximum(np.abs(columns @ solved - 1), _LEAST_RELATIVE_ERROR)
    return Line(launch_s=float(solved[0]), factor=float(solved[1]))


def _least_squares(columns: Array, weight: Array) -> Array:
    """The two coefficients, not below 0, that bring `columns` nearest to 1; where one would be negative it is 0."""
    root = np.sqrt(weight)[:, None]
    solved = np.linalg.lstsq(columns * root / columns.max(axis=0), root[:, 0], rcond=None)[0] / columns.max(axis=0)
    for index in np.flatnonzero(solved < 0)[:1]:
        other = columns[:, 1 - index]
        solved = np.zeros(2)
        solved[1 - index] = (weight * other).sum() / (weight * other**2).sum()
    return solved
