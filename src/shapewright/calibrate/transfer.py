"""Kernel constants shared by several GPUs, and the few of them that thin data can correct.

A pooled fit finds one menu for all GPUs, stated for `REFERENCE` and carried to each GPU by `predict.scaling`, with few factors for each
family of architectures (how much of the peak a tile reaches, the cycles around its main loop). It serves GPUs of which only the
datasheet is known. A thin fit starts from it and moves its constants no further than a GPU's own rows demand. Both fit how each source
timed its rows:

    measured = pace x kernel time + offset

with `offset` the source's launches and events (seconds), and `pace` the clock and library of a card where they are not the profile's.
Unknowns are kept as `name -> value`: "launch_s", "tile:128x256", "rocm:efficiency", "group:NT:2:8", "offset:authors",
"pace:deepbench/v100-16gb".
Times in seconds, sizes in elements. The loss is that of `gemm`: soft-L1 on ln(predicted / measured), GPUs weighted alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..hardware.profile import Candidate, KernelMenu
from ..predict.gemm_model import REFERENCE_TILE, Rates, candidate_times
from ..predict.scaling import scaled_menu
from .gemm import START, Rows, Tile
from .scored import Array

#: The GPU that shared constants are stated for.
REFERENCE = "h100"
#: Tiles tried; `gemm.TILES` without those that thin data cannot tell apart.
TILES: tuple[Tile, ...] = (
    (16, 16), (16, 64), (16, 128), (32, 64), (64, 64), (32, 128), (64, 128), (128, 64),
    (128, 128), (64, 256), (256, 64), (128, 192), (128, 256), (256, 128), (192, 192), (256, 256),
)  # fmt: skip
#: What differs between families of architectures beside the datasheet; "cuda" (before Hopper) is the base.
FAMILY_FACTORS = {
    "cuda": (),
    "hopper": ("efficiency", "cycles"),
    "rocm": ("efficiency", "cycles", "feed", "bandwidth_share", "launch_s"),
}
#: Ridge by kind of unknown (weight of a squared change of ln(value), a row): in a pooled fit, and in a thin one, where the start counts.
POOLED_RIDGE = {"constant": 2e-3, "tile": 2e-3, "group": 1e-2, "factor": 2e-2, "protocol": 2e-3}
THIN_RIDGE = {"constant": 1e-2, "tile": 1e-1, "group": 2e-2, "factor": 10.0, "protocol": 3e-3}
#: The same for families whose prior rests mostly on another vendor's rows: their constants are held less.
FAMILY_RIDGE = {"rocm": {"constant": 3e-3}}
_SOFT_LOG_ERROR = 0.08
Values = dict[str, float]
Candidates = tuple[tuple[Tile, int], ...]
EVERY_CANDIDATE: Candidates = tuple((tile, fill) for tile in TILES for fill in (0, 1, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Products of one alignment class that `source` timed on `gpu`; the menu's peak is that of `rates`."""

    gpu: Gpu
    source: str
    rates: Rates
    rows: Rows

    @property
    def offset_name(self) -> str:
        return f"offset:{self.source}"

    @property
    def pace_name(self) -> str:
        return f"pace:{self.source}/{self.gpu.name}"

    def take(self, rows: Array) -> Sample:
        """The rows of a mask or an index."""
        return replace(self, rows=self.rows.take(np.flatnonzero(rows) if rows.dtype == bool else rows))


def family(gpu: Gpu) -> str:
    """One of `FAMILY_FACTORS`."""
    if gpu.vendor == "amd":
        return "rocm"
    return "hopper" if gpu.architecture in ("hopper", "blackwell") else "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """What a fit found: `values` of all unknowns, and the candidates that they are for."""

    values: Mapping[str, float]
    candidates: Candidates
    grain: int

    def menu(self, gpu: Gpu) -> KernelMenu:
        """The menu for `gpu`."""
        return scaled_menu(self.family_menu(family(gpu)), load_gpu(REFERENCE), gpu)

    def family_menu(self, name: str) -> KernelMenu:
        """The menu of one family, stated for `REFERENCE`."""
        value = dict(self.values)
        for factor in FAMILY_FACTORS[name]:
            by = value.get(f"{name}:{factor}", 1.0)
            for field in ("prologue_s", "epilogue_s") if factor == "cycles" else () if factor == "efficiency" else (factor,):
                value[field] *= by
        lift = value.get(f"{name}:efficiency", 1.0)
        return KernelMenu(
            **{field: value[field] for field in START} | {"bandwidth_share": min(value["bandwidth_share"], 1.0)},  # pyright: ignore[reportArgumentType]  # floats
            grain=self.grain,
            candidates=tuple(
                Candidate(tile_m=tile[0], tile_n=tile[1], fill=fill, efficiency=min(value[_tile_name(tile)] * lift, 1.0))
                for tile, fill in self.candidates
            ),
            groups={key.removeprefix("group:"): each for key, each in value.items() if key.startswith("group:")},
        )

    def settled(self, name: str) -> SharedFit:
        """The same menu for one family with its factors multiplied in, protocols left out: a share that a factor lowers can rise."""
        menu = self.family_menu(name)
        tiles = {_tile_name((each.tile_m, each.tile_n)): each.efficiency for each in menu.candidates}
        groups = {f"group:{key}": each for key, each in menu.groups.items()}
        return replace(self, values={field: getattr(menu, field) for field in START} | tiles | groups)

    def kernel_s(self, sample: Sample) -> Array:
        """Seconds of the kernel of each row: every candidate [candidate, row] is timed, the quickest counts."""
        return self.candidate_s(sample).min(axis=0)

    def candidate_s(self, sample: Sample) -> Array:
        """Seconds of each candidate [candidate, row]."""
        menu = self.menu(sample.gpu)
        factors = np.array([menu.groups.get(group, 1.0) for group in sample.rows.groups.tolist()])
        return candidate_times(sample.rows.size, factors, menu, sample.rates).time_s

    def predicted_s(self, sample: Sample) -> Array:
        """Seconds of each row as its source timed it."""
        return self.values.get(sample.pace_name, 1.0) * self.kernel_s(sample) + self.values.get(sample.offset_name, 0.0)


def start_values(
    samples: Sequence[Sample], offsets_s: Mapping[str, float], paced: Sequence[str] = (), *, base_efficiency: float = 0.85
) -> Values:
    """Where a pooled fit starts. `offsets_s` by source and `paced` ("source/gpu") say which protocol constants are free."""
    values = dict(START) | {_tile_name((a, b)): base_efficiency * min(1, a * b / REFERENCE_TILE) ** 0.4 for a, b in TILES}
    for name in {family(sample.gpu) for sample in samples}:
        values |= {f"{name}:{factor}": 1.0 for factor in FAMILY_FACTORS[name]}
    return values | protocol_values(samples, offsets_s, paced) | group_values(samples)


def group_values(samples: Sequence[Sample]) -> Values:
    """A factor of 1 for every misalignment pattern of the rows."""
    return {f"group:{group}": 1.0 for sample in samples for group in np.unique(sample.rows.groups).tolist() if group}


def protocol_values(samples: Sequence[Sample], offsets_s: Mapping[str, float], paced: Sequence[str]) -> Values:
    """Start of the protocol constants that the sources of `samples` have."""
    offsets = {each.offset_name: offsets_s[each.source] for each in samples if each.source in offsets_s}
    return offsets | {each.pace_name: 1.0 for each in samples if each.pace_name.removeprefix("pace:") in paced}


def fit_pooled(samples: Sequence[Sample], start: Values, *, grain: int = 64, num_candidates: int = 14, evaluations: int = 15) -> SharedFit:
    """One set of constants for all samples: from every candidate, then again from the `num_candidates` that explain them best."""
    wide = SharedFit(values=start, candidates=EVERY_CANDIDATE, grain=grain)
    wide = _solve(samples, wide, start, POOLED_RIDGE, evaluations)
    kept = replace(wide, candidates=_shortlist(samples, wide, num_candidates))
    return _solve(samples, kept, start, POOLED_RIDGE, evaluations)


def fit_thin(samples: Sequence[Sample], prior: SharedFit, protocol: Values, *, evaluations: int = 20) -> SharedFit:
    """The constants of `prior` corrected by the rows of one GPU; `protocol` says which offsets and paces are free, and where they start.

    What a source adds to every row is less than its shortest row: without that bound, rows that the menu cannot explain set it.
    """
    own = family(samples[0].gpu)
    shared = prior.settled(own).values
    start = dict(shared) | {name: shared.get(name, 1.0) for name in group_values(samples)} | protocol
    highest = {
        name: min(float(each.rows.time_s.min()) for each in samples if each.offset_name == name) for name in protocol if "offset:" in name
    }
    ridge = THIN_RIDGE | FAMILY_RIDGE.get(own, {})
    return _solve(samples, replace(prior, values=start), start, ridge, evaluations, highest=highest)


def fit_protocol(samples: Sequence[Sample], shared: SharedFit, protocol: Values) -> SharedFit:
    """Only how the sources timed their rows; no constant of a kernel moves."""
    start = dict(shared.values) | protocol
    ridge = dict.fromkeys(THIN_RIDGE, 1e3) | {"protocol": 1e-4}
    return _solve(samples, replace(shared, values=start), start, ridge, 10)


def _solve(
    samples: Sequence[Sample],
    first: SharedFit,
    anchor: Values,
    ridge: Mapping[str, float],
    evaluations: int,
    *,
    highest: Mapping[str, float] | None = None,
) -> SharedFit:
    """Least squares from `first`, drawn to `anchor`, below `highest`. Unknowns whose ridge is 1 or more stay where they are."""
    used = {_tile_name(tile) for tile, _ in first.candidates}
    free = [name for name in anchor if ridge[_kind(name)] < 1 and (_kind(name) != "tile" or name in used)]
    centre = np.log([anchor[name] for name in free])
    weights = _weights(samples)
    target = [np.log(sample.rows.time_s) for sample in samples]
    num_rows = sum(len(each) for each in target)
    pull = np.array([ridge[_kind(name)] for name in free]) * np.sqrt(num_rows)

    def residuals(x: Array) -> Array:
        fit = replace(first, values=dict(first.values) | dict(zip(free, np.exp(x).tolist(), strict=True)))
        errors = [(np.log(fit.predicted_s(each)) - goal) * by for each, goal, by in zip(samples, target, weights, strict=True)]
        return np.concatenate([*errors, (x - centre) * pull])

    low, high = _bounds(free, centre)
    high = np.minimum(high, np.log([(highest or {}).get(name, np.inf) for name in free]))
    low = np.minimum(low, high - 1)
    begin = np.clip(np.log([first.values[name] for name in free]), low + 1e-6, high - 1e-6)
    solved = least_squares(
        residuals, begin, bounds=(low, high), loss="soft_l1", f_scale=_SOFT_LOG_ERROR, max_nfev=evaluations, diff_step=1e-3
    )
    return replace(first, values=dict(first.values) | dict(zip(free, np.exp(solved.x).tolist(), strict=True)))


def _bounds(free: Sequence[str], centre: Array) -> tuple[Array, Array]:
    """Shares stay below 1, a hard last wave is possible, a pace is within 0.6 to 1.5."""
    low, high = centre - 2.5, centre + 2.0
    for index, name in enumerate(free):
        if name in ("bandwidth_share", "softness") or _kind(name) == "tile":
            high[index] = max(0.0, centre[index] + 1e-3)
        if name == "softness":
            low[index] -= 4
        if name.startswith("pace:"):
            low[index], high[index] = np.log(0.6), np.log(1.5)
    return low, high


def _weights(samples: Sequence[Sample]) -> list[float]:
    """Square root of each row's weight: GPUs count alike, within a factor of ten of what their rows would."""
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.gpu.name] = counts.get(sample.gpu.name, 0) + len(sample.rows)
    mean = sum(counts.values()) / len(counts)
    return [float(np.clip(np.sqrt(mean / counts[sample.gpu.name]), 0.3, 3.0)) for sample in samples]


def _shortlist(samples: Sequence[Sample], fit: SharedFit, count: int) -> Candidates:
    """Greedy: the candidates whose best time strays least from the best of all."""
    times = np.concatenate([fit.candidate_s(sample) for sample in samples], axis=1)
    goal, best, kept = times.min(axis=0), np.full(times.shape[1], np.inf), []
    for _ in range(min(count, len(times))):
        loss = np.log(np.minimum(best, times) / goal).mean(axis=1)
        loss[kept] = np.inf
        kept.append(int(np.argmin(loss)))
        best = np.minimum(best, times[kept[-1]])
    return tuple(fit.candidates[index] for index in kept)


def _tile_name(tile: Tile) -> str:
    return f"tile:{tile[0]}x{tile[1]}"


def _kind(name: str) -> str:
    """Kind of an unknown, as the ridges name it."""
    first = name.split(":", 1)[0]
    if first in FAMILY_FACTORS:
        return "factor"
    return {"tile": "tile", "group": "group", "offset": "protocol", "pace": "protocol"}.get(first, "constant")


def fit_json(fit: SharedFit) -> dict[str, object]:
    """A fit as JSON, values to five digits."""
    values = {name: float(f"{value:.5g}") for name, value in sorted(fit.values.items())}
    return {"grain": fit.grain, "candidates": [[*tile, fill] for tile, fill in fit.candidates], "values": values}


def fit_from_json(data: Mapping[str, Any]) -> SharedFit:
    """The fit that `fit_json` wrote."""
    candidates = tuple(((tile_m, tile_n), fill) for tile_m, tile_n, fill in data["candidates"])
    return SharedFit(values=dict(data["values"]), candidates=candidates, grain=data["grain"])
