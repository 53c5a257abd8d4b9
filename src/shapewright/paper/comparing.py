"""Two sources of a figure side by side: errors, the order of its series, and the places where a curve drops.

    compare(figure, said, found)       # `said` by prediction, `found` measured, logged or published

- error of a point: said / found - 1 at the same series and x; said is read off its curve where the x differ (straight line between its x)
- order: at each x of `found` where two series or more are known (by the same straight lines), the share of pairs that `said` orders alike;
  pairs nearer than `TIE` in `found` are ties and any order is right, and `said` is wrong where it has them the other way round by
  more than `TIE`. An x is right where every pair is
- a drop: y falls by more than `DROP` from one x of a curve to the next; found by `said` if it falls by half of that at least, within a step

Doubtful published points are never compared. Percent; y in the figure's unit; of figures in % the error is the difference in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from .figure import Figure
from .rows import Row
from .times import Source

#: Nearer than this two series tie (the claims of Figures 7 and 21 to 47 allow the same).
TIE = 0.05
#: A fall from one x to the next that counts as a drop, and the part of it that `said` must show.
DROP, SHOWN = 0.08, 0.5
Curves = Mapping[str, Mapping[float | str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesError:
    """Errors of one series, in percent (or points): their mean, median and 90th percentile without signs, and their signed median."""

    series: str
    num_points: int
    mean: float
    median: float
    p90: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything about one figure, GPU and pair of sources. Shares are None where nothing could be asked."""

    figure: str
    gpu: str
    source: str
    unit: str
    series: tuple[SeriesError, ...]
    mean: float
    median: float
    p90: float
    worst_series: float
    num_points: int
    order: float | None
    num_ordered_x: int
    num_drops: int
    num_drops_found: int
    missed_drops: tuple[tuple[str, float], ...]
    """Series and x after which `found` drops and `said` does not."""
    said: Source = "predicted"
    """Where `said` comes from; `source` is where `found` does."""


def compare(figure: Figure, said: Sequence[Row], found: Sequence[Row]) -> Comparison | None:
    """`said` against `found`, rows of one GPU each; None where no point of `found` can be compared."""
    truth = [row for row in found if row.quality != "doubtful" and row.y > 0]
    lines, known = _curves(said), _curves(truth)
    errors = {name: _errors(lines.get(name, {}), points, is_share=figure.unit == "%") for name, points in known.items()}
    errors = {name: each for name, each in errors.items() if each}
    if not errors:
        return None
    both = [each for values in errors.values() for each in values]
    order, num_ordered = _order(lines, known) if figure.is_sweep or figure.chart == "bars" else (None, 0)
    drops, missed = _drops(lines, known) if figure.is_sweep else (0, [])
    found_series = tuple(_series(name, values) for name, values in errors.items())
    return Comparison(
        figure=figure.id,
        gpu=truth[0].gpu,
        source=truth[0].source,
        unit=figure.unit,
        series=found_series,
        mean=float(np.mean(np.abs(both))),
        median=float(np.median(np.abs(both))),
        p90=float(np.quantile(np.abs(both), 0.9)),
        worst_series=max(each.mean for each in found_series),
        num_points=len(both),
        order=order,
        num_ordered_x=num_ordered,
        num_drops=drops,
        num_drops_found=drops - len(missed),
        missed_drops=tuple(missed),
        said=said[0].source,
    )


def _curves(rows: Sequence[Row]) -> Curves:
    """y by x of each series, in the order of x."""
    found: dict[str, dict[float | str, float]] = {}
    for row in rows:
        found.setdefault(row.series, {})[row.x] = row.y
    return {name: dict(sorted(points.items(), key=lambda each: (isinstance(each[0], str), each[0]))) for name, points in found.items()}


def _errors(line: Mapping[float | str, float], points: Mapping[float | str, float], *, is_share: bool) -> list[float]:
    """Signed errors in percent of the points that the line covers (in points of a share)."""
    pairs = [(value_at(line, x), y) for x, y in points.items()]
    return [said - y if is_share else 100 * (said / y - 1) for said, y in pairs if said is not None and y > 0]


def _series(name: str, values: Sequence[float]) -> SeriesError:
    size = np.abs(values)
    return SeriesError(
        series=name, num_points=len(values), mean=float(size.mean()), median=float(np.median(size)), p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(values)),
    )  # fmt: skip


def value_at(line: Mapping[Any, float], x: float | str) -> float | None:
    """y of a curve at x: its own, or on the straight line between its neighbours; None outside the curve."""
    if x in line or isinstance(x, str):
        return line.get(x)
    xs = [each for each in line if not isinstance(each, str)]
    if not xs or not xs[0] <= x <= xs[-1]:
        return None
    return float(np.interp(x, xs, [line[each] for each in xs]))


def _order(said: Curves, found: Curves) -> tuple[float | None, int]:
    """Share of x at which every pair of series stands in the right order, and how many x were asked."""
    names = [name for name in found if name in said]
    xs = sorted({x for name in names for x in found[name] if not isinstance(x, str)})
    if not xs:
        return _order_of_cases(said, found)
    answers = []
    for x in xs:
        known = {name: (value_at(found[name], x), value_at(said[name], x)) for name in names}
        values = [(a, b) for a, b in known.values() if a is not None and b is not None]
        pairs = [(a, b) for a, b in combinations(values, 2) if _is_clear(a[0], b[0])]
        if pairs:
            answers.append(all(_is_right(a, b) for a, b in pairs))
    return (float(np.mean(answers)) if answers else None), len(answers)


def _order_of_cases(said: Curves, found: Curves) -> tuple[float | None, int]:
    """Of bars: the share of pairs of cases in the right order."""
    answers = []
    for name in found:
        values = [(y, said[name][x]) for x, y in found[name].items() if x in said.get(name, {})]
        answers += [_is_right(a, b) for a, b in combinations(values, 2) if _is_clear(a[0], b[0])]
    return (float(np.mean(answers)) if answers else None), len(answers)


def _is_clear(first: float, second: float) -> bool:
    """Whether two values are further apart than a tie."""
    return abs(first / second - 1) > TIE


def _is_right(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether the second values of two pairs stand as the first do, or tie."""
    return (first[0] > second[0]) == (first[1] > second[1]) or not _is_clear(first[1], second[1])


def drops(points: Mapping[Any, float], least: float = DROP) -> list[int]:
    """Indices i of a curve from which it falls by more than `least` to i + 1."""
    values = list(points.values())
    return [index for index, (now, then) in enumerate(pairwise(values)) if then < (1 - least) * now]


def _drops(said: Curves, found: Curves) -> tuple[int, list[tuple[str, float]]]:
    """Drops of every found curve, and those that the said curve does not show, at the same x or one step beside."""
    total, missed = 0, []
    for name, points in found.items():
        line = {x: value for x in points if (value := value_at(said.get(name, {}), x)) is not None}
        xs = list(line)
        kept = {x: points[x] for x in xs}
        shown = set(drops(line, DROP * SHOWN))
        for index in drops(kept):
            total += 1
            if shown.isdisjoint((index - 1, index, index + 1)):
                missed.append((name, xs[index]))  # pyright: ignore[reportArgumentType]
    return total, missed
