"""Rows on their way from the worker to the disk, and what is told of them: counts, progress, the caller's `on_row`.

A row waits for the names of its kernels, which come for many points at once, then for its neighbours: rows are appended and fsynced by 64,
or after two seconds. Only then does `on_row` get them. Times in seconds of the monotonic clock.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from .progress import Progress
from .run_lines import Row
from .store import Run

OnRow = Callable[[Row], None]
OnProgress = Callable[[Progress], None]

ROWS_A_FLUSH, SECONDS_A_FLUSH = 64, 2.0
RATE_WINDOW_S = 30.0


class Outbox:
    """Holds rows until they can be written."""

    def __init__(self, run: Run, on_row: OnRow | None, on_progress: OnProgress | None) -> None:
        self._run, self._on_row, self._on_progress = run, on_row, on_progress
        self.counts: Counter[str] = Counter()
        self._unnamed: dict[int, Row] = {}
        self._ready: list[Row] = []
        self._recent: deque[float] = deque()
        self._num_points = self._num_skipped = 0
        self._begun_s = self._ended_s = self._flushed_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """From the start to the last row."""
        return self._ended_s - self._begun_s

    def expect(self, num_points: int, num_skipped: int) -> None:
        """The sweep begins: how many points there are, and how many of them have a row already."""
        self._num_points, self._num_skipped = num_points, num_skipped
        self._begun_s = self._ended_s = self._flushed_s = time.monotonic()
        self.tell()

    def add(self, index: int, row: Row, *, is_final: bool) -> None:
        """A row of the group at hand; one that is not final waits for its kernels, and what comes after it waits with it."""
        self.counts[row["status"]] += 1
        self._ended_s = time.monotonic()
        self._recent.append(self._ended_s)
        if is_final and not self._unnamed:
            self._ready.append(row)
        else:
            self._unnamed[index] = row

    def name_kernels(self, names: Mapping[str, Any]) -> None:
        """Release the rows that wait, with the names that there are."""
        for index, row in self._unnamed.items():
            name = names.get(str(index))
            self._ready.append({**row, "kernel": name} if name and row["status"] == "ok" else row)
        self._unnamed = {}

    def flush_if_due(self) -> None:
        """Write what is ready where it is enough, or old enough; and tell how far the sweep is."""
        is_old = time.monotonic() - self._flushed_s >= SECONDS_A_FLUSH
        if len(self._ready) >= ROWS_A_FLUSH or (is_old and self._ready):
            self.flush()
        self.tell()

    def flush(self) -> None:
        """Write what is ready, then give it to the caller."""
        rows, self._ready = self._ready, []  # not tried twice: a failed append has said which rows are safe
        self._flushed_s = time.monotonic()
        if rows:
            self._run.append(rows)
        if self._on_row is not None:
            for row in rows:
                self._on_row(row)

    def close(self) -> None:
        """Write everything."""
        self.name_kernels({})
        self.flush()
        self.tell()

    def tell(self) -> None:
        """Report progress."""
        if self._on_progress is None or not self._num_points:
            return
        done = sum(self.counts.values())
        rate = self._rate_per_s()
        self._on_progress(
            Progress(
                done=done,
                skipped=self._num_skipped,
                failed=done - self.counts["ok"],
                total=self._num_points,
                rate_per_s=rate,
                eta_s=(self._num_points - self._num_skipped - done) / rate if rate else None,
            )
        )

    def _rate_per_s(self) -> float:
        """Points a second of the last half minute."""
        now = time.monotonic()
        while self._recent and now - self._recent[0] > RATE_WINDOW_S and len(self._recent) > 1:
            self._recent.popleft()
        span = now - max(self._begun_s, now - RATE_WINDOW_S if len(self._recent) > 1 else self._begun_s)
        return len(self._recent) / span if self._recent and span > 0 else 0.0
