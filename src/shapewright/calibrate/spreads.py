"""Intervals from rows kept out of a fit: 10th and 90th percentile of measured / predicted, by predicted time (seconds)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import SPREAD_EDGES_S, Spread

Array = NDArray[Any]

#: A bin with fewer rows takes the percentiles of all.
FEWEST_ROWS = 30


def spreads_by_time(predicted_s: Array, measured_s: Array) -> tuple[Spread, ...]:
    """One `Spread` a bin of predicted time, parted at `SPREAD_EDGES_S`."""
    ratio, bins = measured_s / predicted_s, np.digitize(predicted_s, SPREAD_EDGES_S)
    spreads = []
    for index in range(len(SPREAD_EDGES_S) + 1):
        inside = ratio[bins == index] if (bins == index).sum() >= FEWEST_ROWS else ratio
        low, high = np.quantile(inside, [0.1, 0.9])
        spreads.append(Spread(low=round(float(min(low, 0.99)), 3), high=round(float(max(high, 1.01)), 3)))
    return tuple(spreads)
