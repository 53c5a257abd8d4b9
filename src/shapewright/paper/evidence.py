"""What a claim is judged by: times of one GPU, predicted or measured, asked for by operator and size.

    evidence = Evidence(times=Predicted(gpu=load_gpu("h200")))
    evidence.rate("score", h=4096, a=32)                            # TFLOP/s of an operator of figures.toml; b = 4, s = 2048, t = 1
    evidence.seconds(GemmPoint(m=8192, n=50257, k=2560))            # of any point; several are added up
    evidence.rows("5b")                                             # a figure's rows, by this evidence

A time that is not there raises `NoTimeError`, which becomes the verdict "not testable here"; a judge need not look for it.
`recorded_points` tells which points a judge asks for: what measuring its claim takes. Seconds, TFLOP/s; dtype fp16, as in the paper, where
the GPU has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..hardware.gpu import Gpu
from ..measure.points import Point
from .curves import item_of
from .figure import FIXED, load_figure, load_operator
from .rows import Row, added, figure_rows
from .times import Around, Predicted, Time, Times


class NoTimeError(Exception):
    """A point that evidence has no time of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Times of one GPU, and the questions that judges ask of them."""

    times: Times
    dtype: str = "fp16"
    known: dict[str, list[Row]] = field(default_factory=dict, compare=False)

    @property
    def gpu(self) -> Gpu:
        return self.times.gpu

    @property
    def is_measured(self) -> bool:
        return self.times.source == "measured"

    def time(self, *points: Point) -> Time:
        """The times of points, one after another."""
        found = added(self.times.of(points))
        if found is None:
            raise NoTimeError
        return found

    def seconds(self, *points: Point) -> float:
        """Seconds of GPU time of points, one after another."""
        return self.time(*points).time_s

    def rate(self, operator: str, **variables: int) -> float:
        """TFLOP/s of an operator."""
        return self.rates(operator, [variables])[0]

    def rates(self, operator: str, cases: Iterable[dict[str, int]]) -> list[float]:
        """TFLOP/s of an operator for each set of variables, priced together."""
        items = [item_of(load_operator(operator), {**FIXED, **case}, self.dtype) for case in cases]
        times = iter(self.times.of([point for item in items for point in item.points]))
        totals = [added([next(times) for _ in item.points]) for item in items]
        if any(total is None for total in totals):
            raise NoTimeError
        return [item.flops / total.time_s / 1e12 for item, total in zip(items, totals, strict=True) if total is not None]

    def rows(self, figure: str) -> list[Row]:
        """The figure's rows at the x that a measurement takes, so that both sources see the same places; none missing altogether."""
        if figure not in self.known:
            self.known[figure] = figure_rows(load_figure(figure), self.times, self.dtype, only_measured_x=True)
        if not self.known[figure]:
            raise NoTimeError
        return self.known[figure]

    def curve(self, figure: str, series: str = "") -> dict[int, float]:
        """y by x of one series of a figure."""
        found = {int(row.x): row.y for row in self.rows(figure) if row.series == series}
        if not found:
            raise NoTimeError
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recording(Around):
    """Times that keep what was asked for."""

    asked: dict[Point, None]

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        self.asked.update(dict.fromkeys(points))
        return self.inner.of(points)


def recorded_points(judges: Iterable[Callable[[Evidence], Any]], gpu: Gpu, dtype: str = "fp16") -> list[Point]:
    """Every point that the judges ask for, each once."""
    asked: dict[Point, None] = {}
    evidence = Evidence(times=_Recording(inner=Predicted(gpu=gpu), asked=asked), dtype=dtype)
    for judge in judges:
        try:
            judge(evidence)
        except NoTimeError:
            continue
    return list(asked)


def on_gpu(evidence: Evidence, gpu: Gpu) -> Evidence:
    """The same question predicted on another GPU: for claims that compare two."""
    return replace(evidence, times=Predicted(gpu=gpu), known={})
