"""Rows of a figure: one value a row, of whatever source, all that charts, tables and comparisons read.

    figure_rows(load_figure("7a"), Predicted(gpu=load_gpu("h200")))       # predicted, or with `Measured` measured
    published_rows(load_figure("7a"))                                       # read off the paper's picture, with the quality of each point

y is in the figure's unit: TFLOP/s, %, s, or a ratio (x). `x` is a size, or the name of a case. Points that have no time give no row.
Published qualities: exact (a printed label or number), approx, doubtful (never compared with), notebook (the authors' released notebook).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from ..measure.points import Point
from .cases import case_points, case_values
from .curves import Curve, curves
from .figure import Figure
from .times import Source, Time, Times

TERA = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value of one series. `low` and `high`: 10th and 90th percentile where they are known; `quality` of published points."""

    figure: str
    source: Source
    gpu: str
    series: str
    x: int | float | str
    y: float
    unit: str
    low: float | None = None
    high: float | None = None
    quality: str = ""


def figure_rows(figure: Figure, times: Times, dtype: str = "fp16", *, only_measured_x: bool = False) -> list[Row]:
    """Every value of the figure by `times`; `only_measured_x`: at the x that a measurement takes."""
    if figure.is_diagram:
        return []
    if figure.is_sweep:
        is_thin = only_measured_x or times.source == "measured"
        return curve_rows(figure, curves(figure, dtype, is_measured=is_thin), times)
    values = case_values(figure, times, dtype)
    source, gpu = times.source, times.gpu.name
    return [Row(figure=figure.id, source=source, gpu=gpu, series=series, x=x, y=y, unit=unit) for series, x, y, unit in values]


def curve_rows(figure: Figure, wanted: Iterable[Curve], times: Times) -> list[Row]:
    """Rates of curves; one that lacks the time of a part has no row there."""
    wanted = list(wanted)
    found = iter(times.of([point for curve in wanted for point in curve.points]))
    rows = []
    for curve in wanted:
        for item in curve.items:
            parts = [next(found) for _ in item.points]
            if (total := added(parts)) is None:
                continue
            rates = [item.flops / seconds / TERA for seconds in (total.time_s, total.high_s, total.low_s)]
            rows.append(
                Row(
                    figure=figure.id, source=times.source, gpu=times.gpu.name, series=curve.name, x=item.x, y=rates[0], unit=figure.unit,
                    low=rates[1], high=rates[2],
                )
            )  # fmt: skip
    return rows


def added(parts: Sequence[Time | None]) -> Time | None:
    """Times one after another; None where one is missing. Percentiles add up: errors of one library's kernels go together."""
    known = [each for each in parts if each is not None]
    if not known or len(known) != len(parts):
        return None
    time_s, low_s, high_s, wall_s = (sum(getattr(each, name) for each in known) for name in ("time_s", "low_s", "high_s", "wall_s"))
    return Time(time_s=time_s, low_s=low_s, high_s=high_s, wall_s=wall_s)


def measured_points(figure: Figure, dtype: str = "fp16") -> list[Point]:
    """What measuring the figure takes, each point once, in order."""
    if figure.is_diagram:
        return []
    if figure.is_sweep:
        points = [point for curve in curves(figure, dtype, is_measured=True) for point in curve.points]
    else:
        points = case_points(figure, dtype)
    return list(dict.fromkeys(points))


def published_rows(figure: Figure) -> list[Row]:
    """Points read off the picture, and values of the authors' notebook, under the names of the figure's curves."""
    names = {series.published: series.name for series in figure.series if series.published}
    return [replace(row, series=names.get(row.series, row.series)) for row in _published() if row.figure == figure.id]


@cache
def _published() -> tuple[Row, ...]:
    text = (files("shapewright.paper") / "published.csv").read_text("utf-8")
    return tuple(_published_row(entry) for entry in csv.DictReader(text.splitlines()))


def _published_row(entry: dict[str, str]) -> Row:
    return Row(
        figure=entry["figure"], source="published", gpu=entry["gpu"], series=entry["series"], x=_number(entry["x"]), y=float(entry["y"]),
        unit=entry["unit"], quality=entry["quality"],
    )  # fmt: skip


def _number(text: str) -> int | float | str:
    """A size where the text is one."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text
