"""A bench on the CPU whose turns are short, with memory for small models."""

from __future__ import annotations

from shapewright.measure.clock import Clock, Protocol
from shapewright.measure.devices import Card, Device
from shapewright.measure.operands import Operands
from shapewright.measure.runners import Bench


def step_bench(*, memory_bytes: int = 2**34, round_s: float = 0.01) -> Bench:
    """Turns of `round_s` seconds."""
    device = Device(name="cpu", gpu="cpu", l2_bytes=2**12, memory_bytes=memory_bytes)
    protocol = Protocol(round_s=round_s)
    return Bench(device=device, clock=Clock(device, protocol), card=Card(device), operands=Operands(device, protocol))
