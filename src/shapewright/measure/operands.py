"""Operands: views of one buffer of normal random numbers a dtype, so that no point waits for its numbers to be drawn.

Every operand starts on a multiple of 256 bytes, as fresh tensors do (an odd address would choose another kernel). Copies of a point's
operands that together exceed twice the L2 make its weights cold. Sizes in elements; an operand set that the pool cannot hold is drawn anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .clock import Protocol

if TYPE_CHECKING:
    from .devices import Device

ALIGNMENT_BYTES = 256
#: The pool: at most this many bytes a dtype, and this share of the device's memory.
POOL_BYTES, POOL_SHARE = 6 * 2**30, 0.05
CPU_POOL_BYTES = 2**26


def torch_dtype(name: str) -> Any:
    """torch's number format for a name of `dtypes`; tf32 is stored as fp32."""
    import torch

    known = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn"}
    return getattr(torch, known[name])


class Operands:
    """Random tensors of one device."""

    def __init__(self, device: Device, protocol: Protocol | None = None) -> None:
        self.device, self.protocol = device, protocol or Protocol()
        self._pools: dict[Any, Any] = {}

    def copies(self, sizes: Sequence[int], dtype: str, *, element_bytes: int) -> int:
        """Sets of operands of these sizes (elements) that exceed twice the L2, at most the protocol's and what the pool holds."""
        each = sum(rounded(size, element_bytes) for size in sizes) * element_bytes
        held = max(1, self._capacity(dtype) * element_bytes // each)
        return int(max(1, min(self.protocol.max_copies, -(-2 * self.device.l2_bytes // each), held)))

    def take(self, sizes: Sequence[int], dtype: str, copy: int) -> list[Any]:
        """Flat tensors of `sizes` elements: the `copy`-th set."""
        element_bytes = torch_dtype(dtype).itemsize
        steps = [rounded(size, element_bytes) for size in sizes]
        each = sum(steps)
        if each > self._capacity(dtype):
            return [self._drawn(size, dtype) for size in sizes]
        pool = self._pool(dtype)
        start, found = copy * each, []
        for size, step in zip(sizes, steps, strict=True):
            found.append(pool[start : start + size])
            start += step
        return found

    def _capacity(self, dtype: str) -> int:
        limit = min(POOL_BYTES, int(self.device.memory_bytes * POOL_SHARE)) if self.device.is_gpu else CPU_POOL_BYTES
        return limit // torch_dtype(dtype).itemsize

    def _pool(self, dtype: str) -> Any:
        kind = torch_dtype(dtype)  # tf32 and fp32 share one
        if kind not in self._pools:
            self._pools[kind] = self._drawn(self._capacity(dtype), dtype)
        return self._pools[kind]

    def _drawn(self, size: int, dtype: str) -> Any:
        """Normal random numbers; fp8 in pieces, since torch draws them in another format."""
        import torch

        kind = torch_dtype(dtype)
        if kind.itemsize > 1:
            return torch.randn(size, device=self.device.name, dtype=kind)
        drawn = torch.empty(size, device=self.device.name, dtype=kind)
        for piece in drawn.split(2**28):
            piece.copy_(torch.randn(len(piece), device=self.device.name, dtype=torch.bfloat16))
        return drawn


def rounded(size: int, element_bytes: int) -> int:
    """`size` elements up to the next aligned start."""
    step = ALIGNMENT_BYTES // element_bytes
    return -(-size // step) * step
