"""Measures groups of points in the worker and says so line by line; the messages are those of `worker.py`.

A plain point is prepared, timed and told at once; the names of its kernels follow, for many points in one profile. Points of an interleaved
kind run together. A point that fails is a row: out of memory gives the memory back and goes on, an error that loses the device's context
raises `PoisonedError`. Times in seconds, memory in bytes.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..errors import ShapewrightError
from . import clock as clocks
from .clock import Call
from .devices import Device, environment, now, state_row
from .kernels import kernel_names
from .points import Point, Value, point_of
from .runners import INTERLEAVED, Bench, Outcome, measure, prepare

#: A profile has a fixed cost of some 0.3 to 1 s: it names the kernels of this many points, or of those of this many seconds.
POINTS_A_PROFILE, SECONDS_A_PROFILE = 256, 6.0
#: Device memory that calls kept for the profile may hold in all, bytes.
KEPT_BYTES = 4 * 2**30
#: A reading of the card's state serves the next point too if that starts within this many seconds.
STATE_AGE_S = 0.02
#: Share of the device's memory beyond which what the allocator keeps is given back.
RESERVED_SHARE = 0.6
MAX_ERROR_CHARACTERS = 300
#: Errors after which nothing more can be run in the process.
_POISON = (
    "illegal memory access", "device-side assert", "unspecified launch failure", "blas_status_execution_failed", "misaligned address",
    "illegal instruction", "illegal address", "uncorrectable", "hardware stack error", "hsa_status_error", "launch timed out",
)  # fmt: skip

Columns = dict[str, Value]


class Sender(Protocol):
    """Takes messages to the parent."""

    def send(self, message: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A measured point whose kernels have no name yet; `call` None is made again."""

    index: int
    point: Point
    call: Call | None


class PoisonedError(Exception):
    """The device's context is lost."""


class Worker:
    """Measures groups on one bench."""

    def __init__(self, bench: Bench, channel: Sender) -> None:
        self.bench, self.channel = bench, channel
        self._kept: list[Kept] = []
        self._kept_bytes = 0
        self._state: tuple[float, Columns] = (0.0, {})

    def hello(self) -> None:
        """Say what measures, and how."""
        protocol = {**asdict(self.bench.clock.protocol), "points_a_profile": POINTS_A_PROFILE}
        device = self.bench.device
        self.channel.send({"environment": environment(device), "protocol": protocol, "has_kernels": device.is_gpu})

    def group(self, message: Mapping[str, Any]) -> None:
        """Measure the points of one message."""
        points = [point_of(settings) for settings in message["points"]]
        left_s = message.get("time_left_s")
        deadline = float("inf") if left_s is None else time.monotonic() + left_s
        if points and points[0].kind in INTERLEAVED:
            stopped = self._interleaved(points, deadline)
        else:
            with_kernels = bool(message.get("with_kernels")) and self.bench.device.is_gpu
            self.bench.clock.warm_s = message.get("warm_s", 0.0)
            stopped = self._plain(points, deadline, with_kernels, rest_s=message.get("rest_s", 0.0))
        self._tidy()
        self.channel.send({"finished": message["group"], "stopped": stopped})

    def _plain(self, points: Sequence[Point], deadline: float, with_kernels: bool, *, rest_s: float) -> bool:
        """Points one after the other, each after a rest; whether the time ran out before the last."""
        gc.disable()  # a collection amid a point would stop the host
        try:
            since = time.monotonic()
            for index, point in enumerate(points):
                if time.monotonic() >= deadline:
                    return True
                self.channel.send({"started": index})
                time.sleep(rest_s)
                columns, call = self._measured(point, with_kernels)
                self.channel.send({"row": columns, "index": index})
                if with_kernels and columns["status"] == "ok":
                    self._kept.append(Kept(index=index, point=point, call=call))
                if len(self._kept) >= POINTS_A_PROFILE or time.monotonic() - since > SECONDS_A_PROFILE or _is_compiled(point):
                    self._name_kernels()
                    since = time.monotonic()
            return False
        finally:
            self._name_kernels()
            gc.enable()

    def _interleaved(self, points: Sequence[Point], deadline: float) -> bool:
        """Points in turn, round after round, then alone those that do not run together; whether the time ran out before the last."""
        if time.monotonic() >= deadline:
            return True
        for index in self._in_turn(points, 0):
            if time.monotonic() >= deadline:
                return True
            self._in_turn([points[index]], index)
        return False

    def _in_turn(self, points: Sequence[Point], first: int) -> list[int]:
        """Send rows of points measured together, the first of which has the index `first`; those of several that failed so come back."""
        self.channel.send({"started": first, "together": len(points)})
        try:
            outcomes = measure(points, self.bench)
        except Exception as error:
            outcomes = [Outcome(columns={}, error=error)] * len(points)
        shared = {"num_interleaved": len(points), "at": now()}
        alone = []
        for index, outcome in enumerate(outcomes):
            columns = {"status": "ok", **shared, **outcome.columns} if outcome.error is None else self._failure(outcome.error)
            if len(points) > 1 and columns["status"] != "ok":
                alone.append(index)
            else:
                self.channel.send({"row": columns, "index": first + index})
        self._tidy(is_full=True)
        return alone

    def _measured(self, point: Point, with_kernels: bool) -> tuple[Columns, Call | None]:
        """Result columns of a plain point, and its call where the profile may keep it."""
        columns, call = self._tried(point, with_kernels)
        if columns["status"] == "out_of_memory":
            self._name_kernels()
            self._tidy(is_full=True)
            # What calls kept for the profile and graphs of points before held may be what was missing: a capture frees nothing by itself.
            if self.bench.device.is_gpu:
                columns, call = self._tried(point, with_kernels)
                self._tidy(is_full=columns["status"] != "ok")
        return columns, call

    def _tried(self, point: Point, with_kernels: bool) -> tuple[Columns, Call | None]:
        held = self._allocated_bytes() if with_kernels else 0
        try:
            before = self._recent_state()
            prepared = prepare(point, self.bench)
            timing = self.bench.clock.time(prepared)
            after = self._new_state()
            columns: Columns = {"status": "ok", **timing.row(), **prepared.facts, **state_row(before, after), "at": now()}
            call = prepared.calls[0] if with_kernels else None
        except Exception as error:
            return self._failure(error), None
        del prepared
        return columns, self._keepable(call, held)

    def _keepable(self, call: Call | None, held_before: int) -> Call | None:
        """The call, unless what it holds is too much to keep."""
        if call is None:
            return None
        held = max(0, self._allocated_bytes() - held_before)
        if self._kept_bytes + held > KEPT_BYTES:
            return None
        self._kept_bytes += held
        return call

    def _name_kernels(self) -> None:
        """Profile one call of every kept point and send the names; a profile that fails costs names, never rows."""
        if not self._kept:
            return
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        try:
            calls = [each.call or prepare(each.point, self.bench).calls[0] for each in kept]
            names = dict(zip((each.index for each in kept), kernel_names(calls, self.bench.device), strict=True))
        except Exception as error:
            names = {}
            text = one_line(error)
            print(f"kernels stay unnamed: {text}", file=sys.stderr)
            if not clocks.is_out_of_memory(error) and is_poisoned(text, self.bench.device):  # else the next point would be blamed
                raise PoisonedError(text) from None
        kept, calls = [], []
        self.channel.send({"kernels": {index: name for index, name in names.items() if name}})
        self._tidy()

    def _failure(self, error: BaseException) -> Columns:
        """Result columns of a failed point; raises where the context is lost."""
        is_out = clocks.is_out_of_memory(error)
        text = one_line(error)
        error.__traceback__ = None  # its frames hold the point's tensors
        error.__context__ = error.__cause__ = None
        columns: Columns = {"status": "out_of_memory" if is_out else "failed", "error": text, "at": now()}
        if not is_out and is_poisoned(text, self.bench.device):
            self._kept = []
            raise PoisonedError(text)
        return columns

    def _allocated_bytes(self) -> int:
        import torch

        return int(torch.cuda.memory_allocated())

    def _recent_state(self) -> Columns:
        """The state after the last point where this one starts at once, else a new reading."""
        at, state = self._state
        return state if time.monotonic() - at < STATE_AGE_S else self._new_state()

    def _new_state(self) -> Columns:
        state = self.bench.card.state()
        self._state = (time.monotonic(), state)
        return state

    def _tidy(self, is_full: bool = False) -> None:
        """Collect garbage, and give back device memory that nothing uses where there is much of it.

        An allocator that gives nothing back (torch before 2.12 after a capture that failed) is of no more use: a new process is.
        """
        gc.collect()
        device = self.bench.device
        self._state = (0.0, {})
        if is_full or (device.is_gpu and _reserved_bytes() > RESERVED_SHARE * device.memory_bytes):
            try:
                device.empty_cache()
            except RuntimeError as error:
                raise PoisonedError(one_line(error)) from None


def one_line(error: BaseException) -> str:
    """An error as one line of at most 300 characters."""
    text = str(error) if isinstance(error, ShapewrightError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    return text if len(text) <= MAX_ERROR_CHARACTERS else text[: MAX_ERROR_CHARACTERS - 3] + "..."


def is_poisoned(text: str, device: Device) -> bool:
    """Whether the device's context is lost: an error known for it, or a trivial kernel fails too."""
    if not device.is_gpu:
        return False
    if any(word in text.lower() for word in _POISON):
        return True
    import torch

    try:
        torch.zeros(1, device=device.name).add_(1)
        torch.cuda.synchronize()
    except Exception:
        return True
    return False


def _is_compiled(point: Point) -> bool:
    """Compiled calls are profiled at once: compiling the next point throws their code away."""
    return getattr(point, "runtime", "eager") == "compiled"


def _reserved_bytes() -> int:
    import torch

    return int(torch.cuda.memory_reserved())
