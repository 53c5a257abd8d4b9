"""Published memory-bound operators (`gpu/memory_ops.parquet`) beside what the profiles say of them: vidur, NeuSight, LLMCompass.

Sources time different things, which is mapped here and nowhere else:
- vidur: kernel durations, whole microseconds, operands replayed and partly in the L2 (rows marked `bw_l2` stay in). Nothing is added.
- neusight (and neusight_inmodel): back-to-back calls of eager PyTorch, fp32. A call takes at least the gap between launches, the median of
  the operation's calls of up to 1 MB, and adds a fixed time; both are found from the fitted rows of each GPU and operation. Within a model
  the added times are the same and the gaps shorter by one ratio a GPU.
- llmcompass: calls with their launch, converted from elements a second: an added time and a factor an operation, from the fitted rows.
vidur's phi-2 adds attention and MLP to the stream, two kernels, and has layer norms where all others have RMS norms. Bytes and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...hardware.load import load_gpu
from ...hardware.profile import SPREAD_EDGES_S, Profile
from ...predict.memory_bound import engine_of
from ...predict.memory_model import Array
from ...predict.profiles import load_profile
from ..memory import MemoryRows, clocked_s, fit_added_s, is_held_out, kernel_s
from ..scored import ScoredSet
from ..table import Table, read_table

FILE = "gpu/memory_ops.parquet"
GOAL_PERCENT = 7.0
SPLIT = "operation and columns by hash (vidur, of few columns: and half powers of two of the rows), 30 % held out"
#: Name in the file -> GPU.
GPUS = {
    "A100-PCIE-40GB": "a100-40gb-pcie", "A100-PCIE-80GB": "a100-80gb-pcie", "A100-SXM4-80GB": "a100-80gb", "H100-SXM": "h100",
    "V100-PCIE-32GB": "v100-pcie-32gb", "MI210": "mi210", "L4": "l4",
}  # fmt: skip
SOURCES = {
    "vidur": "vidur (MIT): kernel durations in whole microseconds, fp16",
    "neusight": "NeuSight (MIT): back-to-back calls of eager PyTorch, fp32, launch gap included",
    "neusight_inmodel": "NeuSight (MIT): calls within a model in eager PyTorch, fp32",
    "llmcompass": "LLMCompass (BSD-3): calls of PyTorch with their launch, fp16",
}
#: Operation -> pattern; all others are element-wise.
PATTERNS = {
    "layernorm": "norm", "softmax": "softmax", "powu": "power", "pow": "tensor_power", "norm": "row_norm",
    "silu_mul_or_gelu": "row_activation",
}  # fmt: skip
BY_ROWS = ("norm", "softmax", "row_norm", "row_layer_norm", "row_activation")
#: Calls of up to these bytes are hidden behind the launch gap of sources that have one.
HIDDEN_BYTES = 2**20
PHI = "microsoft/phi-2"
#: Fewest fitted rows that an interval is taken from, and that a clock is fitted to (fewer: all rows, which the split then cannot keep
#: apart).
FEWEST_ROWS, FEWEST_CLOCK_ROWS = 30, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRows:
    """The rows of one operation of a source on a GPU, and which of them are held out."""

    source: str
    gpu: str
    operation: str
    pattern: str
    rows: MemoryRows
    held: Array


def operation_rows(table: Table) -> list[OperationRows]:
    """The rows of the file by source, GPU and operation; GPUs without a name here are left out."""
    names = {name: table.texts(name, "") for name in ("source", "gpu", "op", "notes")}
    groups: dict[tuple[str, str, str, bool], list[int]] = {}
    for row, (source, gpu, operation, note) in enumerate(zip(*names.values(), strict=True)):
        if gpu in GPUS and source in SOURCES:
            groups.setdefault((source, GPUS[gpu], operation, note.startswith(PHI)), []).append(row)
    return [_operation_rows(table.take(np.array(index)), *key) for key, index in sorted(groups.items())]


def _operation_rows(own: Table, source: str, gpu: str, operation: str, is_phi: bool) -> OperationRows:
    # phi-2's activation is a GELU over the whole tensor, not a product of two halves row by row; within a model the powers are squares and
    # cubes, which PyTorch multiplies out.
    is_plain = (is_phi and operation == "silu_mul_or_gelu") or (source == "neusight_inmodel" and operation == "powu")
    pattern = "elementwise" if is_plain else PATTERNS.get(operation, "elementwise")
    if is_phi and operation == "norm":
        pattern = "row_layer_norm"
    count, columns = own.numbers("rows"), own.numbers("cols")
    num_kernels = np.full(len(own), 2.0 if is_phi and operation == "add" else 1.0)
    size, time_s = own.positive("bytes_min") * num_kernels, own.positive("latency_us") * 1e-6
    band = [f"{operation}/{value:.0f}" if source == "vidur" else operation for value in np.floor(2 * np.log2(count))]
    held = is_held_out(band, columns)
    known = ~held if (~held).any() else np.ones(len(own), bool)
    hidden = known & (size < HIDDEN_BYTES)
    floor = float(np.median(time_s[hidden])) if source == "neusight" and hidden.any() else 0.0
    rows = MemoryRows(
        size_bytes=size, rows=count if pattern in BY_ROWS else np.zeros(len(own)), num_kernels=num_kernels, time_s=time_s,
        floor_s=np.full(len(own), floor), is_added=source != "vidur", engine=engine_of(load_gpu(gpu), is_replayed=True),
    )  # fmt: skip
    return OperationRows(source=source, gpu=gpu, operation=operation, pattern=pattern, rows=rows, held=held)


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """One set for each source and GPU."""
    merged: dict[tuple[str, str], list[OperationRows]] = {}
    for each in operation_rows(read_table(Path(folder) / FILE)):
        merged.setdefault((each.source, each.gpu), []).append(each)
    return tuple(_scored(source, gpu, parts, merged.get(("neusight", gpu), [])) for (source, gpu), parts in merged.items())


def predict_rows(each: OperationRows, profile: Profile, teacher: OperationRows | None = None) -> tuple[Array, Array, Array]:
    """What the source's clock would say of the predicted kernels, and the interval (seconds).

    `teacher`: rows of the same operation and GPU that the added time is found from, where the own ones are too few.
    """
    rate, rows = profile.memory[each.pattern], each.rows
    kernel = kernel_s(rows, rate)
    if not rows.is_added:
        spreads = rate.spreads or (profile.spreads["memory"],) * (len(SPREAD_EDGES_S) + 1)
        bins = np.digitize(kernel, SPREAD_EDGES_S)
        return kernel, kernel * np.array([each.low for each in spreads])[bins], kernel * np.array([each.high for each in spreads])[bins]
    known = known_rows(each)
    if each.source == "llmcompass":  # its elements are converted: the rate itself is the source's
        largest = known & (rows.size_bytes >= np.quantile(rows.size_bytes[known], 0.6))
        kernel = kernel * float(np.median(rows.time_s[largest] / kernel[largest]))
    if teacher is None:
        added = fit_added_s(kernel[known], rows.floor_s[known], rows.time_s[known])
    else:
        taught = known_rows(teacher)
        lesson = kernel_s(teacher.rows, profile.memory[teacher.pattern])[taught]
        added = fit_added_s(lesson, teacher.rows.floor_s[taught], teacher.rows.time_s[taught])
    predicted = clocked_s(kernel, rows.floor_s, added)
    low, high = clock_spreads(predicted, kernel / predicted, rows.time_s, known)
    return predicted, predicted * low, predicted * high


def known_rows(each: OperationRows) -> Array:
    """The rows that a clock may be fitted to: those not held out, or all where these are too few."""
    return ~each.held if (~each.held).sum() >= FEWEST_CLOCK_ROWS else np.ones(len(each.rows), bool)


def within_model(
    parts: list[OperationRows], teachers: list[OperationRows], profile: Profile
) -> tuple[list[OperationRows], list[tuple[Array, Array, Array]]]:
    """Parts and predictions of calls within a model: the clock of the back-to-back calls of each operation, launches sooner by one ratio a
    GPU."""
    taught = {each.operation: each for each in teachers}
    paired = [(each, taught[each.operation]) for each in parts if each.operation in taught]
    ratios = [each.rows.time_s[~each.held & (each.rows.size_bytes < HIDDEN_BYTES)] / teacher.rows.floor_s[0] for each, teacher in paired]
    found = np.concatenate(ratios) if ratios else np.ones(0)
    sooner = float(np.median(found)) if len(found) else 1.0
    paired = [
        (replace(each, rows=replace(each.rows, floor_s=np.full(len(each.rows), sooner * teacher.rows.floor_s[0]))), teacher)
        for each, teacher in paired
    ]
    predictions = [predict_rows(each, profile, teacher)[0] for each, teacher in paired]
    known = np.concatenate([each.rows.time_s[~each.held] / one[~each.held] for (each, _), one in zip(paired, predictions, strict=True)])
    low, high = (min(float(np.quantile(known, 0.1)), 0.999), max(float(np.quantile(known, 0.9)), 1.001)) if len(known) else (0.85, 1.25)
    return [each for each, _ in paired], [(one, one * low, one * high) for one in predictions]


def clock_spreads(predicted: Array, shown: Array, measured: Array, known: Array) -> tuple[Array, Array]:
    """Factors of the interval by how much of the call is the kernel (`shown`), from the `known` rows: launches scatter little, ramps
    most."""
    bins, ratio = np.digitize(shown, (0.1, 0.3, 0.6, 0.85)), measured / predicted
    low, high = np.empty(len(ratio)), np.empty(len(ratio))
    for index in range(5):
        inside = known & (bins == index)
        used = ratio[inside] if inside.sum() >= FEWEST_ROWS else ratio[known]
        low[bins == index], high[bins == index] = np.minimum(np.quantile(used, 0.1), 0.999), np.maximum(np.quantile(used, 0.9), 1.001)
    return low, high


def _scored(source: str, gpu: str, parts: list[OperationRows], teachers: list[OperationRows]) -> ScoredSet:
    profile = load_profile(load_gpu(gpu))
    if source == "neusight_inmodel" and teachers:
        parts, predictions = within_model(parts, teachers, profile)
    else:
        predictions = [predict_rows(each, profile) for each in parts]
    predicted, low, high = (np.concatenate(column) for column in zip(*predictions, strict=True))
    size = np.concatenate([each.rows.size_bytes for each in parts])
    operation = np.concatenate([np.full(len(each.rows), each.operation) for each in parts])
    regimes = {"below 1 MB": size < 2**20, "1 to 32 MB": (size >= 2**20) & (size < 2**25), "above 32 MB": size >= 2**25}
    regimes |= {str(name): operation == name for name in np.unique(operation)}
    return ScoredSet(
        name=f"memory-{source}-{gpu}", gpu=gpu, library=profile.library, source=SOURCES[source], split=SPLIT, goal_percent=GOAL_PERCENT,
        measured_s=np.concatenate([each.rows.time_s for each in parts]), predicted_s=predicted, low_s=low, high_s=high,
        limit_s=size / parts[0].rows.engine.bytes_per_s, is_held_out=np.concatenate([each.held for each in parts]), regimes=regimes,
    )  # fmt: skip
