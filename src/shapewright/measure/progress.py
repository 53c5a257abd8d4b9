"""How far a sweep is: counts of points, points a second, seconds to go; and one line on stderr that shows it.

On a terminal the line is rewritten several times a second; elsewhere (a log) a new one is printed every ten seconds, the first after ten:
a sweep of seconds leaves none.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TextIO

#: Seconds between two lines on a terminal, and in a log; and the most characters of a line.
TERMINAL_EVERY_S, LOG_EVERY_S, MAX_WIDTH = 0.2, 10.0, 79


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Points `done` in this sweep (failed ones included), `skipped` since a row of them was there, of `total`."""

    done: int
    skipped: int
    failed: int
    total: int
    rate_per_s: float
    """Points a second over the last half minute; 0 before the first."""
    eta_s: float | None
    """Seconds to go at that rate; None where there is no rate yet."""


class ProgressLine:
    """Prints progress on one line; give its `show` to `execute`, and `close` it."""

    def __init__(self, target: TextIO | None = None) -> None:
        self._target = sys.stderr if target is None else target
        self._is_terminal = self._target.isatty()
        self._last_s, self._width = 0.0 if self._is_terminal else time.monotonic(), 0

    def show(self, progress: Progress) -> None:
        """Print, if it is time."""
        now = time.monotonic()
        if now - self._last_s < (TERMINAL_EVERY_S if self._is_terminal else LOG_EVERY_S):
            return
        self._last_s = now
        text = progress_text(progress)
        if self._is_terminal:
            self._target.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._target.write(text + "\n")
        self._target.flush()

    def close(self, text: str = "") -> None:
        """End the line, with a last text in its place."""
        if self._is_terminal and self._width:
            self._target.write("\r" + " " * self._width + "\r")
        if text:
            self._target.write(text + "\n")
        self._target.flush()
        self._width = 0


def progress_text(progress: Progress) -> str:
    """`412/2000 points, 3 failed, 100 there already, 52/s, 31 s to go`."""
    parts = [f"{progress.done + progress.skipped}/{progress.total} points"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.skipped} there already"] if progress.skipped else []
    parts += [rate_text(progress.rate_per_s)] if progress.rate_per_s else []
    parts += [f"{duration_text(progress.eta_s)} to go"] if progress.eta_s is not None else []
    return ", ".join(parts)[:MAX_WIDTH]


def rate_text(rate_per_s: float) -> str:
    """Points a second, or a minute where they are slow."""
    if rate_per_s >= 10:
        return f"{rate_per_s:.0f}/s"
    return f"{rate_per_s:.1f}/s" if rate_per_s >= 0.2 else f"{rate_per_s * 60:.1f}/min"


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
