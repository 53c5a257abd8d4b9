"""`shapewright bench sweep PLAN.toml`: every point of a plan; what the run holds already is left out, so that a stopped sweep goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..measure.plan import load_plan
from .bench import BenchFlags, bench


def bench_sweep(
    plan: Annotated[str, Parameter(help="A plan: blocks of points as lists, ranges and random draws.")],
    /,
    *,
    flags: BenchFlags | None = None,
) -> int:
    """Measure every point of a plan.

    A plan is a TOML file: [[points]] blocks with a kind and its fields as a value, a list, {from, to, step} or a random draw, and where =
    ["n % 8 == 0"]. With --out the same command goes on where a stopped one was; Ctrl-C says what is kept. All points are in the run file;
    the table shows the first 60.
    """
    found = load_plan(Path(plan))
    name = found.name or Path(plan).stem
    return bench(found.points, flags or BenchFlags(), name=name, timeout_s=found.timeout_s, plan=found)
