"""What `shapewright calibrate` reached: its own report, and runs of unseen random products scored by the shipped and the new profile.

`benchmarks/GPU/calibrate/` holds reports (`shapewright calibrate --json`: objects with `classes`) and profiles (objects with `menus`), told
apart by what they hold. Errors |predicted / measured - 1| in percent. A file that is neither is left aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...hardware.gpu import Gpu
from ...hardware.profile import Profile, profile_from_json
from ...measure.points import GemmPoint
from ...operators.types import Gemm
from ...predict.gemm import estimate_gemm
from ...predict.profiles import load_profile
from ..score import absolute_percent
from ..sources import FITTED_DTYPES
from .runs import Row

FOLDER = "calibrate"
GOAL_PERCENT, GOAL_S = 5.0, 180.0
#: Plans whose products no profile has seen.
UNSEEN = ("usual", "random")
_GROUPS = ("all", "linear", "batched")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Unseen products (`group` of those of a `plan`) by one profile: `profile` is "shipped" or a file's name."""

    plan: str
    profile: str
    group: str
    num_points: int
    mape_percent: float
    median_percent: float
    p90_percent: float


def read_calibrations(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Profile]]:
    """Reports by file name (under `file`), and profiles."""
    reports, profiles = [], {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, Mapping) and "menus" in found:
            profiles[path.name] = profile_from_json(dict(found))
        elif isinstance(found, Mapping) and "classes" in found:
            reports.append({"file": path.name, **found})
    return reports, profiles


def evaluations(plan: str, rows: Sequence[Row], gpu: Gpu, profiles: Mapping[str, Profile]) -> list[Evaluation]:
    """The products of `rows`, measured by `plan`, by the shipped profile and by each of `profiles`."""
    chosen = [row for row in rows if row["kind"] == GemmPoint.kind and row["dtype"] in FITTED_DTYPES]
    if not chosen:
        return []
    measured = np.array([row["time_s"] for row in chosen])
    products = [Gemm(**{name: row[name] for name in ("batch", "m", "n", "k", "dtype", "layout")}) for row in chosen]
    is_batched = np.array([product.batch > 1 for product in products])
    found = []
    for name, profile in {"shipped": load_profile(gpu), **profiles}.items():
        own = replace(profile, gpu=gpu.name)
        percent = absolute_percent(np.array([estimate_gemm(each, gpu, own).time_s for each in products]), measured)
        for group, mask in zip(_GROUPS, (np.ones_like(is_batched), ~is_batched, is_batched), strict=True):
            if mask.any():
                found.append(_evaluation(plan, name, group, percent[mask]))
    return found


def _evaluation(plan: str, profile: str, group: str, percent: np.ndarray[Any, Any]) -> Evaluation:
    median, p90 = np.quantile(percent, [0.5, 0.9]).tolist()
    return Evaluation(
        plan=plan, profile=profile, group=group, num_points=len(percent), mape_percent=float(percent.mean()), median_percent=median,
        p90_percent=p90,
    )  # fmt: skip
