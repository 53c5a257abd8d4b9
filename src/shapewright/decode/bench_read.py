"""The ceiling of a cell as an engine: each step reads as many bytes as a decode step must, and does nothing else.

On a GPU the fastest of several forms of one Triton kernel (bytes a program, loads in flight, warps), found once a device; on a CPU a sum by
torch. The buffer is the step's bytes, at most `MAX_BUFFER_BYTES`, read again where a step has more: far beyond any cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from statistics import median
from typing import Any

from ..measure.clock import Clock
from ..measure.devices import Device

MAX_BUFFER_BYTES = 4 * 2**30
CPU_BUFFER_BYTES = 64 * 2**20
#: Forms of the kernel: elements of 4 bytes in a tile, tiles of a program, warps.
FORMS = tuple(product((1024, 2048, 4096, 8192), (1, 4, 8), (4, 8)))
_BLOCK_MULTIPLE = max(block * tiles for block, tiles, _ in FORMS)
_TRIALS = 3


class Read:
    """Reads `num_bytes` a token."""

    def __init__(self, device: Device, num_bytes: int) -> None:
        self.note = ""
        self._step = _on_gpu(self, device, num_bytes) if device.is_gpu else _on_cpu(num_bytes)

    def generate(self, num_tokens: int) -> None:
        """As many steps as a decode of `num_tokens` tokens has."""
        for _ in range(num_tokens):
            self._step()

    def close(self) -> None:
        """Free the buffer."""
        self._step = lambda: None


def _on_gpu(engine: Read, device: Device, num_bytes: int) -> Callable[[], object]:
    import torch

    source = torch.zeros(_whole(min(num_bytes, MAX_BUFFER_BYTES)), dtype=torch.int32, device=device.name)
    block, tiles, num_warps = _best_form(device)
    engine.note = f"reads {4 * block * tiles} bytes a program in tiles of {4 * block}, {num_warps} warps"
    return _reader(source, num_bytes, (block, tiles, num_warps))


def _reader(source: Any, num_bytes: int, form: tuple[int, int, int]) -> Callable[[], object]:
    import torch

    from .bench_read_kernel import read

    block, tiles, num_warps = form
    sums = torch.empty(-(-num_bytes // (4 * block * tiles)), dtype=torch.int32, device=source.device)
    return lambda: read(source, sums, block=block, tiles=tiles, num_warps=num_warps)


@cache
def _best_form(device: Device) -> tuple[int, int, int]:
    """The form that reads a whole buffer soonest; the memory's rate, not the cell, decides."""
    import torch

    num_bytes = min(MAX_BUFFER_BYTES, device.memory_bytes // 8)
    source, clock = torch.zeros(_whole(num_bytes), dtype=torch.int32, device=device.name), Clock(device)
    times_s = {}
    for form in FORMS:
        read = _reader(source, num_bytes, form)
        read()
        times_s[form] = median(clock.wall_s(read) for _ in range(_TRIALS))
    return min(times_s, key=times_s.__getitem__)


def _on_cpu(num_bytes: int) -> Callable[[], object]:
    import torch

    source = torch.zeros(_whole(min(num_bytes, CPU_BUFFER_BYTES)), dtype=torch.int32)
    whole, rest = divmod(-(-num_bytes // 4), source.numel())

    def step() -> None:
        for _ in range(whole):
            source.sum()
        source[:rest].sum()

    return step


def _whole(num_bytes: int) -> int:
    """Elements of 4 bytes, up to a whole number of the largest program's."""
    return -(-num_bytes // (4 * _BLOCK_MULTIPLE)) * _BLOCK_MULTIPLE
