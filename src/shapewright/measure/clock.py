"""The one place that times: GPU time a call in CUDA-graph replay, by events where graphs cannot be used, wall time for whole steps.

Protocol (docs/measuring.md): a call is warmed up, then captured over every copy of its operands (cold weights) into a graph of about
`replay_s` seconds, at most `max_calls` calls and never fewer than the copies; after a warm-up replay the median of `num_replays` replays
counts. Replays and events are enqueued together, so that no gap of the host lies between an event and its replay.
All times in seconds of one call. On a CPU the same calls are timed by the wall clock.

    timing = Clock(device).time(prepared)
    rounds = Clock(device).interleaved([step_a, step_b], num_rounds=7, least_s=0.25)     # rounds[i][j]: step j in round i
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .points import Value

if TYPE_CHECKING:
    from .devices import Device

Method = Literal["graph", "events", "wall", "host"]
Call = Callable[[], object]
#: Significant digits kept of a time; a replay repeats to about four.
DIGITS = 6
#: A graph is captured anew where this many times as many calls fit a replay as its first guess.
GROWTH = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How often a call is repeated, and for how long."""

    replay_s: float = 2e-3
    max_calls: int = 200
    num_replays: int = 5
    num_warm_ups: int = 1
    max_copies: int = 64
    round_s: float = 0.25
    """Seconds of back-to-back steps of one turn, where whole steps are interleaved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Something ready to be timed: one call for each copy of its operands, all of the same work.

    `facts` go into the row as they are; `method` graph falls back to events where a call cannot be captured; host is the time that the host
    needs to issue a call, whatever the device does meanwhile.
    """

    calls: Sequence[Call]
    method: Method = "graph"
    facts: Mapping[str, Value] = field(default_factory=dict)
    timing: Timing | None = None
    """Already timed, by the clocks of several processes together; the calls do nothing then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds a call: median and quantiles of the replays, and how they were taken. `first_s`: the first call, as the host saw it."""

    time_s: float
    min_s: float
    low_s: float
    high_s: float
    max_s: float
    first_s: float
    num_replays: int
    num_calls: int
    num_copies: int
    method: Method

    def row(self) -> dict[str, Value]:
        return asdict(self)


def timing_of(times_s: Sequence[float], *, first_s: float, num_calls: int, num_copies: int, method: Method) -> Timing:
    """Quantiles (0, 10, 50, 90, 100 %) of the times of replays."""
    low, high = np.quantile(times_s, [0.1, 0.9]).tolist()
    values = {"time_s": statistics.median(times_s), "min_s": min(times_s), "low_s": low, "high_s": high, "max_s": max(times_s)}
    rounded = {name: digits(value) for name, value in values.items()}
    return Timing(
        **rounded, first_s=digits(first_s), num_replays=len(times_s), num_calls=num_calls, num_copies=num_copies, method=method
    )  # fmt: skip


def digits(value: float) -> float:
    """`value` with the digits that a measurement has."""
    return float(f"{value:.{DIGITS}g}")


class Clock:
    """Times prepared calls on one device."""

    def __init__(self, device: Device, protocol: Protocol | None = None) -> None:
        self.device, self.protocol = device, protocol or Protocol()
        self.warm_s = 0.0
        """Seconds of replays before those that count: in a long run the card's power limit has set in."""
        self._stream: Any = None

    def time(self, prepared: Prepared) -> Timing:
        """The time of one call by the protocol; an error of the call comes out as it is."""
        if prepared.timing is not None:
            return prepared.timing
        start = time.perf_counter()
        prepared.calls[0]()
        self.device.synchronize()
        first_s = time.perf_counter() - start
        copies = len(prepared.calls)
        if prepared.method == "wall":
            times = [self.wall_s(prepared.calls[i % copies]) for i in range(self.protocol.num_replays)]
            return timing_of(times, first_s=first_s, num_calls=1, num_copies=copies, method="wall")
        if prepared.method == "host":
            count, repeats = self.protocol.max_calls, self.protocol.num_warm_ups + self.protocol.num_replays
            times = [self.issue_s(prepared.calls, count) for _ in range(repeats)][self.protocol.num_warm_ups :]
            return timing_of(times, first_s=first_s, num_calls=count, num_copies=copies, method="host")
        count = self._count(prepared.calls)
        if self.device.is_gpu:
            times, count, method = self._replayed(prepared, count)
        else:
            times, method = self._walled(prepared.calls, count), "wall"
        return timing_of([each / count for each in times], first_s=first_s, num_calls=count, num_copies=copies, method=method)

    def interleaved(self, steps: Sequence[Call], *, num_rounds: int, least_s: float) -> list[list[float]]:
        """Wall seconds a call of every step in every round: in turn, back to back for `least_s` seconds each.

        Every other round runs backwards, so that no step always follows the same one, whose heat and power it inherits.
        """
        rounds = []
        for number in range(num_rounds):
            order = steps if number % 2 == 0 else steps[::-1]
            times = [self.sustained_s(step, least_s) for step in order]
            rounds.append(times if number % 2 == 0 else times[::-1])
        return rounds

    def sustained_s(self, step: Call, least_s: float) -> float:
        """Mean wall seconds of calls issued back to back for at least `least_s`, synchronised at both ends."""
        self.device.synchronize()
        start, count, batch = time.perf_counter(), 0, 1
        while True:
            for _ in range(batch):
                step()
            self.device.synchronize()
            count += batch
            spent = time.perf_counter() - start
            if spent >= least_s:
                return spent / count
            # The next batch fills what is left: a synchronisation a call would let the queue run dry.
            batch = max(1, min(200, int((least_s - spent) / (spent / count)) + 1))

    def repeated(self, call: Call, count: int) -> list[float]:
        """Seconds a call of each replay of `count` calls issued as they are: what several processes must count alike."""

        def run() -> None:
            for _ in range(count):
                call()

        num_warm_ups, repeats = self.protocol.num_warm_ups, self.protocol.num_warm_ups + self.protocol.num_replays
        times = self._event_times(run, repeats) if self.device.is_gpu else [self.wall_s(run) for _ in range(repeats)]
        return [each / count for each in times[num_warm_ups:]]

    def wall_s(self, call: Call) -> float:
        """Wall seconds of one synchronised call."""
        self.device.synchronize()
        start = time.perf_counter()
        call()
        self.device.synchronize()
        return time.perf_counter() - start

    def issue_s(self, calls: Sequence[Call], count: int) -> float:
        """Host seconds a call of issuing `count` calls without waiting: few enough that the queue of the device never fills."""
        self.device.synchronize()
        start = time.perf_counter()
        for i in range(count):
            calls[i % len(calls)]()
        spent = time.perf_counter() - start
        self.device.synchronize()
        return spent / count

    @contextmanager
    def own_stream(self) -> Iterator[None]:
        """Work issued inside runs on the stream that captures: what autograd shall run backward in a graph must go forward there."""
        if not self.device.is_gpu:
            yield
            return
        import torch

        stream = self._capture_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            yield
        torch.cuda.current_stream().wait_stream(stream)

    def _count(self, calls: Sequence[Call]) -> int:
        """Calls of one replay."""
        about_s = self._span_s(lambda: (calls[0](), calls[-1]())) / 2
        return self._fitting(about_s, len(calls))

    def _fitting(self, call_s: float, num_copies: int) -> int:
        """Calls of `call_s` seconds that a replay holds."""
        return int(max(num_copies, min(self.protocol.max_calls, self.protocol.replay_s / max(call_s, 1e-9)), 1))

    def _span_s(self, run: Call) -> float:
        return self._event_times(run, 1)[0] if self.device.is_gpu else self.wall_s(run)

    def _walled(self, calls: Sequence[Call], count: int) -> list[float]:
        run = _repeated(calls, count)
        times = [self.wall_s(run) for _ in range(self.protocol.num_warm_ups + self.protocol.num_replays)]
        return times[self.protocol.num_warm_ups :]

    def _replayed(self, prepared: Prepared, count: int) -> tuple[list[float], int, Method]:
        """Seconds of each replay and the calls in one, by a graph where the calls can be captured."""
        graph = self._captured(prepared.calls, count) if prepared.method == "graph" else None
        if graph is not None:
            # The host makes eager calls look long; a replay tells how many fit. Short replays read 3 % less for products of two kernels.
            fitting = self._fitting(self._event_times(graph.replay, 1)[0] / count, len(prepared.calls))
            if fitting > GROWTH * count:
                graph, count = self._captured(prepared.calls, fitting), fitting
        run = _repeated(prepared.calls, count) if graph is None else graph.replay
        warm_ups = self.protocol.num_warm_ups + int(self.warm_s / max(self._event_times(run, 1)[0], 1e-6) if self.warm_s else 0)
        times = self._event_times(run, warm_ups + self.protocol.num_replays)
        return times[warm_ups:], count, "events" if graph is None else "graph"

    def _event_times(self, run: Call, repeats: int) -> list[float]:
        """Seconds between neighbouring events with one `run` between them."""
        import torch

        events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        events[0].record()
        for event in events[1:]:
            run()
            event.record()
        events[-1].synchronize()
        return [before.elapsed_time(after) * 1e-3 for before, after in pairwise(events)]

    def _captured(self, calls: Sequence[Call], count: int) -> Any:
        """A graph of `count` calls, or None where one cannot be captured (it synchronises, or allocates outside the caching allocator).

        Not `torch.cuda.graph`: it collects garbage and empties the cache at every capture, which takes longer than the product.
        """
        import torch

        run, stream = _repeated(calls, count), self._capture_stream()
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run_once = False
            try:
                graph.capture_begin()
                run()
                run_once = True
            except RuntimeError as error:
                if is_out_of_memory(error) or not _is_capture_fault(error):
                    raise
            finally:
                try:
                    graph.capture_end()
                except RuntimeError:
                    run_once = False
        torch.cuda.current_stream().wait_stream(stream)
        if not run_once:
            self.device.synchronize()
            return None
        return graph

    def _capture_stream(self) -> Any:
        """A stream of its own; the libraries' workspaces of this stream are allocated outside every graph."""
        import torch

        if self._stream is None:
            self._stream = torch.cuda.Stream()
            with torch.cuda.stream(self._stream):
                one = torch.ones(256, 256, device=self.device.name, dtype=torch.float16)
                torch.mm(one, one)
                torch.bmm(one[None], one[None])
            torch.cuda.synchronize()
        return self._stream


def _repeated(calls: Sequence[Call], count: int) -> Call:
    """`count` calls in turn over the copies."""

    def run() -> None:
        for i in range(count):
            calls[i % len(calls)]()

    return run


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that device or host memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "blas_status_alloc_failed" in text


def _is_capture_fault(error: BaseException) -> bool:
    text = str(error).lower()
    return "captur" in text or "not permitted" in text
