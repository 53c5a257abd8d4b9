"""What the host learns from the device without stopping it: a copy into pinned memory, and an event behind the copy.

On a CPU the copy is there at once. Everything is queued on the current stream of the device that it comes from, which need not be the
current device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class Flag:
    """A boolean that is posted on the device and read on the host, later."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.value = pinned(torch.zeros((), dtype=torch.bool), device)
        self.arrived = torch.cuda.Event() if device.type == "cuda" else None

    def post(self, flag: Tensor) -> None:
        """Send it, behind all that is queued already."""
        self.value.copy_(flag, non_blocking=True)
        if self.arrived is not None:
            self.arrived.record(torch.cuda.current_stream(self.device))

    def is_here(self) -> bool:
        """Whether what was posted last has arrived."""
        return self.arrived is None or self.arrived.query()

    def read(self) -> bool:
        """Wait for what was posted last, not for what was queued after it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return bool(self.value)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the host that `device` can copy into while the host goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def on(device: torch.device) -> AbstractContextManager[object]:
    """Kernels are launched on the current device: this makes it `device`."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
