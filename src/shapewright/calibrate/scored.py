"""Measured rows of one kind on one GPU beside what the predictor says of them: what `accuracy` scores.

Arrays have one entry a row; times in seconds. `is_held_out` marks the rows that no constant was fitted to: only they are scored, the others
fit the baselines. Regimes are named masks and may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredSet:
    """Rows of one kind (`name`, for example "gemm-h200") on one GPU and library, with the goal for their mean error (None: none set)."""

    name: str
    gpu: str
    library: str
    source: str
    """Who measured them, and how: one line, with the licence of published rows."""
    split: str
    """How rows were kept out of the fit, in words."""
    goal_percent: float | None
    measured_s: Array
    predicted_s: Array
    low_s: Array
    high_s: Array
    limit_s: Array
    """The roofline of each row: the plain baseline, and the variable of the fitted one."""
    is_held_out: Array
    regimes: Mapping[str, Array]
    """Name -> mask over the rows."""

    def __post_init__(self) -> None:
        columns = (self.measured_s, self.predicted_s, self.low_s, self.high_s, self.limit_s, self.is_held_out, *self.regimes.values())
        assert all(len(column) == len(self.measured_s) for column in columns)
        assert bool(np.all(self.measured_s > 0))
