"""Memory of one engine among others in one process: bytes that tensors hold on the device, by torch's caching allocator.

An engine's peak is the model's weights, what it holds between calls, and what its longest call allocates at most beyond that; what its
neighbours hold is left out. Intermediates inside a CUDA graph count only while it is captured: they are activations, small at decode.
"""

from __future__ import annotations

from ..measure.devices import Device


class Memory:
    """Readings of one device; all 0 on a CPU, where torch counts none."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._base = 0

    def start(self) -> None:
        """What is allocated now, before any engine, is the model and the prompts."""
        self._base = self.allocated()

    def allocated(self) -> int:
        """Bytes of live tensors."""
        if not self._device.is_gpu:
            return 0
        import torch

        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    def mark(self) -> int:
        """Begin to look for a peak; bytes of live tensors now."""
        if self._device.is_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
        return self.allocated()

    def peak(self) -> int:
        """Most bytes of live tensors since the mark."""
        if not self._device.is_gpu:
            return 0
        import torch

        return torch.cuda.max_memory_allocated()

    def peak_of(self, engine: str, *, held: int, working: int) -> int | None:
        """The engine's peak; None of `read`, which needs no model, and on a CPU."""
        return None if engine == "read" or not self._device.is_gpu else self._base + held + working
