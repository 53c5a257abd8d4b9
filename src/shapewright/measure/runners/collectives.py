"""Collectives among `group_size` processes, one GPU each (NCCL), or on the CPU (gloo): `ranks.py` is what each process runs.

The processes are kept for the next point of the same size, since starting them takes seconds, and end when this process does. Every
process times the same replays of calls back to back, between events on GPUs; the slowest one counts, replay by replay. `message_bytes`
is nccl-tests' size (`operators.types.Collective` says which buffer that is). Variables of the environment, NCCL's too, stay as they are.

Errors: `MissingError` for more GPUs than there are, `InputError` for a message that the group cannot share evenly; what a process
reports or its last words on stderr as `RuntimeError`. After any failure all processes of the group are gone.
"""

from __future__ import annotations

import atexit
import json
import selectors
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ...errors import InputError, MissingError
from ..clock import Prepared, timing_of
from ..devices import Device
from ..operands import torch_dtype
from ..points import CollectivePoint, settings_of
from ..worker_process import worker_environment
from . import Bench

#: Processes on a CPU: more would measure the scheduler.
MAX_CPU_PROCESSES = 64


def prepare(point: CollectivePoint, bench: Bench) -> Prepared:
    """A point that has been timed already, by all its processes."""
    require(point, bench.device)
    answers = _GROUP.measured(point, bench.device)
    slowest = [max(times) for times in zip(*(answer["times_s"] for answer in answers), strict=True)]
    is_gpu = bench.device.is_gpu
    timing = timing_of(
        slowest, first_s=max(answer["first_s"] for answer in answers), num_calls=answers[0]["num_calls"], num_copies=1,
        method="events" if is_gpu else "wall",
    )  # fmt: skip
    return Prepared(calls=[_nothing], method=timing.method, timing=timing, facts={"backend": "nccl" if is_gpu else "gloo"})


def require(point: CollectivePoint, device: Device) -> None:
    """Refuse what cannot be measured here."""
    if point.group_size < 2:
        raise InputError("group_size is 1", hint="a collective needs at least 2 processes", field="group_size")
    if device.is_gpu:
        import torch

        if point.group_size > torch.cuda.device_count():
            raise MissingError(f"{point.group_size} GPUs are asked for", hint=f"torch sees {torch.cuda.device_count()}")
    elif point.group_size > MAX_CPU_PROCESSES:
        raise InputError(f"group_size is {point.group_size}", hint=f"at most {MAX_CPU_PROCESSES} on a CPU", field="group_size")
    step = torch_dtype(point.dtype).itemsize * (1 if point.name in ("all_reduce", "send") else point.group_size)
    if point.message_bytes % step:
        raise InputError(f"message_bytes is {point.message_bytes}", hint=f"expected a multiple of {step}", field="message_bytes")


def _nothing() -> None:
    """What is left to call of a point that was timed elsewhere."""


class Group:
    """The processes that wait for points of one size; at most one group is alive."""

    def __init__(self) -> None:
        self._of: tuple[int, str] | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._words: list[IO[str]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def measured(self, point: CollectivePoint, device: Device) -> list[dict[str, Any]]:
        """Every rank's answer; a failure of one ends all."""
        wanted = (point.group_size, "cuda" if device.is_gpu else "cpu")
        try:
            if self._of != wanted or any(process.poll() is not None for process in self._processes):
                self.end()
                self._start(*wanted)
            return self._asked(json.dumps(settings_of(point)) + "\n")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill the processes and remove what they shared."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for stream in filter(None, (process.stdin, process.stdout)):
                with suppress(OSError):  # what was not read any more
                    stream.close()
        for words in self._words:
            words.close()
        if self._folder:
            self._folder.cleanup()
        self._of, self._processes, self._words, self._folder = None, [], [], None

    def _start(self, size: int, device: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="shapewright-ranks-")
        store = str(Path(self._folder.name) / "store")
        environment = worker_environment()
        for rank in range(size):
            words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `end`
            self._words.append(words)
            command = [sys.executable, "-m", f"{__package__}.ranks", str(rank), str(size), store, device]
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True, env=environment)
            )
        self._of = size, device

    def _asked(self, line: str) -> list[dict[str, Any]]:
        """The answers to one point; the end of a process is an error with its last words."""
        for rank, process in enumerate(self._processes):
            assert process.stdin is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except BrokenPipeError:
                raise RuntimeError(self._last_words(rank)) from None
        return self._answers()

    def _answers(self) -> list[dict[str, Any]]:
        """One a rank, as they come: the first error counts, since the other processes then wait in vain."""
        found: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as waiting:
            for rank, process in enumerate(self._processes):
                assert process.stdout is not None
                waiting.register(process.stdout, selectors.EVENT_READ, rank)
            while len(found) < len(self._processes):
                for key, _ in waiting.select():
                    found[key.data] = self._answer(key.data)
                    waiting.unregister(key.fileobj)
        return [found[rank] for rank in range(len(self._processes))]

    def _answer(self, rank: int) -> dict[str, Any]:
        """One line of a rank, which writes no second one before it is asked again."""
        stdout = self._processes[rank].stdout
        line = stdout.readline() if stdout else ""
        if not line:
            raise RuntimeError(self._last_words(rank))
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _last_words(self, rank: int) -> str:
        words = self._words[rank]
        words.seek(0)
        lines = [each.strip() for each in words.read()[-4000:].splitlines() if each.strip()]
        return f"process {rank} of the group ended: {lines[-1][:250] if lines else 'it said nothing'}"


#: Kept between points; a process of its own for each would spend seconds a point on starting.
_GROUP = Group()
atexit.register(_GROUP.end)
