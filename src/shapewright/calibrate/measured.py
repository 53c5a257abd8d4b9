"""Runs beside the prediction: the accuracy document of any measured rows, all kinds, layers and models too.

    document = measured_document([Path("run.jsonl")], gpu=None)        # sets, one a kind, as `results` has them, and `measured`

`measured` holds what the sets leave out: the files, failed rows by status, rows without a prediction by reason, the rows that are worst
predicted, and every layer and model as a cell. Of a cell that waits for the host (as measured; where that is not known, as predicted) the
GPU's model says little: such cells make a set of their own. Of a point measured twice the last row counts. Seconds, percent.
Errors: rows of several GPUs, of none that is known, or of a CPU; files that are no runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, ShapewrightError
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..measure.points import AttentionPoint, GemmPoint, LayerPoint, MemoryPoint, ModelPoint, Point, point_of, settings_of
from ..measure.store import RunRows, read_run
from ..predict.profiles import load_profile
from .compare import Compared, compare_points
from .products import Products, catalogued, may_be_of
from .results import Document, document_of, rounded
from .scored import Array, ScoredSet
from .sets.gemm import regimes as product_regimes

#: Rows that are named as the worst predicted.
NUM_WORST = 10
HOST_BOUND = " host-bound"
SOURCE = "shapewright bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A good row, its point and its prediction."""

    row: Mapping[str, Any]
    point: Point
    compared: Compared

    @property
    def time_s(self) -> float:
        return float(self.row["time_s"])

    @property
    def error_percent(self) -> float:
        """predicted / measured - 1, signed."""
        return 100 * (self.compared.predicted_s / self.time_s - 1)

    @property
    def is_step(self) -> bool:
        return isinstance(self.point, LayerPoint | ModelPoint)

    @property
    def is_host_bound(self) -> bool:
        """Whether the host sets the time: as measured where the row says, else as predicted."""
        said = self.row.get("is_host_bound")
        return self.compared.is_host_bound if said is None else bool(said)

    @property
    def group(self) -> str:
        """The set that it is scored in."""
        return self.point.kind + (HOST_BOUND if self.is_step and self.is_host_bound else "")


def measured_document(paths: Sequence[Path], *, gpu: str | None = None, library: str | None = None) -> Document:
    """The rows of run files scored against the predictor in force."""
    runs = [read_run(path) for path in paths]
    rows = [row for run in runs for row in run.latest()]
    own, device, left_out = _of_gpu(rows, gpu, str(paths[0]))
    failed = Counter(str(row["status"]) for row in own if row["status"] != "ok")
    found = _compared([row for row in own if row["status"] == "ok"], device, library, left_out)
    if not found:
        why = "; ".join(left_out) or "every row failed"
        raise InputError(f"holds no row that can be compared ({why})", where=str(paths[0]), hint="see `shapewright results`")
    groups: dict[str, list[Measured]] = {}
    for each in found:
        groups.setdefault(each.group, []).append(each)
    name = load_profile(device, library).library
    document = document_of([_set(group, members, device, name) for group, members in groups.items()], is_every_row_scored=True)
    return document | {"measured": rounded(_facts(found, runs, failed, left_out))}


def _of_gpu(rows: Sequence[Mapping[str, Any]], gpu: str | None, where: str) -> tuple[list[Mapping[str, Any]], Gpu, Counter[str]]:
    """The rows of one GPU: the one named, else the only one that they name; and how many are left out why."""
    wanted = None if gpu is None else load_gpu(gpu)
    known = {name: catalogued(name) for name in {str(row["gpu"]) for row in rows} if name != "cpu"}
    if wanted is None:
        devices = {each.name: each for each in known.values() if each is not None}
        if len(devices) != 1 or None in known.values():
            what = f"holds rows of {', '.join(sorted({str(row['gpu']) for row in rows})) or 'no GPU'}"
            hint = "name one with --gpu" if known else "predictions are of GPUs: measure on one"
            raise InputError(what, where=where, hint=hint)
        wanted = next(iter(devices.values()))
    keep = {name for name in known if may_be_of(name, wanted)}
    left_out = Counter(f"measured on {row['gpu'] or 'no known GPU'}" for row in rows if row["gpu"] not in keep)
    return [row for row in rows if row["gpu"] in keep], wanted, left_out


def _compared(rows: Sequence[Mapping[str, Any]], gpu: Gpu, library: str | None, left_out: Counter[str]) -> list[Measured]:
    """Rows that have a prediction; the others are counted in `left_out` by reason."""
    usable: list[tuple[Mapping[str, Any], Point]] = []
    for row in rows:
        time_s = row.get("time_s")
        try:
            if not isinstance(time_s, int | float) or not 0 < time_s < float("inf"):
                raise InputError("without a time")
            usable.append((row, point_of(row)))
        except ShapewrightError as error:
            left_out[error.what] += 1
    answers = compare_points([point for _, point in usable], gpu, library)
    found = []
    for (row, point), answer in zip(usable, answers, strict=True):
        if isinstance(answer, Compared):
            found.append(Measured(row=row, point=point, compared=answer))
        else:
            left_out[answer] += 1
    return found


def _set(name: str, members: Sequence[Measured], gpu: Gpu, library: str) -> ScoredSet:
    def column(value: Callable[[Measured], float]) -> Array:
        return np.array([value(each) for each in members], float)

    return ScoredSet(
        name=name,
        gpu=gpu.name,
        library=library,
        source=SOURCE,
        split="all rows",
        goal_percent=None,
        measured_s=column(lambda each: each.time_s),
        predicted_s=column(lambda each: each.compared.predicted_s),
        low_s=column(lambda each: each.compared.low_s),
        high_s=column(lambda each: each.compared.high_s),
        limit_s=column(lambda each: each.compared.limit_s),
        is_held_out=np.ones(len(members), bool),
        regimes=_regimes(members),
    )


def _regimes(members: Sequence[Measured]) -> Mapping[str, Array]:
    """Alignment and size of products; kinds of attention, operations, phases of the others."""
    if isinstance(members[0].point, GemmPoint):
        return _product_regimes(members)
    names = [_regime(each.point) for each in members]
    known = dict.fromkeys(names)
    return {name: np.array([each == name for each in names]) for name in known} if len(known) > 1 else {}


def _product_regimes(members: Sequence[Measured]) -> Mapping[str, Array]:
    points = [each.point for each in members if isinstance(each.point, GemmPoint)]
    columns = {name: np.array([getattr(point, name) for point in points]) for name in ("batch", "m", "n", "k", "dtype", "layout")}
    found = dict(product_regimes(Products(**columns, time_s=np.array([each.time_s for each in members]))))
    found |= {"batched": columns["batch"] > 1, "compiled": np.array([point.runtime == "compiled" for point in points])}
    dtypes = np.unique(columns["dtype"]).tolist()
    return found | ({name: columns["dtype"] == name for name in dtypes} if len(dtypes) > 1 else {})


def _regime(point: Point) -> str:
    match point:
        case AttentionPoint():
            use = "backward" if point.is_backward else "decode" if point.query_len == 1 else "forward"
            return f"{point.backend} {use}"
        case MemoryPoint():
            return f"{point.op} backward" if point.is_backward else point.op
        case LayerPoint() | ModelPoint():
            return f"{point.phase} {point.runtime}"
        case _:
            return point.kind


def _facts(found: Sequence[Measured], runs: Sequence[RunRows], failed: Mapping[str, int], left_out: Mapping[str, int]) -> dict[str, Any]:
    """The `measured` part of the document."""
    worst = sorted((each for each in found if not each.group.endswith(HOST_BOUND)), key=lambda each: -abs(each.error_percent))
    files = [{"file": str(run.path), "num_rows": len(run.rows), "environment": run.environment, "notes": list(run.notes)} for run in runs]
    return {
        "files": files,
        "failed": dict(failed),
        "left_out": dict(left_out),
        "worst": [_named(each) for each in worst[:NUM_WORST]],
        "cells": [_cell(each) for each in found if each.is_step],
    }


def _named(each: Measured) -> dict[str, Any]:
    times = {"measured_s": each.time_s, "predicted_s": each.compared.predicted_s, "error_percent": each.error_percent}
    return {"point": settings_of(each.point), **times}


def _cell(each: Measured) -> dict[str, Any]:
    """A layer or model: the spread of its rounds, the interval of its prediction, and what both say of the host."""
    row, said = each.row, each.compared
    return _named(each) | {
        "measured_low_s": row.get("low_s"),
        "measured_high_s": row.get("high_s"),
        "kernel_s": row.get("kernel_s"),
        "low_s": said.low_s,
        "high_s": said.high_s,
        "gpu_s": said.gpu_s,
        "host_s": said.host_s,
        "is_host_bound_measured": row.get("is_host_bound"),
        "is_host_bound_predicted": said.is_host_bound,
        "is_host_bound": each.is_host_bound,
    }
