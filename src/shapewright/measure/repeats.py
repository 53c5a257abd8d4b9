"""Two runs of the same points: how far their times agree. Times in seconds, changes in percent of the first run's time.

    repeats = compare_runs(first.rows, second.rows)
    repeats.kinds["gemm"].median_percent, repeats.pairs[0].ratio         # pairs: the farthest apart first

A point is the same measurement where its settings are (`points.key_of`); of one that was measured again in a run the last good row counts.
Rows of a kind that is not known are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .run_lines import key_of_row

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One point in both runs; the rows as they stand there."""

    first: Row
    second: Row

    @property
    def ratio(self) -> float:
        """Time in the second run over that in the first."""
        return float(self.second["time_s"]) / float(self.first["time_s"])

    @property
    def change_percent(self) -> float:
        return 100 * (self.ratio - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """|ratio - 1| of the points of a kind, in percent; `bias_percent` is the median of ratio - 1, signed."""

    num_points: int
    median_percent: float
    mean_percent: float
    p90_percent: float
    worst_percent: float
    bias_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Points that both runs hold a good row of, and how many only one of them does."""

    pairs: tuple[Pair, ...]
    kinds: Mapping[str, Spread]
    num_only_first: int
    num_only_second: int
    num_unusable: int
    """Rows of either run that failed or are of no known kind."""


def compare_runs(first: Sequence[Row], second: Sequence[Row]) -> Repeats:
    """The points of both runs beside each other, and `kinds` with `all` before the others."""
    left, right = _usable(first), _usable(second)
    pairs = [Pair(first=row, second=right[key]) for key, row in left.items() if key in right]
    pairs.sort(key=lambda pair: -abs(pair.ratio - 1))
    names = dict.fromkeys(str(pair.first["kind"]) for pair in pairs)
    groups = {"all": pairs} if len(names) > 1 else {}
    groups |= {name: [pair for pair in pairs if pair.first["kind"] == name] for name in names}
    return Repeats(
        pairs=tuple(pairs),
        kinds={name: _spread(members) for name, members in groups.items()},
        num_only_first=len(left.keys() - right.keys()),
        num_only_second=len(right.keys() - left.keys()),
        num_unusable=sum(not _is_usable(row) for row in (*first, *second)),
    )


def _usable(rows: Iterable[Row]) -> dict[str, Row]:
    return {key: row for row in rows if _is_usable(row) and (key := key_of_row(row)) is not None}


def _is_usable(row: Row) -> bool:
    time_s = row.get("time_s")
    is_number = isinstance(time_s, int | float) and not isinstance(time_s, bool) and time_s > 0
    return row.get("status") == "ok" and is_number and key_of_row(row) is not None


def _spread(pairs: Sequence[Pair]) -> Spread:
    ratios = np.array([pair.ratio for pair in pairs])
    changes = 100 * np.abs(ratios - 1)
    return Spread(
        num_points=len(pairs),
        median_percent=float(np.median(changes)),
        mean_percent=float(changes.mean()),
        p90_percent=float(np.quantile(changes, 0.9)),
        worst_percent=float(changes.max()),
        bias_percent=float(100 * (np.median(ratios) - 1)),
    )
