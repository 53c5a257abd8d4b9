"""Runners: one module a kind of point, imported only when such a point is measured.

A plain kind's module has `prepare(point, bench) -> Prepared`, timed alone by the clock. An interleaved kind's has
`measure(points, bench) -> list[Outcome]`: its points are compared with one another, so they run in turn, round after round.
Shapes, units and sources: each module's docstring. Errors of a call (out of memory, an unsupported shape) come out as they are; the worker
turns them into rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..clock import Clock, Prepared
from ..devices import Card, Device
from ..operands import Operands
from ..points import Point, Value

#: Kind -> module of this folder.
PLAIN = {
    "gemm": "gemm", "attention": "attention", "memory": "memory", "optimizer": "optimizer", "host": "host", "collective": "collectives",
}  # fmt: skip
INTERLEAVED = {"layer": "layer", "model": "model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a runner works with: the device, its clock, its card and random operands."""

    device: Device
    clock: Clock
    card: Card
    operands: Operands


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result columns of one point of an interleaved kind: of a measured one its timing and facts, else the error."""

    columns: dict[str, Value]
    error: BaseException | None = None


def open_bench(device: Device) -> Bench:
    """A bench on `device` with the standard protocol."""
    return Bench(device=device, clock=Clock(device), card=Card(device), operands=Operands(device))


def prepare(point: Point, bench: Bench) -> Prepared:
    """The calls of a point of a plain kind."""
    return _module(PLAIN[point.kind]).prepare(point, bench)


def measure(points: Sequence[Point], bench: Bench) -> list[Outcome]:
    """Outcomes of points of one interleaved kind, in order."""
    return _module(INTERLEAVED[points[0].kind]).measure(points, bench)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
