"""Products of the GPUs that few rows are published of: V100, MI210, MI250X (one die) and MI300X, 16-bit.

The predictor gives GPU time; each source timed more than that or ran another library. The profile keeps how (`accuracy`, by class: seconds
that a source adds, and the pace of its card and library against the profile's), fitted to the same rows as its constants, and
predictions are mapped by it: pace x time + offset. Files: gpu/gemm.parquet and paper/gemm.csv; what is absent gives no set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...hardware.load import load_gpu
from ...predict.profiles import load_profile
from ..gemm import is_held_out
from ..products import classes_of, predicted
from ..protocols import CLASSES, ELEMENT_BYTES, protocol_of
from ..scored import Array, ScoredSet
from ..sources import SourceRows, source_rows

SPLIT = "by a hash of (n, k): 30 % of the pairs are kept out of the fit"
#: GPU -> goal for the mean error, percent; none is set for the MI300X.
GOALS: dict[str, float | None] = {"v100-16gb": 8.0, "mi210": 8.0, "mi250x": 8.0, "mi300x": None}


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """One set a GPU that has rows."""
    sources = source_rows(folder, GOALS)
    sets = []
    for gpu, goal in GOALS.items():
        own = [each for each in sources if each.gpu.name == gpu and each.products.dtype[0] != "fp8"]
        if own:
            sets.append(_scored(gpu, own, goal))
    return tuple(each for each in sets if each.is_held_out.any())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MappedRows:
    """Predicted times of one source's rows as that source would have read them, seconds."""

    time_s: Array
    low_s: Array
    high_s: Array
    limit_s: Array
    classes: Array


def mapped_rows(rows: SourceRows) -> MappedRows:
    """The predictor in force, and the protocol that the GPU's profile keeps for the source."""
    answer = predicted(rows.products, rows.gpu)
    classes, _ = classes_of(rows.products, ELEMENT_BYTES)
    pace, offset = protocol_of(rows.products, rows.gpu, rows.source)
    time_s = pace * answer.time_s + offset
    # The interval holds the scatter of what was timed: it widens with the whole of it.
    low, high = answer.low_s / answer.time_s, answer.high_s / answer.time_s
    return MappedRows(time_s=time_s, low_s=time_s * low, high_s=time_s * high, limit_s=answer.limit_s, classes=classes)


def _scored(gpu: str, sources: Sequence[SourceRows], goal: float | None) -> ScoredSet:
    mapped = [mapped_rows(each) for each in sources]
    joined = {
        name: np.concatenate([getattr(each, name) for each in mapped]) for name in ("time_s", "low_s", "high_s", "limit_s", "classes")
    }
    names = np.concatenate([np.full(len(each.products), each.source.split(" with")[0]) for each in sources])
    regimes = {outer: np.isin(joined["classes"], inner) for outer, inner in CLASSES.items()}
    return ScoredSet(
        name=f"gemm-{gpu}",
        gpu=gpu,
        library=load_gpu(gpu).libraries[0],
        source="; ".join(load_profile(load_gpu(gpu)).sources),
        split=SPLIT,
        goal_percent=goal,
        measured_s=np.concatenate([each.products.time_s for each in sources]),
        predicted_s=joined["time_s"],
        low_s=joined["low_s"],
        high_s=joined["high_s"],
        limit_s=joined["limit_s"],
        is_held_out=np.concatenate([is_held_out(each.products.n, each.products.k) for each in sources]),
        regimes=regimes | {name: names == name for name in np.unique(names).tolist()},
    )
