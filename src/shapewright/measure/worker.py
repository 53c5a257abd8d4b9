"""The process that measures: has torch, reads groups of points, sends rows back. `python -m shapewright.measure.worker --device cuda:0`

One JSON object a line. In: `{"group": 1, "points": [settings], "with_kernels": true, "time_left_s": 60}`. Out, first
`{"environment": {}, "protocol": {}, "has_kernels": true}` or `{"fatal": {"what", "hint", "exit_code"}}`; then of each group
`{"started": index}`, `{"row": result columns, "index": index}`, now and then `{"kernels": {index: names}}` for the rows since the last such
line, and `{"finished": group, "stopped": false}`. `{"poisoned": text}`: the device's context is lost and this process ends.

The pipe is a private copy of stdout: what torch or a library prints goes to stderr. Ends with its parent. Times in seconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MissingError, ShapewrightError
from .devices import open_device
from .measuring import PoisonedError, Worker, one_line
from .run_lines import written
from .runners import open_bench


class Channel:
    """The private pipe to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: Mapping[str, Any]) -> None:
        """One line; with the parent gone, the end."""
        rest = memoryview(written(message))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            os._exit(1)


def end_with_parent(parent: int | None) -> None:
    """On Linux the kernel ends this process when its parent dies; elsewhere the end of stdin does, after the point at hand."""
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def private_pipes() -> tuple[Any, Channel]:
    """Stdin as a file and stdout as a channel, both out of the reach of what a library reads or prints."""
    source, target = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return os.fdopen(source, "rb"), Channel(target)


def opened_worker(device: str, channel: Channel) -> Worker | None:
    """A worker on `device` that has said hello, or None after a fatal message."""
    try:
        worker = Worker(open_bench(open_device(device)), channel)
        worker.hello()
    except Exception as error:
        if not isinstance(error, ShapewrightError):
            error = MissingError(
                f"the device {device} cannot be used: {one_line(error)}", hint="check its driver with nvidia-smi or rocm-smi"
            )
        channel.send({"fatal": {"what": error.what, "hint": error.hint, "exit_code": error.exit_code}})
        return None
    return worker


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the parent until it closes the pipe."""
    parser = argparse.ArgumentParser(prog="shapewright.measure.worker", description="Measures points for a parent process.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parent", type=int, default=None)
    options = parser.parse_args(arguments)
    end_with_parent(options.parent)
    source, channel = private_pipes()
    worker = opened_worker(options.device, channel)
    if worker is None:
        return 3
    gc.collect()
    gc.freeze()
    for line in source:
        try:
            worker.group(json.loads(line))
        except PoisonedError as error:
            channel.send({"poisoned": str(error)})
            sys.stdout.flush()
            os._exit(1)  # tearing down a lost context may hang
    return 0


if __name__ == "__main__":
    sys.exit(main())
