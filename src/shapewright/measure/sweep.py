"""One sweep of the parent: asks the worker for groups, turns its messages into rows, and its death and its silence too.

Times in seconds of the monotonic clock. Errors: a worker that cannot start is a `MissingError`; too many deaths in a row an `InputError`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import InputError, MissingError, ShapewrightError
from .devices import now
from .outbox import Outbox
from .points import Point, settings_of
from .runners import INTERLEAVED
from .signals import Deferred
from .worker_process import WorkerProcess

#: torch from a cold network disk takes a minute to import.
START_TIMEOUT_S = 300.0
#: What a group may take beside its points: it is read, kernels are named, garbage is collected.
PAUSE_TIMEOUT_S = 60.0
#: Past the time limit the point at hand gets this long to end.
GRACE_S = 5.0
TICK_S = 0.1
#: Deaths of the worker with no good row between them after which the sweep stops: the machine is at fault then, not the points.
MAX_DEATHS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`timeout_s` of a point; `stop_at`: when the sweep shall end (monotonic seconds); `rest_s` and `warm_s` before each plain point."""

    timeout_s: float
    stop_at: float | None
    rest_s: float = 0.0
    warm_s: float = 0.0

    @classmethod
    def until(cls, time_limit_s: float | None, **seconds: float) -> Limits:
        """Limits of a sweep that starts now and shall end after `time_limit_s`."""
        return cls(stop_at=None if time_limit_s is None else time.monotonic() + time_limit_s, **seconds)

    @property
    def left_s(self) -> float | None:
        return None if self.stop_at is None else max(0.0, self.stop_at - time.monotonic())


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A group as far as one worker came with it."""

    points: Sequence[Point]
    since: float
    """When the worker was last heard."""
    started: int | None = None
    """The point at hand."""
    num_together: int = 1
    """Points at hand: more than one where they run in turn."""
    with_row: set[int] = field(default_factory=set)
    end: Literal["", "finished", "stopped", "died"] = ""

    @property
    def left(self) -> list[Point]:
        return [point for index, point in enumerate(self.points) if index not in self.with_row]


class Sweep:
    """The worker of one sweep and its groups."""

    def __init__(self, command: Sequence[str], limits: Limits, signals: Deferred, outbox: Outbox) -> None:
        self._command, self._limits, self._signals, self._outbox = command, limits, signals, outbox
        self.environment: Mapping[str, Any] = {}
        self.protocol: Mapping[str, Any] = {}
        self._worker: WorkerProcess | None = None
        self._has_kernels, self._num_deaths, self._num_groups = False, 0, 0

    @property
    def is_over(self) -> bool:
        """Whether no further group is to be begun."""
        return self._signals.came is not None or self._limits.left_s == 0

    def start(self) -> None:
        """Start a worker and wait for what it says of the machine."""
        self._worker = WorkerProcess(self._command)
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            for message in self._worker.messages(TICK_S):
                if "fatal" in message:
                    raise _fatal(message["fatal"])
                if "environment" in message:
                    self.environment, self.protocol = message["environment"], message.get("protocol", {})
                    self._has_kernels = bool(message.get("has_kernels"))
                    return
            if self._signals.came is not None:
                return
            if self._worker.has_ended:
                what = f"the measuring process could not start: {self._worker.ending()}"
                raise MissingError(what, hint="check torch and the driver")
            if time.monotonic() > until:
                what = f"the measuring process did not start within {START_TIMEOUT_S:.0f} s"
                raise MissingError(what, hint="check torch and the driver")

    def measure(self, points: Sequence[Point]) -> None:
        """Rows for all points of a group, unless the sweep is over before."""
        waiting = [list(points)]
        while waiting and not self.is_over:
            attempt = self._attempt(waiting.pop(0))
            rest = attempt.left
            if attempt.end != "died" or not rest:
                continue
            # Which of the points that ran in turn ended the worker nobody knows: each of them is measured alone.
            waiting = ([[point] for point in rest] if rest[0].kind in INTERLEAVED else [rest]) + waiting

    def close(self) -> None:
        """Write what was measured and end the worker."""
        try:
            self._outbox.close()
        finally:
            self._drop_worker()

    def _attempt(self, points: Sequence[Point]) -> Attempt:
        """Ask a worker for points until it has done them, dies, hangs or the sweep is over."""
        attempt = Attempt(points=points, since=time.monotonic())
        if self._worker is None:
            self.start()
        assert self._worker is not None
        attempt.since = time.monotonic()
        self._num_groups += 1
        message = {"group": self._num_groups, "points": [settings_of(point) for point in points], "with_kernels": True}
        self._worker.send(message | {"time_left_s": self._limits.left_s, "rest_s": self._limits.rest_s, "warm_s": self._limits.warm_s})
        while not attempt.end and not self._must_stop():
            messages = self._worker.messages(TICK_S)
            for each in messages:
                self._take(attempt, each)
            if not messages:
                self._watch(attempt, self._worker)
            self._outbox.flush_if_due()
        if attempt.end in ("", "died"):
            self._outbox.name_kernels({})
            self._drop_worker()
        return attempt

    def _must_stop(self) -> bool:
        """Whether the worker is not to be waited for any longer."""
        stop_at = self._limits.stop_at
        return self._signals.came is not None or (stop_at is not None and time.monotonic() > stop_at + GRACE_S)

    def _take(self, attempt: Attempt, message: Mapping[str, Any]) -> None:
        """One message of the worker."""
        attempt.since = time.monotonic()
        match message:
            case {"started": int(index)}:
                attempt.started, attempt.num_together = index, int(message.get("together", 1))
            case {"row": dict(columns), "index": int(index)} if 0 <= index < len(attempt.points) and index not in attempt.with_row:
                attempt.started = None
                self._add(attempt, index, columns)
            case {"kernels": dict(names)}:
                self._outbox.name_kernels(names)
            case {"finished": _}:
                attempt.end = "stopped" if message.get("stopped") else "finished"
                self._outbox.name_kernels({})
            case {"poisoned": text}:
                self._ended(attempt, "failed", str(text))

    def _watch(self, attempt: Attempt, worker: WorkerProcess) -> None:
        """Notice a worker that is dead or hangs."""
        if worker.has_ended:
            self._ended(attempt, "crashed", f"the measuring process ended: {worker.ending()}")
            return
        patience_s = self._limits.timeout_s * attempt.num_together + (PAUSE_TIMEOUT_S if attempt.started is None else 0.0)
        if time.monotonic() - attempt.since > patience_s:
            self._ended(attempt, "timed_out", f"took longer than {patience_s:g} s")

    def _ended(self, attempt: Attempt, status: str, error: str) -> None:
        """The worker is of no more use; the point at hand, if it ran alone, has its row."""
        attempt.end = "died"
        if attempt.started is not None and attempt.num_together == 1:
            self._add(attempt, attempt.started, {"status": status, "error": error, "at": now()})
        if status == "timed_out" and attempt.started is not None:
            return
        self._num_deaths += 1
        if self._num_deaths >= MAX_DEATHS:
            what = f"{MAX_DEATHS} points in a row ended the measuring process (the last: {error[:150]})"
            raise InputError(what, hint="check the GPU and start again; --retry-failed measures these points anew")

    def _add(self, attempt: Attempt, index: int, columns: Mapping[str, Any]) -> None:
        """A row: the point's settings, then its result."""
        point = attempt.points[index]
        settings = settings_of(point)
        row = settings | {name: value for name, value in columns.items() if name not in settings}
        attempt.with_row.add(index)
        if row["status"] == "ok":
            self._num_deaths = 0
        awaits_kernels = self._has_kernels and point.kind not in INTERLEAVED and row["status"] == "ok"
        self._outbox.add(index, row, is_final=not awaits_kernels)

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()


def _fatal(message: Mapping[str, Any]) -> ShapewrightError:
    """The worker's reason not to start, as the error that it is."""
    kind = MissingError if message.get("exit_code") == MissingError.exit_code else InputError
    return kind(str(message.get("what")), hint=message.get("hint"))
