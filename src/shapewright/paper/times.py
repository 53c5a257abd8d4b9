"""Times of points from one place: a GPU as predicted, or rows as measured. Both answer alike, so that figures and claims ask once.

    Predicted(gpu=load_gpu("h200")).of(points), measured_times([Path("run.jsonl")], load_gpu("h200")).of(points)

`of` gives a `Time` a point, or None where there is none (no model, not measured, failed). Times are GPU time in seconds: of layers and
models as run, where the host is the limit, `wall_s` is longer than `time_s`. Rows of another GPU are left out. Errors: files that are no
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from ..calibrate.compare import Compared, compare_points
from ..calibrate.products import catalogued
from ..decode.bench_rows import Row as DecodeRow
from ..decode.bench_rows import rows_of
from ..hardware.gpu import Gpu
from ..measure.points import Point, key_of
from ..measure.run_lines import key_of_row
from ..measure.store import read_run

#: Share of its highest clock at which an H200 runs large products back to back (1,410 of 1,980 MHz, benchmarks/h200/paper).
THROTTLED = 0.71
Source = Literal["predicted", "measured", "published", "log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """GPU time of a point, its 10th and 90th percentile, and the time as a user waits for it."""

    time_s: float
    low_s: float
    high_s: float
    wall_s: float
    kernel: str = ""
    """Names of the kernels that ran, where they were recorded."""


class Times(Protocol):
    """Where times come from."""

    @property
    def source(self) -> Source: ...

    @property
    def gpu(self) -> Gpu: ...

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        """The time of each point."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The predictor on one GPU; `library` None: the GPU's default.

    Products are those of a long run: the paper timed 200 calls in a row, and a sweep measures one large product after the other.
    """

    gpu: Gpu
    library: str | None = None
    is_long_run: bool = True
    """Whether products run at the card's power limit; else in bursts of two milliseconds on a card that rested."""

    @property
    def source(self) -> Source:
        return "predicted"

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        found = compare_points(points, self.gpu, self.library, is_long_run=self.is_long_run)
        return [_predicted(each) if isinstance(each, Compared) else None for each in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Times made of those of another place: its GPU, and what they are called."""

    inner: Times

    @property
    def source(self) -> Source:
        return self.inner.source

    @property
    def gpu(self) -> Gpu:
        return self.inner.gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class AtClocks(Around):
    """Predictions between burst and long run, each where the clock of its measured row says that the card stood.

    At its highest clock a card has power to spare: a burst. `THROTTLED` of that clock is what large products run at in a long run.
    """

    inner: Predicted
    measured: Measured

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        bursts = replace(self.inner, is_long_run=False).of(points)
        highest_hz = self.measured.highest_clock_hz
        shares = [self.measured.throttled(point, highest_hz) for point in points]
        return [_between(burst, long, share) for burst, long, share in zip(bursts, self.inner.of(points), shares, strict=True)]


def _between(burst: Time | None, long: Time | None, share: float) -> Time | None:
    """`share` of the way from one to the other."""
    if burst is None or long is None:
        return long
    time_s, low_s, high_s, wall_s = (
        (1 - share) * getattr(burst, name) + share * getattr(long, name) for name in ("time_s", "low_s", "high_s", "wall_s")
    )
    return Time(time_s=time_s, low_s=low_s, high_s=high_s, wall_s=wall_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Rows of one GPU by the key of their point, and what they were measured with."""

    gpu: Gpu
    rows: Mapping[str, Mapping[str, Any]]
    environments: tuple[Mapping[str, Any], ...] = ()
    decoders: tuple[DecodeRow, ...] = ()
    """Rows of `shapewright decode`, which are no points."""

    @property
    def source(self) -> Source:
        return "measured"

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was measured."""
        return not self.rows and not self.decoders

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        return [_measured(self.rows.get(key_of(point))) for point in points]

    def throttled(self, point: Point, highest_hz: float) -> float:
        """How far the card's clock had fallen when the point was measured: 0 at its highest, 1 as in a long run (or where no row tells)."""
        clock_hz = self.clock_hz(point)
        if clock_hz is None or not highest_hz:
            return 1.0
        return min(1.0, max(0.0, (1 - clock_hz / highest_hz) / (1 - THROTTLED)))

    def clock_hz(self, point: Point) -> float | None:
        """The card's clock when the point was measured, on average of before and after; None where no row tells."""
        row = self.rows.get(key_of(point), {})
        clocks = [float(row[name]) for name in ("sm_clock_before_hz", "sm_clock_after_hz") if row.get(name)]
        return sum(clocks) / len(clocks) if clocks else None

    @property
    def highest_clock_hz(self) -> float:
        """The highest clock of all rows."""
        return max((float(row.get("sm_clock_before_hz") or 0.0) for row in self.rows.values()), default=0.0)


def measured_times(paths: Iterable[Path | str], gpu: Gpu) -> Measured:
    """The rows of runs that were measured on `gpu`; of a point measured twice the last good row."""
    rows: dict[str, Mapping[str, Any]] = {}
    environments: list[Mapping[str, Any]] = []
    decoders: list[DecodeRow] = []
    for path in paths:
        run = read_run(path)
        latest = run.latest()
        # Thousands of rows have few names, and each look-up of one reads the catalogue.
        is_own = {name: _is_of(name, gpu) for name in {str(each.get("gpu", "")) for each in (*latest, *run.environments)}}
        own = [row for row in latest if is_own[str(row.get("gpu", ""))]]
        environments += [each for each in run.environments if is_own[str(each.get("gpu", ""))]]
        for row in own:
            key = key_of_row(row)
            if key is not None and (row.get("status") == "ok" or key not in rows):
                rows[key] = row
        decoders += [row for row in rows_of(run) if is_own[row.gpu]]
    return Measured(gpu=gpu, rows=rows, environments=tuple(environments), decoders=tuple(decoders))


def _is_of(name: str, gpu: Gpu) -> bool:
    """Whether rows of what a driver calls `name` are those of `gpu`; a card that the catalogue lacks is a GPU of the user's own at most."""
    known = catalogued(name)
    return known.name == gpu.name if known is not None else name != "cpu" and catalogued(gpu.name) is None


def _predicted(said: Compared) -> Time:
    """Of layers and models the GPU's share, beside what the host makes of it."""
    if said.gpu_s is None or not said.predicted_s:
        return Time(time_s=said.predicted_s, low_s=said.low_s, high_s=said.high_s, wall_s=said.predicted_s)
    scale = said.gpu_s / said.predicted_s
    return Time(time_s=said.gpu_s, low_s=said.low_s * scale, high_s=said.high_s * scale, wall_s=said.predicted_s)


def _measured(row: Mapping[str, Any] | None) -> Time | None:
    """A good row; the sum of its kernels is the GPU time of a step that waited for the host."""
    if row is None or row.get("status") != "ok":
        return None
    wall_s = float(row["time_s"])
    time_s = float(row["kernel_s"]) if row.get("is_host_bound") and row.get("kernel_s") else wall_s
    low_s, high_s = (float(row.get(name) or wall_s) * time_s / wall_s for name in ("low_s", "high_s"))
    return Time(time_s=time_s, low_s=low_s, high_s=high_s, wall_s=wall_s, kernel=str(row.get("kernel", "")))
