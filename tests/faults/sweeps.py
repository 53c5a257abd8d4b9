"""Starts sweeps in processes of their own, and finds what they left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shapewright.measure.store import read_run

TESTS = Path(__file__).resolve().parents[1]


def environment(**changes: str) -> dict[str, str]:
    """This process's, with the package and the tests on the path."""
    paths = [str(TESTS.parent / "src"), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **changes}


def started(path: Path, num_points: int, worker: str, **options: Any) -> subprocess.Popen[bytes]:
    """A sweep of `num_points` into `path`, in a session of its own; acknowledged rows go to `<path>.ack`."""
    command = [sys.executable, str(TESTS / "faults/driver.py"), str(path), f"{path}.ack", str(num_points), worker]
    return interruptible(command, **options)


def interruptible(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process that SIGINT ends, even where whoever runs the tests ignores it, as a shell does for what it starts in the background."""
    options = {"preexec_fn": _take_interrupts} | options
    return subprocess.Popen(command, env=environment(), start_new_session=True, stderr=subprocess.PIPE, **options)


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def acknowledged(path: Path) -> list[int]:
    """m of every acknowledged row; a last line that the kill cut off was not yet one."""
    source = Path(f"{path}.ack")
    return [int(line) for line in source.read_text().split("\n")[:-1]] if source.exists() else []


def rows(path: Path) -> list[int]:
    """m of every row in the file."""
    return [row["m"] for row in read_run(path).rows] if path.exists() and path.stat().st_size else []


def children(pid: int) -> list[int]:
    """Processes that `pid` started."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def has_ended(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process is gone (or only waits to be reaped)."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path, count: int, within_s: float = 30.0) -> None:
    """Until `count` rows are acknowledged."""
    until = time.monotonic() + within_s
    while len(acknowledged(path)) < count:
        assert time.monotonic() < until, f"{len(acknowledged(path))} of {count} rows after {within_s} s"
        time.sleep(0.02)
