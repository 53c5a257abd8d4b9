"""Measured layers beside their predictions, and what of them the host holds back.

    error = predicted / measured - 1;  spread = (slowest - fastest round) / median;  MAPE over the cells where the GPU is the limit

A cell is one layer of a model in one phase and workload; of several occasions its measured time is the median, its spread the mean.
Whether a layer waits for the host is measured (its kernels against its wall time, `is_host_bound` of the row), on most occasions; where no
row says so the prediction tells. Times in seconds, errors in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...hardware.gpu import Gpu
from ...measure.points import point_of
from ...measure.run_lines import key_of_row
from ..compare import Compared, compare_points
from .runs import Row

GOAL_PERCENT = 7.0
PHASES = ("forward", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCell:
    """One layer in one phase. `kernel_share`: kernels' time over wall time, where it was measured."""

    model: str
    changes: str
    source: str
    phase: str
    runtime: str
    num_occasions: int
    measured_s: float
    spread_percent: float
    kernel_share: float | None
    predicted_s: float
    error_percent: float
    gpu_s: float
    host_s: float
    is_host_bound: bool
    is_said_host_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScore:
    """Cells where the GPU is the limit, of one phase or of all (`phase` "all")."""

    phase: str
    num_cells: int
    mape_percent: float
    bias_percent: float
    worst_percent: float
    spread_percent: float


def layer_cells(rows: Iterable[Row], gpu: Gpu) -> tuple[list[LayerCell], list[str]]:
    """The cells in the order of their models' first rows, and why others have no prediction."""
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        if row["kind"] == "layer":
            groups.setdefault(key_of_row(row), []).append(row)
    answers = compare_points([point_of(group[0]) for group in groups.values()], gpu)
    cells, reasons = [], []
    for group, answer in zip(groups.values(), answers, strict=True):
        if isinstance(answer, Compared):
            cells.append(_cell(group, answer))
        else:
            reasons.append(f"{label(group[0]['model'], group[0]['changes'])}, {group[0]['phase']}: {answer}")
    return cells, reasons


def _cell(group: Sequence[Row], answer: Compared) -> LayerCell:
    row = group[0]
    measured_s = float(np.median([each["time_s"] for each in group]))
    shares = [each["kernel_s"] / each["time_s"] for each in group if each.get("kernel_s")]
    waits = [bool(each["is_host_bound"]) for each in group if "is_host_bound" in each]
    return LayerCell(
        model=row["model"], changes=row["changes"], source=row["source"], phase=row["phase"], runtime=row["runtime"],
        num_occasions=len(group), measured_s=measured_s,
        spread_percent=100 * float(np.mean([(each["max_s"] - each["min_s"]) / each["time_s"] for each in group])),
        kernel_share=float(np.median(shares)) if shares else None, predicted_s=answer.predicted_s,
        error_percent=100 * (answer.predicted_s / measured_s - 1),
        gpu_s=answer.gpu_s or answer.predicted_s, host_s=answer.host_s or 0.0,
        is_host_bound=2 * sum(waits) > len(waits) if waits else answer.is_host_bound, is_said_host_bound=answer.is_host_bound,
    )  # fmt: skip


def layer_scores(cells: Sequence[LayerCell]) -> list[LayerScore]:
    """By phase, then all together."""
    scores = []
    for phase in (*PHASES, "all"):
        own = [cell for cell in cells if not cell.is_host_bound and phase in (cell.phase, "all")]
        if own:
            errors = np.array([cell.error_percent for cell in own])
            spread = float(np.mean([cell.spread_percent for cell in own]))
            scores.append(
                LayerScore(
                    phase=phase, num_cells=len(own), mape_percent=float(np.abs(errors).mean()), bias_percent=float(np.median(errors)),
                    worst_percent=float(errors[np.argmax(np.abs(errors))]), spread_percent=spread,
                )
            )  # fmt: skip
    return scores


def label(model: str, changes: str) -> str:
    """A layer's name: "llama-2-7b, intermediate_size=10922"."""
    return ", ".join(filter(None, (model, changes)))
