"""Evidence for tests of judges: predicted, measured without rows, and predictions that are bent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, Point
from shapewright.paper.evidence import Evidence
from shapewright.paper.judging import Claim, Verdict, all_claims, judged
from shapewright.paper.times import Measured, Predicted, Source, Time

GPUS = ("a100-40gb", "h200", "v100-16gb", "mi250x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Seconds by a rule."""

    gpu: Gpu
    seconds: Callable[[Point], float]
    source: Source = "predicted"
    kernel: str = ""

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        times = map(self.seconds, points)
        return [Time(time_s=each, low_s=each, high_s=each, wall_s=each, kernel=self.kernel) for each in times]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """Predicted times, each changed by `scale` of its point; one that is missing stays so."""

    gpu: Gpu
    scale: Callable[[Point], float]
    source: Source = "predicted"
    kernel: Callable[[Point], str] = lambda _: ""

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        found = Predicted(gpu=self.gpu).of(points)
        return [_scaled(time, self.scale(point), self.kernel(point)) for point, time in zip(points, found, strict=True)]


def _scaled(time: Time | None, scale: float, kernel: str) -> Time | None:
    if time is None:
        return None
    low_s, high_s, wall_s = (each * scale for each in (time.low_s, time.high_s, time.wall_s))
    return Time(time_s=time.time_s * scale, low_s=low_s, high_s=high_s, wall_s=wall_s, kernel=kernel)


def verdict(number: int, gpu: str, scale: Callable[[Point], float] = lambda _: 1.0, *, source: Source = "predicted") -> Verdict:
    """The verdict as users see it, on scaled times."""
    return judged(claim(number), Evidence(times=Scaled(gpu=load_gpu(gpu), scale=scale, source=source)))


def claim(number: int) -> Claim:
    return next(each for each in all_claims() if each.id == number)


@cache
def predicted(gpu: str) -> Evidence:
    """One evidence a GPU: figures are priced once."""
    return Evidence(times=Predicted(gpu=load_gpu(gpu)))


@cache
def said(number: int, gpu: str) -> Verdict:
    """By the judge itself: a time that is missing is an error here."""
    return claim(number).judge(predicted(gpu))


def unmeasured(number: int, gpu: str = "h200") -> Verdict:
    return judged(claim(number), Evidence(times=Measured(gpu=load_gpu(gpu), rows={})))


def made(
    number: int, seconds: Callable[[Point], float], gpu: str = "a100-40gb", *, source: Source = "predicted", kernel: str = ""
) -> Verdict:
    """The verdict on times that follow a rule."""
    return claim(number).judge(Evidence(times=Made(gpu=load_gpu(gpu), seconds=seconds, source=source, kernel=kernel)))


def bent(
    number: int, factor: Callable[[Point], float], gpu: str = "a100-40gb", *, source: Source = "predicted", kernel: str = ""
) -> Verdict:
    """The verdict on predictions that are multiplied by a factor of the point."""
    return made(number, lambda point: factor(point) * predicted(gpu).seconds(point), gpu, source=source, kernel=kernel)


def columns(point: Point) -> int:
    """n of a product; 1 of anything else."""
    return point.n if isinstance(point, GemmPoint) else 1
