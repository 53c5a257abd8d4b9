"""Fits side by side: numpy leaves the interpreter to other threads while it computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
#: More threads than this wait for one another.
MOST_THREADS = 8


def parallel(run: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`run` of each item, in order."""
    with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(run, items))
