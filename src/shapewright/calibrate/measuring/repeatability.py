"""Whether two occasions agree, and how many points a second a run takes.

    deviation of a point = |time on the second occasion / time on the first - 1|

Points are matched by their key; one that either occasion lacks is left aside. Percent; points a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ...measure.run_lines import key_of_row
from ...measure.store import RunRows
from .runs import Row, ok_rows

#: What agreement is asked for, in percent: in the median and at the 90th percentile; and points a second.
GOAL_MEDIAN_PERCENT, GOAL_P90_PERCENT, GOAL_PER_S = 2.0, 5.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatability:
    """Two occasions of one plan. `shift_percent` is the median of second / first - 1, signed."""

    first: str
    second: str
    num_points: int
    median_percent: float
    p90_percent: float
    worst_percent: float
    worst_point: str
    shift_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Points measured between the first and the last row of every start of a run, and the seconds in between."""

    run: str
    num_points: int
    span_s: float
    per_s: float


def repeatability(first: RunRows, second: RunRows) -> Repeatability | None:
    """The deviations of the points of both runs; None where they share none."""
    earlier, later = ({key_of_row(row): row for row in ok_rows([run])} for run in (first, second))
    shared = [key for key in earlier if key in later]
    if not shared:
        return None
    ratios = np.array([later[key]["time_s"] / earlier[key]["time_s"] for key in shared]) - 1
    percent = 100 * np.abs(ratios)
    median, p90 = np.quantile(percent, [0.5, 0.9]).tolist()
    worst = int(np.argmax(percent))
    return Repeatability(
        first=first.path.name, second=second.path.name, num_points=len(shared), median_percent=median, p90_percent=p90,
        worst_percent=float(percent[worst]), worst_point=product_name(earlier[shared[worst]]), shift_percent=float(100 * np.median(ratios)),
    )  # fmt: skip


def rate(run: RunRows) -> Rate | None:
    """Points a second of a run, whatever became of them; None where its rows carry no two different times.

    Rows of a group carry one time (UTC, to the second): what counts is every row later than the first time of its start.
    """
    count, span_s = 0, 0.0
    for start in sorted(set(run.starts)):
        times = [_seconds(row["at"]) for row, own in zip(run.rows, run.starts, strict=True) if own == start and "at" in row]
        if times and max(times) > min(times):
            count += sum(time > min(times) for time in times)
            span_s += max(times) - min(times)
    return Rate(run=run.path.name, num_points=count, span_s=span_s, per_s=count / span_s) if count else None


def product_name(row: Row) -> str:
    """A product in words: bf16 NT 1 x 8192 x 11008 x 4096 (batch, m, n, k); of other kinds the kind."""
    if row["kind"] != "gemm":
        return str(row["kind"])
    sizes = " x ".join(str(row.get(name, 1)) for name in ("batch", "m", "n", "k"))
    return f"{row.get('dtype', 'bf16')} {row.get('layout', 'NT')} {sizes}"


def throttle_shares(rows: Sequence[Row]) -> dict[str, float]:
    """Share of the rows whose card gave each reason for a lowered clock, before or after."""
    reasons = [set(filter(None, str(row.get("throttle", "")).split("+"))) for row in rows]
    return {name: sum(name in each for each in reasons) / len(reasons) for name in sorted(set().union(*reasons))} if reasons else {}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
