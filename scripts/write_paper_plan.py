"""Writes benchmarks/plans/paper.toml: every point that the paper's figures and claims need, for a machine that has only PyTorch.

    PYTHONPATH=src python scripts/write_paper_plan.py [--gpu h200]

The points are those of `paper.rows.measured_points` and `paper.evidence.recorded_points`, in the figures' order; a test compares them with
the file. Points of one operator stand in one block, what varies in its values.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, fields
from itertools import groupby
from pathlib import Path

from shapewright.hardware.load import load_gpu
from shapewright.measure.points import Point, settings_of
from shapewright.paper.plan import WARM_S, paper_points

PLAN = Path(__file__).parents[1] / "benchmarks/plans/paper.toml"
HEAD = """# Every point of the figures and claims of "The Case for Co-Designing Model Architectures with Hardware" (2024), fp16.
# Written by scripts/write_paper_plan.py from the figures' data.
#     shapewright bench sweep benchmarks/plans/paper.toml
#     shapewright paper figure all --gpu h200 --rows RUN
# {num} points: 16 minutes on an H200 without the warm-up, which adds {seconds:.0f} s.
name = "paper"
timeout_s = 60
together = 48
warm_s = {warm_s}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", default="h200")
    points = paper_points(load_gpu(parser.parse_args().gpu))
    blocks = [_block(list(group)) for _, group in groupby(points, _alike)]
    PLAN.write_text(HEAD.format(num=f"{len(points):,}", seconds=WARM_S * len(points), warm_s=WARM_S) + "".join(blocks), encoding="utf-8")
    print(f"{PLAN}: {len(points):,} points in {len(blocks)} blocks")


def _alike(point: Point) -> tuple[object, ...]:
    """Fields that are words: what stands in one block."""
    return tuple((name, value) for name, value in settings_of(point).items() if isinstance(value, str | bool) and name != "model")


def _block(points: Sequence[Point]) -> str:
    """One `[[points]]`: what all share once, what varies in rows."""
    settings = [settings_of(point) for point in points]
    usual = {each.name: each.default for each in fields(points[0]) if each.default is not MISSING}
    settings = [
        {name: value for name, value in each.items() if any(other[name] != usual.get(name, other) for other in settings)}
        for each in settings
    ]
    fixed = {name: value for name, value in settings[0].items() if all(each[name] == value for each in settings)}
    varied = [name for name in settings[0] if name not in fixed]
    lines = ["", "[[points]]", *(f"{name} = {_written(value)}" for name, value in fixed.items())]
    if varied:
        lines += [f"columns = {_written(varied)}", "values = ["]
        lines += [*_filled([_written([each[name] for name in varied]) for each in settings]), "]"]
    return "\n".join(lines) + "\n"


def _filled(rows: Sequence[str], width: int = 136) -> list[str]:
    """Rows side by side in lines of at most `width` characters."""
    lines = [""]
    for row in rows:
        if len(lines[-1]) + len(row) + 2 > width:
            lines.append("")
        lines[-1] += f"{'    ' if not lines[-1] else ' '}{row},"
    return lines


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    main()
