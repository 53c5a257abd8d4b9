"""Measures points in a child process and hands their rows to a run file. This process needs no torch and survives what the child does.

    with Run.open(path) as run:
        summary = execute(points, run, device="cuda", on_row=print, progress=ProgressLine().show)

A point that takes longer than `timeout_s` (since it was started), or that ends the child, becomes a row that says so, is not tried again in
this run, and a fresh child goes on with the next. Points that the file holds a row of are skipped, failed ones too unless `retry_failed`.
Errors: no torch or no GPU is a `MissingError` (exit code 3); a full disk or eight points in a row that each end the child stop the sweep
with an `InputError`; Ctrl-C and SIGTERM write what was measured, end the child and then take effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from .outbox import OnProgress, OnRow, Outbox
from .points import TOGETHER, Point, key_of
from .runners import INTERLEAVED
from .signals import Deferred
from .store import Run
from .sweep import Limits, Sweep
from .worker_process import worker_command as default_command

#: Points that one message asks for: enough that naming their kernels costs little of each.
POINTS_A_GROUP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sweep did. `counts`: rows of this sweep by status."""

    num_points: int
    num_skipped: int
    counts: Mapping[str, int]
    elapsed_s: float
    """From the first point's start to the last row; without the child's start."""
    is_complete: bool
    """Whether every point has a row now; False where the time limit came first."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    repaired: str | None = None

    @property
    def num_measured(self) -> int:
        return sum(self.counts.values())

    @property
    def num_failed(self) -> int:
        return self.num_measured - self.counts.get("ok", 0)

    @property
    def rate_per_s(self) -> float:
        """Points a second."""
        return self.num_measured / self.elapsed_s if self.elapsed_s > 0 else 0.0


def execute(
    points: Sequence[Point],
    run: Run,
    *,
    device: str = "cuda",
    timeout_s: float = 120.0,
    on_row: OnRow | None = None,
    progress: OnProgress | None = None,
    time_limit_s: float | None = None,
    retry_failed: bool = False,
    together: int = TOGETHER,
    rest_s: float = 0.0,
    warm_s: float = 0.0,
    worker_command: Sequence[str] | None = None,
) -> Summary:
    """Measure `points` on `device` into `run`; `on_row` gets every row once it is on the disk.

    A point counts as finished whatever its row says; with `retry_failed` only where it is ok. `time_limit_s` (since the call) ends the
    sweep after the point at hand. Points of an interleaved kind run in turn, at most `together`; others after `rest_s` idle and
    `warm_s` busy.
    """
    points = list(dict.fromkeys(points))
    if not points:
        return Summary(num_points=0, num_skipped=0, counts={}, elapsed_s=0.0, is_complete=True, repaired=run.repaired)
    limits = Limits.until(time_limit_s, timeout_s=timeout_s, rest_s=rest_s, warm_s=warm_s)
    outbox, todo = Outbox(run, on_row, progress), points
    with Deferred() as signals:
        sweep = Sweep(worker_command or default_command(device), limits, signals, outbox)
        try:
            sweep.start()
            gpu = str(sweep.environment.get("gpu", ""))
            todo = [point for point in points if not _is_done(run, (key_of(point), gpu), retry_failed)]
            outbox.expect(len(points), len(points) - len(todo))
            if todo and not sweep.is_over:
                run.start(sweep.environment, {**sweep.protocol, "rest_s": rest_s, "warm_s": warm_s})
            for group in grouped(todo, together):
                sweep.measure(group)
        finally:
            sweep.close()
    return _summary(len(points), len(todo), sweep, outbox, run)


def _summary(num_points: int, num_todo: int, sweep: Sweep, outbox: Outbox, run: Run) -> Summary:
    return Summary(
        num_points=num_points,
        num_skipped=num_points - num_todo,
        counts=dict(outbox.counts),
        elapsed_s=outbox.elapsed_s,
        is_complete=sum(outbox.counts.values()) == num_todo,
        environment=sweep.environment,
        repaired=run.repaired,
    )


def _is_done(run: Run, key: tuple[str, str], retry_failed: bool) -> bool:
    status = run.statuses.get(key)
    return status == "ok" if retry_failed else status is not None


def grouped(points: Sequence[Point], together: int = TOGETHER) -> Iterator[list[Point]]:
    """Neighbours of one kind; of an interleaved kind those of one phase and runtime, which compare and need alike memory."""
    for kind, neighbours in groupby(points, key=lambda point: point.kind):
        alike: dict[tuple[str, ...], list[Point]] = {}
        for point in neighbours:
            alike.setdefault(_alike(point), []).append(point)
        size = together if kind in INTERLEAVED else POINTS_A_GROUP
        for same in alike.values():
            yield from (same[start : start + size] for start in range(0, len(same), size))


def _alike(point: Point) -> tuple[str, ...]:
    if point.kind not in INTERLEAVED:
        return (point.kind,)
    return (point.kind, getattr(point, "phase", ""), getattr(point, "runtime", ""))
