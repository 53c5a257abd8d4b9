"""Whole layers that differ in their shape alone, measured in turn on an H200: the error of their predicted ratio."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from neighbour_errors import Errors

from shapewright.calibrate.compare import Compared, compare_points
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import point_of
from shapewright.measure.store import read_run

RUNS = [Path(__file__).parents[1] / f"benchmarks/h200/{name}.jsonl.gz" for name in ("prices-1", "layers-1")]
#: Layers whose predicted times differ by less are near: of the others a fault is plain.
NEAR = 0.15
SAME = ("model", "phase", "attention", "runtime", "micro_batch", "sequence")


def layer_errors() -> Errors:
    """e of all pairs of one run that are predicted near each other: fused attention, eager, where the GPU is the limit."""
    found = [error for run in RUNS for error in _run_errors(run)]
    return Errors(values=np.array(found))


def _run_errors(run: Path) -> list[float]:
    rows = [row for row in read_run(run).rows if _is_usable(row)]
    answers = compare_points([point_of(row) for row in rows], load_gpu("h200"))
    timed = [(row, answer.predicted_s) for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Compared)]
    errors = []
    for (first, first_s), (second, second_s) in itertools.combinations(timed, 2):
        predicted = math.log(first_s / second_s)
        if all(first[name] == second[name] for name in SAME) and abs(predicted) <= NEAR:
            errors.append(math.log(first["time_s"] / second["time_s"]) - predicted)
    return errors


def _is_usable(row: dict[str, Any]) -> bool:
    is_plain = row["kind"] == "layer" and row["attention"] == "sdpa" and row["runtime"] == "eager"
    return is_plain and row["status"] == "ok" and not row.get("is_host_bound")
