"""Ctrl-C and SIGTERM held back until what was measured is on the disk.

    with Deferred() as signals:
        while not signals.came: ...             # leaves its loop by itself
                                                # at the end of the block the signal takes effect

A second signal takes effect at once. In a thread other than the main one nothing is held back (Python gives signals to the main thread).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_HELD = (signal.SIGINT, signal.SIGTERM)


class Deferred:
    """Holds the first SIGINT or SIGTERM back for the length of a block."""

    def __init__(self) -> None:
        self.came: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _HELD:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # nohup keeps its effect
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()
        if self.came is not None and kind is None:
            self.take_effect()

    def take_effect(self) -> None:
        """What the signal would have done: KeyboardInterrupt of a Ctrl-C, by default the process's end of a SIGTERM."""
        number, self.came = self.came, None
        if number is not None:
            os.kill(os.getpid(), number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
