"""One cell: its engines run in turn over the same weights and prompts, and each becomes a row.

The clock. A call for W + N tokens less a call for W tokens of the same prompt, both wall time around a synchronised call, is the time of N
decode steps: the prompt's pass, the way in and out of `generate`, the cache's allocation and a recorded graph's first runs are in both and
cancel. W (`warmup_tokens`, 16) holds what an engine does at its first steps of every call; nothing is hooked in, so that nobody is slowed
down by being watched, and a loop of ours is timed exactly as `generate` is. A call for one token is the time to first token.

The order. Every engine is made and makes its first tokens (`warmup_s`), then all run once untimed, so that clocks and caches are awake.
Then the repeats: one engine after the other, every other repeat backwards, so that none always follows the same one. A GPU rests before
each timed call for as long as the engine's prompt took: without that, a prompt of 4096 tokens takes up to 10 ms of 120 longer or shorter
by what ran just before it (seen on an H200; a card at its power limit is a guess), which the steps between two calls would be told to take.
What runs out of memory among its neighbours runs again alone, and its row says so. Seconds and bytes.

Errors of one engine (out of memory, a model that it cannot run) are rows; after a fault of the GPU the process can measure nothing more,
which is `GpuFault`.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median

from ..measure.clock import Clock, digits, is_out_of_memory
from ..measure.devices import Device, now
from ..measure.launches import launches_of
from .bench_engines import COMPILING, MakeEngine, Task, forget_compiled, make_engine
from .bench_memory import Memory
from .bench_rows import Row
from .bench_turn import Turn, row_of

ALONE = "ran alone: memory did not suffice for it beside the others"
#: Steps whose kernels are counted.
_COUNTED_STEPS = 8
#: No rest is longer, seconds.
_MOST_REST_S = 0.5
_OURS = __package__ or ""


class GpuFault(Exception):  # noqa: N818 - how a cell ends, with the rows that it has
    """The GPU faulted under an engine: `rows` are those that are known."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__("the GPU faulted")
        self.rows = rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a cell is measured."""

    repeats: int = 5
    counts_launches: bool = False
    """Count kernels after the timing. A profiler that was once loaded slows down what is launched later: time in another run."""
    make: MakeEngine = make_engine
    sleep: Callable[[float], object] = time.sleep


class CellBench:
    """Measures one cell."""

    def __init__(self, task: Task, habits: Habits | None = None) -> None:
        self.task, self.habits = task, habits or Habits()
        self.clock, self.memory = Clock(task.device), Memory(task.device)
        self.started_at = now()

    def rows(self, names: Sequence[str], look: Callable[[Sequence[Turn]], None] | None = None) -> list[Row]:
        """Rows of the engines called `names`, in that order; `look` sees them made and warm, before anything is timed."""
        with _quiet():
            turns = self._together(names, look)
            again = [turn.name for turn in turns if turn.error is not None and is_out_of_memory(turn.error)] if len(turns) > 1 else []
            alone = {name: self._together([name], look)[0] for name in again}
        for turn in alone.values():
            turn.notes.append(ALONE)
        together = tuple(turn.name for turn in turns if turn.error is None)
        return self._as_rows([alone.get(turn.name, turn) for turn in turns], together)

    def _together(self, names: Sequence[str], look: Callable[[Sequence[Turn]], None] | None) -> list[Turn]:
        """Engines that ran in turn; all are closed."""
        if not COMPILING.isdisjoint(names):
            forget_compiled()
            self._collect()
        self.memory.start()
        turns = [Turn(name=name) for name in names]
        try:
            for turn in turns:
                self._guarded(turn, turns, self._open)
            if look is not None:
                look([turn for turn in turns if turn.engine is not None])
            for turn in turns:
                self._guarded(turn, turns, self._wake)
            self.started_at = now()
            for number in range(self.habits.repeats):
                for turn in turns if number % 2 == 0 else turns[::-1]:
                    self._guarded(turn, turns, self._time)
            for turn in turns if self.habits.counts_launches else ():
                self._guarded(turn, turns, self._count)
        finally:
            for turn in turns:
                turn.close()
            self._collect()
        return turns

    def _guarded(self, turn: Turn, turns: Sequence[Turn], do: Callable[[Turn], None]) -> None:
        """One thing with one engine; its fault is its own, unless it is the GPU's."""
        if turn.error is not None:
            return
        try:
            do(turn)
        except Exception as error:
            turn.fail(error)
            self._collect()
            if is_lost(self.task.device):
                raise GpuFault(self._as_rows([each for each in turns if each.error is not None], ())) from None

    def _open(self, turn: Turn) -> None:
        """Make the engine and its first tokens."""
        before = self.memory.allocated()

        def first() -> None:
            turn.engine = self.habits.make(turn.name, self.task)
            turn.engine.generate(self.task.cell.warmup_tokens)

        turn.warmup_s = self._heard(turn, first)
        if turn.made().note:
            turn.note_once(turn.made().note)
        turn.held_bytes = max(0, self.memory.allocated() - before)

    def _wake(self, turn: Turn) -> None:
        """The longest call, untimed; its memory is what the engine works with."""
        cell = self.task.cell
        before = self.memory.mark()
        self._heard(turn, lambda: turn.made().generate(cell.warmup_tokens + cell.new_tokens))
        turn.working_bytes = max(0, self.memory.peak() - before)

    def _time(self, turn: Turn) -> None:
        """One repeat."""
        cell = self.task.cell
        if turn.name != "read":
            turn.ttft_s.append(self._rested_s(turn, 1))
        short_s = self._rested_s(turn, cell.warmup_tokens)
        turn.repeats_s.append(self._rested_s(turn, cell.warmup_tokens + cell.new_tokens) - short_s)

    def _rested_s(self, turn: Turn, num_tokens: int) -> float:
        """Seconds of a call, after a rest."""
        if self.task.device.is_gpu and turn.ttft_s:
            self.habits.sleep(min(turn.ttft_s[-1], _MOST_REST_S))
        return self.clock.wall_s(lambda: turn.made().generate(num_tokens))

    def _count(self, turn: Turn) -> None:
        """Kernels of a step: those of a longer call less those of a shorter one."""
        engine, device = turn.made(), self.task.device
        long = launches_of(lambda: engine.generate(1 + _COUNTED_STEPS), device, step_s=1.0)
        short = launches_of(lambda: engine.generate(1), device, step_s=1.0)
        if long is not None and short is not None:
            turn.launches = digits((long.num_launches - short.num_launches) / _COUNTED_STEPS)
            turn.notes.append("kernels counted: cells after the first ran with a profiler loaded")

    def _heard(self, turn: Turn, call: Callable[[], object]) -> float:
        """Seconds of a call whose warnings of ours (a call that runs plain) go into the row."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            wall_s = self.clock.wall_s(call)
        for each in seen:
            if each.category.__module__.startswith(_OURS):
                turn.note_once(str(each.message).removeprefix(f"{_OURS}: "))
        return wall_s

    def _collect(self) -> None:
        gc.collect()
        with suppress(RuntimeError):  # of a GPU that is lost; whoever uses it next finds out
            self.task.device.empty_cache()

    def _as_rows(self, turns: Sequence[Turn], together: tuple[str, ...]) -> list[Row]:
        read_s = next((median(turn.repeats_s) for turn in turns if turn.name == "read" and turn.error is None), 0.0)
        found = []
        for turn in turns:
            peak = self.memory.peak_of(turn.name, held=turn.held_bytes, working=turn.working_bytes)
            own = {"together": (turn.name,) if ALONE in turn.notes else together, "memory_peak_bytes": peak, "started_at": self.started_at}
            found.append(row_of(turn, self.task, ceiling_s=read_s if read_s > 0 else None, **own))
        return found


def is_lost(device: Device) -> bool:
    """Whether a fault (an illegal access, a launch that failed) has left the process without a usable GPU: every later call then fails."""
    try:
        device.synchronize()
    except RuntimeError:
        return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what compilers and transformers say about themselves while it is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
