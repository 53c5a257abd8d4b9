"""Compiles kernels before they are launched, in processes of their own: Triton's compiler runs on one core, and a table wants hundreds.

    compile_ahead(launch for step in steps for launch in step.launches())

Each process (`python -m shapewright.decode.ahead`) reads its jobs from standard input, a JSON list, and compiles them for the GPU that the
parent has, without touching it: what it finds goes into Triton's cache on disk, where the launch looks first. A job is (module, kernel,
arguments, grid, options); an argument that is a tensor is its dtype and where it lies within 16 bytes, which is all that a kernel is
specialised on. NVIDIA alone (elsewhere kernels are specialised on more): nothing is done elsewhere. What does not compile says so where it
is launched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapewright.decode.products import Launch

ALIGNMENT = 16


class Pointer:
    """Where a tensor would be."""

    def __init__(self, dtype: str, place: int) -> None:
        self.dtype, self.place = dtype, place

    def data_ptr(self) -> int:
        """Its address, of which only the last four bits are meant."""
        return self.place


def compile_ahead(launches: Iterable[Launch]) -> None:
    """Every kernel that these launches need, on all cores."""
    from triton.runtime import driver

    target: Any = driver.active.get_current_target()
    if target.backend != "cuda":
        return
    jobs = list(dict.fromkeys(json.dumps(_job(launch)) for launch in launches))
    num_workers = min(len(jobs), os.cpu_count() or 1)
    workers = [_worker(jobs[part::num_workers], target) for part in range(num_workers)]
    for worker in workers:
        worker.wait()


def _worker(jobs: Sequence[str], target: Any) -> subprocess.Popen:
    from shapewright.measure.worker_process import worker_environment

    worker = subprocess.Popen(
        # Not from the user's folder, in which anything may lie.
        [sys.executable, "-P", "-m", __name__, target.backend, str(target.arch), str(target.warp_size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=worker_environment(),
        text=True,
    )
    assert worker.stdin is not None
    worker.stdin.write(f"[{','.join(jobs)}]")
    worker.stdin.close()
    return worker


def _job(launch: Launch) -> tuple[str, str, list, list[int], dict[str, Any]]:
    kernel = launch.kernel.fn
    return kernel.__module__, kernel.__name__, [_plain(each) for each in launch.arguments], list(launch.grid), launch.options


def _plain(argument: Any) -> Any:
    if not hasattr(argument, "data_ptr"):
        return argument
    return {"dtype": str(argument.dtype).removeprefix("torch."), "place": argument.data_ptr() % ALIGNMENT}


def _stand_in(backend: str, arch: int, warp_size: int) -> Any:
    """A driver that knows the target and has no GPU."""
    from triton.backends.compiler import GPUTarget

    class Driver:
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)
        get_current_target = staticmethod(lambda: GPUTarget(backend, arch, warp_size))

    return Driver()


def main(arguments: Sequence[str]) -> None:
    """Compile what standard input lists."""
    from triton.runtime import driver

    backend, arch, warp_size = arguments
    driver.set_active(_stand_in(backend, int(arch), int(warp_size)))
    for module, name, values, grid, options in json.load(sys.stdin):
        kernel: Any = getattr(import_module(module), name)
        pointers = [Pointer(**value) if isinstance(value, dict) else value for value in values]
        try:
            kernel.warmup(*pointers, grid=tuple(grid), **options)
        except Exception:  # the launch will say it
            continue


if __name__ == "__main__":
    main(sys.argv[1:])
