"""The measuring document: everything that `docs/measuring.md` says, from the runs of one folder. Plain JSON; seconds, percent.

    document = measuring_document(Path("benchmarks/h200"))

A part whose runs are not there is an empty list. Predictions are those of the profile that ships (`SHAPEWRIGHT_PROFILES` set and empty), so
that the document changes with the rows or with the predictor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...hardware.load import load_gpu
from ...measure.store import RunRows
from ..results import rounded
from .calibrations import UNSEEN, evaluations, read_calibrations
from .head_sizes import head_lines, head_points
from .layers import layer_cells, layer_scores
from .misalignment import map_lines, misalignment_map, needs, pair_lines
from .padding import padded_lines, padded_points
from .prices import price_scores, priced_pairs
from .repeatability import rate, repeatability, throttle_shares
from .runs import failed_rows, find_runs, ok_rows

SCHEMA_VERSION = 1
#: Plan -> what its runs are kept as.
PLANS = (
    "repeatability",
    "misalignment",
    "misalignment-compiled",
    "heads",
    "layers",
    "usual",
    "random",
    "operators",
    "prices",
    "prices-workload",
)
#: Plans of faults beside their fixes.
PRICED = ("prices", "prices-workload")
Document = dict[str, Any]


def measuring_document(folder: Path) -> Document:
    """The document of the runs in `folder`, whose name is the GPU's short name."""
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint="name the folder that holds the runs, such as benchmarks/h200")
    gpu = load_gpu(folder.name)
    runs = {plan: find_runs(folder, plan) for plan in PLANS}
    points = misalignment_map(ok_rows(runs["misalignment"]))
    lines = map_lines(points)
    padded = padded_points(ok_rows(runs["misalignment-compiled"]))
    heads = head_points(ok_rows(runs["heads"]))
    cells, unpredicted = layer_cells(ok_rows(runs["layers"]), gpu)
    prices = [pair for plan in PRICED for pair in priced_pairs(ok_rows(runs[plan]), gpu)]
    priced = [run for plan in PRICED for run in runs[plan]]
    reports, profiles = read_calibrations(folder)
    # A plan's last run was made after the calibration, on its card.
    unseen = [each for plan in UNSEEN for each in evaluations(plan, ok_rows(runs[plan][-1:], "gemm"), gpu, profiles)]
    document = {
        "schema_version": SCHEMA_VERSION,
        "gpu": gpu.name,
        "runs": [_run(run, plan) for plan, found in runs.items() for run in found],
        "repeatability": _plain(_repeated(runs["repeatability"])),
        "misalignment": {"points": _plain(points), "lines": _plain(lines), "needs": _plain(needs(lines)),
                         "pairs": _plain(pair_lines(ok_rows(runs["misalignment"])))},
        "padding": {"points": _plain(padded), "lines": _plain(padded_lines(padded))},
        "heads": {"points": _plain(heads), "lines": _plain(head_lines(heads)), "refused": _refused(runs["heads"])},
        "layers": {"cells": _plain(cells), "scores": _plain(layer_scores(cells)), "unpredicted": unpredicted,
                   "failed": _refused(runs["layers"])},
        "prices": {"pairs": _plain(prices), "scores": _plain(price_scores(prices)), "failed": _refused(priced)},
        "calibrate": {"reports": reports, "evaluations": _plain(unseen)},
    }  # fmt: skip
    return rounded(document)


def _run(run: RunRows, plan: str) -> Document:
    """A run file: its rows by status, its rate, its card, and each environment in it once."""
    rows = run.latest()
    statuses = [row["status"] for row in rows]
    found = rate(run)
    environments = [{name: value for name, value in each.items() if name != "time"} for each in run.environments]
    return {
        "file": run.path.name,
        "plan": plan,
        "num_rows": len(rows),
        "statuses": {name: statuses.count(name) for name in sorted(set(statuses))},
        "per_s": found.per_s if found else None,
        "span_s": found.span_s if found else None,
        "times": [str(each["time"]) for each in run.environments if "time" in each],
        "environments": [each for i, each in enumerate(environments) if each not in environments[:i]],
        "throttled": throttle_shares(rows),
    }


def _repeated(runs: Sequence[RunRows]) -> list[Any]:
    """Every two neighbouring occasions."""
    found = [repeatability(first, second) for first, second in pairwise(runs)]
    return [each for each in found if each is not None]


def _refused(runs: Iterable[RunRows]) -> list[Document]:
    """Points that could not be measured."""
    names = ("kind", "model", "changes", "phase", "backend", "is_backward", "head_dim", "status", "error")
    return [{name: row[name] for name in names if name in row} for row in failed_rows(runs)]


def _plain(items: Iterable[Any]) -> list[Document]:
    return [asdict(each) for each in items]
