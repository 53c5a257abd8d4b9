"""Fits the H200's memory-bound kernels to its own rows and rewrites those patterns of its profile's `memory`, nothing else.

    python scripts/fit_h200_memory.py [OTHER_ROWS.jsonl.gz ...]

Rows: benchmarks/h200/operators.jsonl.gz (operations alone, on operands that the L2 does not hold), and the kernels of a norm's backward
pass inside layers (benchmarks/h200/layers/layer_kernels.jsonl), where one row holds two. Errors and intervals are those of rows held out:
each operation x size is predicted once by a fit without it (eight parts in the order of a hash), and OTHER_ROWS, of
which nothing is fitted, by the fit to all rows that is written. Seconds and bytes. Needs scipy.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from shapewright.calibrate.parts import plain
from shapewright.calibrate.spreads import spreads_by_time
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import MemoryRate, profile_from_json
from shapewright.measure.operators import works_of
from shapewright.measure.points import MemoryPoint, OptimizerPoint, point_of
from shapewright.operators.types import MemoryChain, MemoryPass
from shapewright.predict.memory_bound import engine_of
from shapewright.predict.memory_model import moving_s

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "src/shapewright/hardware/profiles/h200.cuda13.json"
ROWS = ROOT / "benchmarks/h200/operators.jsonl.gz"
LAYERS = ROOT / "benchmarks/h200/layers/layer_kernels.jsonl"
#: Least and most of every constant, the geometric mean being the start of a fit.
BOUNDS = {
    "bandwidth_share": (0.5, 0.95), "bytes_per_clock": (0.5, 60.0), "fixed_s": (3e-7, 2e-5), "ramp_s": (1e-8, 3e-6),
    "ramp_bytes": (1e5, 2e7),
    "row_s": (1e-8, 1e-4), "rows_per_sm": (1.0, 1e3), "row_bytes_per_clock": (0.05, 1e3), "walk_s": (1e-10, 1e-6),
    "walk_rows": (64.0, 4096.0),
}  # fmt: skip
STREAM, SLOW = ("bandwidth_share", "fixed_s", "ramp_s", "ramp_bytes"), ("bytes_per_clock", "fixed_s", "ramp_s", "ramp_bytes")
ROWWISE = ("bytes_per_clock", "fixed_s", "row_s", "rows_per_sm", "row_bytes_per_clock")
#: Patterns in the order of their fits (a later one may share rows with an earlier), and what each is told by.
FITS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("elementwise",): STREAM, ("silu",): STREAM, ("copy",): STREAM, ("fill",): STREAM, ("gather",): STREAM, ("strided",): SLOW,
    ("gelu",): SLOW,
    ("dropout",): SLOW, ("upcast",): SLOW, ("power",): SLOW, ("tensor_power",): SLOW, ("transpose",): SLOW, ("flat_concat",): SLOW,
    ("scatter",): SLOW, ("small_gather",): ("walk_s",), ("small_scatter",): ("walk_s",), ("norm",): ROWWISE,
    ("rms_norm",): ROWWISE, ("warp_softmax",): ROWWISE, ("softmax",): ROWWISE, ("reduction",): STREAM,
    ("column_sum",): ("bandwidth_share", "fixed_s", "walk_s", "walk_rows"),
    ("norm_backward", "weight_gradient"): (*ROWWISE, "walk_s"),
    ("softmax_backward",): ROWWISE, ("warp_softmax_backward",): SLOW, ("optimizer",): ROWWISE,
}  # fmt: skip
#: What a fit starts from, beside the rate in force: kernels that a limit per SM holds have the bandwidth of plain copies.
FORM = {"bandwidth_share": 0.91, "sharpness": 64.0}
SOFT_LOG_ERROR, PULL, NUM_PARTS = 0.05, 0.02, 8
#: What a fit is drawn to: constants of plain copies and of a first fit to all norms; an optimizer's chunk of 65,536 parameters.
ANCHOR = {
    "bandwidth_share": 0.9, "bytes_per_clock": 10.0, "fixed_s": 1.2e-6, "ramp_s": 4e-7, "ramp_bytes": 1.5e6, "row_s": 1e-6,
    "rows_per_sm": 10.0,
    "row_bytes_per_clock": 2.0, "walk_s": 5e-9, "walk_rows": 500.0,
}  # fmt: skip
ANCHORS = {
    "optimizer": {**ANCHOR, "row_s": 5e-5, "rows_per_sm": 6.0, "row_bytes_per_clock": 200.0},
    "column_sum": {**ANCHOR, "walk_s": 3e-8},
}
#: Fewest parameters of an optimizer step that is fitted: smaller tensors do not fill a chunk.
FEWEST_PARAMS = 10_000_000
#: Starts of a fit, between the bounds of every constant.
STARTS = (None, 0.25, 0.75)
#: Kernels of a layer norm's backward pass.
GRADIENTS = {"layer_norm_grad_input": "norm_backward", "GammaBetaBackward": "weight_gradient"}

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Kernels measured together."""

    name: str
    passes: tuple[MemoryPass, ...]
    time_s: float
    key: str
    part: int = 0
    """Which of the parts it is held out with."""

    @property
    def patterns(self) -> set[str]:
        return {each.pattern for each in self.passes}


def timed_rows(path: Path) -> list[Timed]:
    """Eager operations and fused optimizer steps of a run; held out by operation and size."""
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row.get("kind") not in ("memory", "optimizer") or row.get("status") != "ok":
                continue
            point = point_of(row)
            assert isinstance(point, MemoryPoint | OptimizerPoint)
            if isinstance(point, MemoryPoint):
                is_wanted, size, op = point.runtime == "eager", f"{point.rows}/{point.width}", point.op + " backward" * point.is_backward
            else:
                is_wanted, size, op = (
                    point.variant == "fused" and point.num_params >= FEWEST_PARAMS,
                    f"{point.num_params}/{point.num_tensors}",
                    f"optimizer {point.dtype}",
                )
            if is_wanted:
                work = works_of(point)[0]
                assert isinstance(work, MemoryPass | MemoryChain)
                passes = work.passes if isinstance(work, MemoryChain) else (work,)
                found.append(Timed(name=op, passes=passes, time_s=row["time_s"], key=f"{op}/{size}"))
    return found


def layer_rows() -> list[Timed]:
    """Kernels of layer norms' gradients inside layers, by width: medians."""
    times: dict[tuple[str, int, int], list[float]] = {}
    for row in map(json.loads, LAYERS.read_text().splitlines()):
        for word, pattern in GRADIENTS.items():
            if word in row.get("kernel", "") and row["op"] == "aten::native_layer_norm_backward":
                (*tokens, width), *_ = row["shapes"]
                times.setdefault((pattern, int(np.prod(tokens)), width), []).append(row["us"] * 1e-6)
    return [
        Timed(
            name=f"{pattern} in layers",
            passes=(
                MemoryPass(
                    pattern=pattern,  # pyright: ignore[reportArgumentType]
                    read_bytes=4.0 * rows * width,
                    written_bytes=2.0 * rows * width * (pattern == "norm_backward"),
                    rows=rows,
                ),
            ),
            time_s=float(np.median(each)),
            key=f"{pattern}/{rows}/{width}",
        )
        for (pattern, rows, width), each in times.items()
    ]


def dealt(rows: Sequence[Timed]) -> list[Timed]:
    """Rows with their parts: those of an operation are dealt out in the order of a hash, so that none loses many at once."""
    order = sorted(range(len(rows)), key=lambda index: zlib.crc32(rows[index].key.encode()))
    counts: dict[str, int] = {}
    parts = [0] * len(rows)
    for index in order:
        name = rows[index].name
        parts[index] = counts[name] = (counts[name] + 1) % NUM_PARTS if name in counts else zlib.crc32(name.encode()) % NUM_PARTS
    return [replace(row, part=part) for row, part in zip(rows, parts, strict=True)]


def predicted(rows: Sequence[Timed], rates: Mapping[str, MemoryRate]) -> Array:
    """Seconds of every row."""
    engine, total = engine_of(load_gpu("h200")), np.zeros(len(rows))
    columns = [(index, each) for index, row in enumerate(rows) for each in row.passes]
    for pattern in {each.pattern for _, each in columns}:
        own = [(index, each) for index, each in columns if each.pattern == pattern]
        sizes, counts = (
            np.array([float(value) for value in column]) for column in zip(*((e.bytes, e.num_kernels) for _, e in own), strict=True)
        )
        lines = np.array([float(each.rows) for _, each in own])
        times = counts * (moving_s(sizes / counts, lines, rates[pattern], engine) + rates[pattern].fixed_s)
        np.add.at(total, [index for index, _ in own], times)
    return total


def fit(rows: Sequence[Timed], patterns: tuple[str, ...], names: tuple[str, ...], rates: dict[str, MemoryRate]) -> dict[str, MemoryRate]:
    """`rates` with the constants `names` of `patterns` fitted to `rows`."""
    slots = [(pattern, name) for pattern in patterns for name in names if (name == "walk_s") <= (pattern in WALKERS)]
    slots = [slot for slot in slots if slot[0] != "weight_gradient" or slot[1] in ("fixed_s", "walk_s", "bytes_per_clock")]
    low, high = (np.log([BOUNDS[name][end] for _, name in slots]) for end in (0, 1))
    start = np.log([ANCHORS.get(pattern, ANCHOR)[name] for pattern, name in slots])
    target = np.log([row.time_s for row in rows])
    forms = {pattern: replace(rates[pattern], **form_of(pattern, names)) for pattern in patterns}

    def rates_of(x: Array) -> dict[str, MemoryRate]:
        changed = dict(forms)
        for (pattern, name), value in zip(slots, np.exp(x), strict=True):
            changed[pattern] = replace(changed[pattern], **{name: float(value)})
        return {**rates, **changed}

    def residuals(x: Array) -> Array:
        return np.concatenate([np.log(predicted(rows, rates_of(x))) - target, (x - start) * PULL])

    solved = min(
        (
            least_squares(
                residuals, start if share is None else low + share * (high - low), bounds=(low, high), loss="soft_l1",
                f_scale=SOFT_LOG_ERROR, max_nfev=150, diff_step=1e-4,
            )
            for share in STARTS
        ),
        key=lambda each: each.cost,
    )  # fmt: skip
    longest = max(row.time_s for row in rows)
    fitted = rates_of(solved.x)
    own = {pattern: replace(fitted[pattern], num_rows=len(rows), longest_s=longest, is_measured=True) for pattern in patterns}
    return {**rates, **own}


#: Patterns whose blocks walk down rows; and fewest rows of a pattern that give an interval of their own.
WALKERS, FEWEST = ("weight_gradient", "small_gather", "small_scatter", "column_sum"), 8
#: Look-ups of fewer bytes repeat the same rows, which stay in the L2 from one replay to the next.
COLD_LOOK_UP_BYTES = 6e7


def form_of(pattern: str, names: tuple[str, ...]) -> dict[str, float]:
    """What a fit leaves alone."""
    held_by_sm = "bytes_per_clock" in names
    share = {} if "bandwidth_share" in names else {"bandwidth_share": FORM["bandwidth_share"]}
    clock = {} if held_by_sm else {"bytes_per_clock": 1000.0}
    return {**share, **clock, "sharpness": FORM["sharpness"]}


def fit_all(rows: Sequence[Timed], before: Mapping[str, MemoryRate]) -> dict[str, MemoryRate]:
    """Every pattern in turn; a row of two patterns tells of the later one."""
    rates, known = dict(before), set[str]()
    for patterns, names in FITS.items():
        known |= set(patterns)
        own = [row for row in rows if row.patterns & set(patterns) and row.patterns <= known and len(row.patterns) <= 2]
        if patterns == ("gather",):
            own = [row for row in own if row.passes[0].bytes > COLD_LOOK_UP_BYTES]
        if names == ("walk_s",):
            rates[patterns[0]] = replace(rates[patterns[0]], fixed_s=rates["elementwise"].fixed_s)
        rates = fit(own, patterns, names, rates)
    return rates


def held_out(rows: Sequence[Timed], before: Mapping[str, MemoryRate]) -> Array:
    """Predicted seconds of every row by a fit without its part."""
    found = np.zeros(len(rows))
    for part in range(NUM_PARTS):
        rates = fit_all([row for row in rows if row.part != part], before)
        index = [number for number, row in enumerate(rows) if row.part == part]
        found[index] = predicted([rows[number] for number in index], rates)
    return found


def say(title: str, rows: Sequence[Timed], was: Array, now: Array) -> None:
    measured = np.array([row.time_s for row in rows])
    off, before = 100 * np.abs(now / measured - 1), 100 * np.abs(was / measured - 1)
    print(title, len(rows), f"{before.mean():.1f} -> {off.mean():.1f} %, median {np.median(off):.1f}")
    for name in sorted({row.name for row in rows}):
        mask = np.array([row.name == name for row in rows])
        print("   ", name, int(mask.sum()), f"{before[mask].mean():.1f} -> {off[mask].mean():.1f}")


def main() -> None:
    rows, inside = timed_rows(ROWS), layer_rows()
    before = dict(profile_from_json(json.loads(PROFILE.read_text(encoding="utf-8"))).memory)
    every = dealt([*rows, *inside])
    blind = held_out(every, before)
    rates = fit_all(every, before)
    say("held out", every, predicted(every, before), blind)
    measured, single = np.array([row.time_s for row in every]), np.array([len(row.patterns) == 1 for row in every])
    for pattern in [each for patterns in FITS for each in patterns]:
        own = np.array([row.patterns == {pattern} for row in every])
        shown = own if own.sum() >= FEWEST else single
        rates[pattern] = replace(rates[pattern], spreads=spreads_by_time(blind[shown], measured[shown]))
    for path in map(Path, sys.argv[1:]):
        other = timed_rows(path)
        say(path.name, other, predicted(other, before), predicted(other, rates))
    data = json.loads(PROFILE.read_text(encoding="utf-8"))
    data["memory"] |= {pattern: plain(rates[pattern]) for patterns in FITS for pattern in patterns}
    PROFILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
