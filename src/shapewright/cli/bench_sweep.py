"""`shapewright bench sweep PLAN.toml`: every point of a plan; what the run holds already is left out, so that a stopped sweep goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..measure.plan import load_plan
from .bench import BenchFlags, bench

Plan = Annotated[str, Parameter(help="A plan: blocks of points as lists, ranges and random draws.")]


def bench_sweep(
    plan: Annotated[str, Parameter(help="A plan: blocks of points as lists, ranges and random draws.")],
    /,
    *,
    flags: BenchFlags | None = None,
) -> int:
    """Measure every point of a plan."""
    found = load_plan(Path(plan))
    return bench(found.points, flags or BenchFlags(), name=found.name or Path(plan).stem, timeout_s=found.timeout_s)
