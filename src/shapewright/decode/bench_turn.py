"""What was seen of one engine in one cell, and the row that it becomes. Seconds and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..measure.clock import digits, is_out_of_memory
from .bench_engines import Engine, Task
from .bench_rows import Row

#: Characters kept of an error.
MAX_ERROR = 300


@dataclass(slots=True, kw_only=True)
class Turn:
    """One engine and what was seen of it."""

    name: str
    engine: Engine | None = None
    warmup_s: float | None = None
    held_bytes: int = 0
    working_bytes: int = 0
    repeats_s: list[float] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)
    launches: float | None = None
    error: BaseException | None = None
    notes: list[str] = field(default_factory=list)

    def fail(self, error: BaseException) -> None:
        """Note why it ended, without the frames that would hold its tensors."""
        self.error = error.with_traceback(None)
        self.error.__context__ = self.error.__cause__ = None
        self.close()

    def close(self) -> None:
        """Let go of the engine, whatever it says."""
        engine, self.engine = self.engine, None
        try:
            if engine is not None:
                engine.close()
        except Exception as error:  # of an engine that failed before
            self.notes.append(f"closing it failed: {said(error)}")

    def note_once(self, text: str) -> None:
        """Note a text, unless it ends in a reason that is noted already."""
        reason = text.partition(": ")[2] or text
        if not any(each.endswith(reason) for each in self.notes):
            self.notes.append(text)

    def made(self) -> Engine:
        """The engine, of a turn that did not fail."""
        assert self.engine is not None
        return self.engine


def row_of(turn: Turn, task: Task, *, ceiling_s: float | None, **own: Any) -> Row:
    """The row of a turn; `ceiling_s` is the median repeat of `read`, `own` are fields that the cell knows."""
    common = _about(turn, task) | own
    if turn.error is not None:
        status = "out_of_memory" if is_out_of_memory(turn.error) else "failed"
        return Row(**common | {"together": (), "memory_peak_bytes": None}, status=status, error=said(turn.error))
    time_s = median(turn.repeats_s) / task.cell.new_tokens
    if time_s <= 0:
        return Row(**common, status="failed", error=f"{task.cell.new_tokens} steps take less than the clock tells; raise --new-tokens")
    return Row(**common | spread(turn.repeats_s), **_times(turn, task, time_s, ceiling_s))


def spread(repeats_s: Sequence[float]) -> dict[str, float]:
    """min_s, max_s and deviation_s (median absolute deviation from the median)."""
    middle = median(repeats_s)
    deviation_s = median(abs(each - middle) for each in repeats_s)
    return {"min_s": digits(min(repeats_s)), "max_s": digits(max(repeats_s)), "deviation_s": digits(deviation_s)}


def said(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:MAX_ERROR]


def _about(turn: Turn, task: Task) -> dict[str, Any]:
    model, cell = task.model, task.cell
    return {
        "model": model.name,
        "family": model.family,
        "num_parameters": model.shape.num_params,
        "engine": turn.name,
        "batch": cell.batch,
        "context": cell.context,
        "new_tokens": cell.new_tokens,
        "warmup_tokens": cell.warmup_tokens,
        "dtype": model.dtype,
        "weight_bytes": task.weight_bytes,
        "cache_bytes": task.cache_bytes,
        "positions_raised_to": model.positions_raised_to,
        "notes": (*model.notes, *turn.notes),
        "warmup_s": None if turn.warmup_s is None else digits(turn.warmup_s),
    }


def _times(turn: Turn, task: Task, time_s: float, ceiling_s: float | None) -> dict[str, Any]:
    return {
        "repeats_s": tuple(digits(each) for each in turn.repeats_s),
        "time_per_step_s": digits(time_s),
        "tokens_per_s": digits(task.cell.batch / time_s),
        "speed_of_light": None if ceiling_s is None else digits(ceiling_s / task.cell.new_tokens / time_s),
        "ttft_s": digits(median(turn.ttft_s)) if turn.ttft_s else None,
        "launches": turn.launches,
    }
