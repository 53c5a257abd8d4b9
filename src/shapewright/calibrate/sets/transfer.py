"""A GPU with a datasheet only: each GPU that has rows is left out in turn, and predicted by constants fitted to the others.

The fits stand in `left_out.json`, written by scripts/fit_thin_profiles.py --shared; none has seen a row of the GPU it is scored on. One
thing of that GPU is fitted, to rows that are not scored: how a source that is no graph replay timed them (fixed seconds; for the authors'
logs, 200 calls in a row, also the pace that the card kept). Intervals are those of the generic profiles. Scored are aligned 16-bit linear
products; batched and misaligned ones, where the GPU has rows of them, are sets of their own without a goal.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...hardware.load import load_gpu
from ...hardware.profile import SPREAD_EDGES_S, Spread
from ...predict.profiles import generic_profile
from ..gemm import is_held_out
from ..protocols import CLASSES
from ..scored import Array, ScoredSet
from ..sources import source_rows
from ..thin import LEFT_OUT, class_samples
from ..transfer import Sample, SharedFit, family, fit_from_json

SPLIT = "no row of the GPU is fitted; scored are the 30 % of the pairs (n, k) that are held out everywhere"
GOAL_PERCENT = 12.0
FILE = Path(__file__).parents[1] / "left_out.json"


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """Sets of every GPU that has rows."""
    sources = source_rows(folder)
    sets = []
    for outer in CLASSES:
        samples = [each for each in class_samples(sources, outer) if each.rates.size_bytes == 2]
        for left, chips in LEFT_OUT.items():
            own = [each for each in samples if each.gpu.name in chips]
            fit = left_out_fits().get(left, {}).get(outer)
            if own and fit is not None:
                sets.append(_scored(left, outer, own, fit))
    return tuple(each for each in sets if each.is_held_out.any())


@functools.lru_cache(maxsize=1)
def left_out_fits() -> Mapping[str, Mapping[str, SharedFit]]:
    """GPU left out -> class -> constants of the others."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return {left: {name: fit_from_json(fit) for name, fit in fits.items()} for left, fits in data.items()}


def _scored(left: str, outer: str, samples: Sequence[Sample], fit: SharedFit) -> ScoredSet:
    gpu = load_gpu(left)
    menu = generic_profile(family(gpu)).menus[CLASSES[outer][0]]
    predicted = [fit.predicted_s(each) for each in samples]
    factors = [interval(fit.kernel_s(each), menu.spreads) for each in samples]
    rows = np.concatenate([np.full(len(each.rows), each.source.split(" with")[0]) for each in samples])
    whole = np.concatenate(predicted)
    return ScoredSet(
        name=f"left-out-{left}" if outer == "aligned" else f"left-out-{left}-{outer}",
        gpu=left,
        library="",
        source="the GPU's rows of the other sets of products; constants of all other GPUs",
        split=SPLIT,
        goal_percent=GOAL_PERCENT if outer == "aligned" else None,
        measured_s=np.concatenate([each.rows.time_s for each in samples]),
        predicted_s=whole,
        low_s=whole * np.concatenate([low for low, _ in factors]),
        high_s=whole * np.concatenate([high for _, high in factors]),
        limit_s=np.concatenate([limit_s(each) for each in samples]),
        is_held_out=np.concatenate([is_held_out(each.rows.n, each.rows.k) for each in samples]),
        regimes={name: rows == name for name in np.unique(rows).tolist()},
    )


def interval(kernel_s: Array, spreads: Sequence[Spread]) -> tuple[Array, Array]:
    """Factors of the 10th and 90th percentile of each row."""
    bins = np.searchsorted(SPREAD_EDGES_S, kernel_s, side="right")
    return np.array([each.low for each in spreads])[bins], np.array([each.high for each in spreads])[bins]


def limit_s(sample: Sample) -> Array:
    """The datasheet's roofline of each row, seconds."""
    b, m, n, k = sample.rows.size
    rates = sample.rates
    moved = b * (rates.size_bytes * (m * k + k * n) + rates.output_bytes * m * n)
    return np.maximum(2 * b * m * n * k / rates.flops_per_s, moved / rates.bytes_per_s)
