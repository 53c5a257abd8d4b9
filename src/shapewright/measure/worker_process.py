"""The measuring process as its parent sees it: started, asked, read without waiting, ended with all its children. No torch here.

The process has a session of its own, so that Ctrl-C reaches the parent alone, and ends when the parent does. Its stderr is kept (the last
few thousand bytes) to say why it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .run_lines import written

_CHUNK, _KEPT_STDERR = 2**16, 4096


class WorkerProcess:
    """One worker and its pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=worker_environment(), start_new_session=True
        )  # fmt: skip
        self._selector = selectors.DefaultSelector()
        self._pending, self._stderr = b"", b""
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out, self._err = self._process.stdout, self._process.stderr
        self._open: list[object] = [self._out, self._err]
        for source in (self._out, self._err):
            os.set_blocking(source.fileno(), False)
            self._selector.register(source, selectors.EVENT_READ)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come from it."""
        return self._out not in self._open

    def send(self, message: Mapping[str, Any]) -> None:
        """One line to its stdin; a process that is gone is noticed by `messages`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(written(message))
            self._process.stdin.flush()

    def messages(self, wait_s: float) -> list[dict[str, Any]]:
        """What it sent, after at most `wait_s` seconds."""
        found: list[dict[str, Any]] = []
        for key, _ in self._selector.select(wait_s):
            chunk = os.read(key.fd, _CHUNK)
            if not chunk:
                self._selector.unregister(key.fileobj)
                self._open.remove(key.fileobj)
            elif key.fileobj is self._err:
                self._stderr = (self._stderr + chunk)[-_KEPT_STDERR:]
            else:
                found += self._lines(chunk)
        return found

    def _lines(self, chunk: bytes) -> list[dict[str, Any]]:
        """Whole messages; what is none is kept as if it came from stderr."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        found = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                found.append(message)
            else:
                self._stderr = (self._stderr + line + b"\n")[-_KEPT_STDERR:]
        return found

    def ending(self) -> str:
        """How it ended, in one line: signal or exit code, and the last thing it said."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        self._kill_group()
        said = self._last_words()
        if code >= 0:
            return f"exit code {code}{said}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}{' (the host may have run out of memory)' if -code == signal.SIGKILL else ''}{said}"

    def _last_words(self) -> str:
        while self._open and self._selector.select(0.2):
            self.messages(0)
        lines = [line.strip() for line in self._stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""

    def kill(self) -> None:
        """End it and everything that it started."""
        if self._process.returncode is None:
            self._kill_group()
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._out, self._err):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _kill_group(self) -> None:
        """While its number is still its own: a number whose process was waited for may be given to another."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def worker_command(device: str) -> list[str]:
    """The command line of the worker that measures on `device` and ends with this process."""
    return [sys.executable, "-P", "-m", "shapewright.measure.worker", "--device", device, "--parent", str(os.getpid())]


def worker_environment() -> dict[str, str]:
    """This process's, from which the worker imports the same shapewright even where it is no installed package."""
    root = Path(__file__).resolve().parents[2]
    if root.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    known = [str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(known)}
