"""A bench on the CPU with a protocol short enough for tests."""

from __future__ import annotations

from shapewright.measure.clock import Clock, Protocol
from shapewright.measure.devices import Card, Device
from shapewright.measure.operands import Operands
from shapewright.measure.runners import Bench

CPU = Device(name="cpu", gpu="cpu", l2_bytes=2**12, memory_bytes=2**30)
SHORT = Protocol(replay_s=1e-5, max_calls=4, num_replays=3, max_copies=3)


def short_bench() -> Bench:
    """Rotates over at most three copies and repeats a call a few times."""
    return Bench(device=CPU, clock=Clock(CPU, SHORT), card=Card(CPU), operands=Operands(CPU, SHORT))
