"""Published calls of fused attention (`gpu/attention.parquet`, aiconfigurator) beside what the profiles say of them.

One set for each GPU and use: prefill (causal), encoder (every key visible), decode (one new token against a cache). The rows time a
serving framework's call in CUDA-graph replay on the same operands: these may stay in the L2, and where there is a cache the new k and v
are written to it within the call. The predictions are therefore those of a replayed call (`estimate_attention(is_replayed=True)`). Times
in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...hardware.gpu import Gpu
from ...hardware.load import load_gpu
from ...hardware.profile import SPREAD_EDGES_S, FlashKernel, Profile
from ...operators.types import FlashAttention
from ...predict.attention import BEYOND_FIT, CARRIED, flash_kernel
from ...predict.attention_model import Array, Calls, Chip, kernel_times
from ...predict.profiles import load_profile
from ..attention import FlashRows, is_held_out
from ..scored import ScoredSet
from ..table import Table, read_table

FILE = "gpu/attention.parquet"
GOAL_PERCENT = 9.0
SPLIT = "heads, key-value heads, head size and sequence by hash, 30 % held out"
SOURCE = "aiconfigurator (NVIDIA, Apache-2.0): attention of SGLang in CUDA-graph replay, bf16"
#: Name in the file begins with -> GPU.
GPUS = {"A100-SXM": "a100-80gb", "A100-PCIE-40GB": "a100-40gb-pcie", "H100": "h100", "H200": "h200", "L40S": "l40s"}
USES = {"context": "prefill", "generation": "decode", "encoder": "encoder"}
#: Kernel in the file -> attention library of the profiles: both names are FlashAttention-3, of the prefill and of the encoder.
LIBRARIES = {"fa3": "flash", "flash_attention_v3": "flash", "flash_attention": "flash", "triton": "triton"}
#: Tiles of FlashAttention-3 on Hopper and on older GPUs (hopper/tile_size.h, BSD-3) by head size: forward with a mask, forward without.
#: Sizes that are not there run as the next larger; decoding computes one warp group of rows. Triton's are those of SGLang's kernels.
HOPPER_TILES = {64: ((192, 128), (192, 192)), 96: ((192, 144), (192, 144)), 128: ((128, 128), (128, 176)), 192: ((128, 96), (128, 112)),
                256: ((128, 80), (128, 80))}  # fmt: skip
OLDER_TILES = ((128, 64), (128, 64))
TRITON_TILES = ((64, 64), (64, 64))
DECODE_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRows:
    """The rows that one kernel of a GPU ran, and the kernel's form: what is known of it before any fit."""

    gpu: str
    form: dict[str, object]
    index: Array
    rows: FlashRows


def kernel_rows(table: Table) -> list[KernelRows]:
    """The rows of the file, by GPU, use, library, head size and presence of a window; rows marked suspect are left out."""
    names = {name: table.texts(name, "") for name in ("gpu", "phase", "kernel", "suspect")}
    window, head = table.numbers("window"), table.integers("head_dim")
    groups: dict[tuple[str, str, str, int, bool], list[int]] = {}
    for row in range(len(table)):
        gpu = next((GPUS[name] for name in GPUS if names["gpu"][row].startswith(name)), None)
        if gpu is None or names["suspect"][row]:
            continue
        library = LIBRARIES.get(names["kernel"][row], str(names["kernel"][row]))
        groups.setdefault((gpu, USES[names["phase"][row]], library, int(head[row]), bool(window[row] > 0)), []).append(row)
    return [_kernel_rows(table, key, np.array(index)) for key, index in sorted(groups.items())]


def _kernel_rows(table: Table, key: tuple[str, str, str, int, bool], index: Array) -> KernelRows:
    gpu, use, library, head_dim, is_windowed = key
    own = table.take(index)
    head, window = own.numbers("head_dim"), own.numbers("window")
    calls = Calls(
        batch=own.numbers("batch"), num_heads=own.numbers("n_heads"), num_kv_heads=own.numbers("n_kv_heads"), query_len=own.numbers("s_q"),
        kv_len=own.numbers("s_kv"), qk_head_dim=head, v_head_dim=head, window=np.where(window > 0, window, np.inf),
        is_causal=np.full(len(index), use != "encoder"), size_bytes=np.full(len(index), 2.0),
    )  # fmt: skip
    form = _form(gpu, use, library, head_dim)
    rows = FlashRows(calls=calls, time_s=own.positive("latency_us") * 1e-6)
    return KernelRows(gpu=gpu, form={**form, "is_windowed": is_windowed}, index=index, rows=rows)


def _form(gpu: str, use: str, library: str, head_dim: int) -> dict[str, object]:
    """Tile and habits of a kernel. Encoders run on plain tensors of equal lengths: no cache, no packed heads, no split keys."""
    is_hopper = load_gpu(gpu).architecture == "hopper"
    tiles = HOPPER_TILES[min((size for size in HOPPER_TILES if size >= head_dim), default=256)] if is_hopper else OLDER_TILES
    masked, plain = TRITON_TILES if library == "triton" else tiles
    tile_q, tile_kv = plain if use == "encoder" else masked
    is_flash = library != "triton"
    return {
        "library": library, "use": use, "head_dim": head_dim, "tile_q": DECODE_ROWS if use == "decode" else tile_q, "tile_kv": tile_kv,
        "packs_heads": use == "decode" or (is_flash and use != "encoder"), "can_split": is_flash and use != "encoder",
        "skips_window": is_flash or use == "decode",
    }  # fmt: skip


def chip_of(gpu: Gpu) -> Chip:
    """A GPU whose L2 keeps the operands from one replay to the next, at bf16."""
    return Chip(
        num_sms=gpu.num_sms, flops_per_s=gpu.peak_flops_per_s("bf16"), bytes_per_s=gpu.memory_bytes_per_s, l2_bytes=float(gpu.l2_bytes)
    )


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """One set for each GPU and use."""
    merged: dict[tuple[str, str], list[KernelRows]] = {}
    for each in kernel_rows(read_table(Path(folder) / FILE)):
        merged.setdefault((each.gpu, str(each.form["use"])), []).append(each)
    return tuple(_scored(gpu, use, parts) for (gpu, use), parts in merged.items())


def _scored(gpu: str, use: str, parts: list[KernelRows]) -> ScoredSet:
    device = load_gpu(gpu)
    profile, chip = load_profile(device), chip_of(device)
    columns: dict[str, list[Array]] = {
        name: [] for name in ("time", "predicted", "low", "high", "limit", "held", "triton", "window", "head")
    }
    for each in parts:
        calls = each.rows.calls
        kernel = _kernel(each, profile)
        predicted = kernel_times(calls, kernel, chip).time_s
        low, high = row_spreads(kernel, profile, predicted, int(each.form["head_dim"]))  # pyright: ignore[reportArgumentType]
        limit = np.maximum(visible_flops(calls) / chip.flops_per_s, (calls.query_bytes + calls.kv_bytes) / chip.bytes_per_s)
        values = (each.rows.time_s, predicted, predicted * low, predicted * high, limit, is_held_out(calls))
        flags = (np.full(len(calls), each.form["library"] == "triton"), np.isfinite(calls.window), calls.qk_head_dim)
        for column, value in zip(columns.values(), (*values, *flags), strict=True):
            column.append(value)
    column = {name: np.concatenate(values) for name, values in columns.items()}
    time_s = column["time"]
    regimes = {"below 30 us": time_s < 30e-6, "30 to 300 us": (time_s >= 30e-6) & (time_s < 300e-6), "above 300 us": time_s >= 300e-6}
    regimes |= {f"head size {size:.0f}": column["head"] == size for size in np.unique(column["head"])}
    regimes |= {name: column[key].astype(bool) for name, key in (("window", "window"), ("triton", "triton")) if column[key].any()}
    return ScoredSet(
        name=f"attention-{use}-{gpu}", gpu=gpu, library=profile.library, source=SOURCE, split=SPLIT, goal_percent=GOAL_PERCENT,
        measured_s=time_s, predicted_s=column["predicted"], low_s=column["low"], high_s=column["high"], limit_s=column["limit"],
        is_held_out=column["held"].astype(bool), regimes=regimes,
    )  # fmt: skip


def _kernel(each: KernelRows, profile: Profile) -> FlashKernel:
    """The kernel that `estimate_attention` picks for rows of this library (where the profile lacks it, for its first)."""
    calls, known = each.rows.calls, {kernel.library for kernel in profile.attention.kernels}
    work = FlashAttention(
        batch=1, num_heads=1, num_kv_heads=1, query_len=1 if each.form["use"] == "decode" else 2, kv_len=2**20,
        qk_head_dim=int(calls.qk_head_dim[0]), v_head_dim=int(calls.v_head_dim[0]), is_causal=each.form["use"] != "encoder",
        window=int(calls.window[0]) if each.form["is_windowed"] else None,
    )  # fmt: skip
    library = str(each.form["library"])
    return flash_kernel(work, profile.attention, library if library in known else None)


def row_spreads(kernel: FlashKernel, profile: Profile, predicted_s: Array, head_dim: int) -> tuple[Array, Array]:
    """Factors of the interval of each row, as `estimate_attention` has them."""
    spreads = kernel.spreads or (profile.spreads["attention"],) * (len(SPREAD_EDGES_S) + 1)
    bins = np.digitize(predicted_s, SPREAD_EDGES_S)
    is_fitted = kernel.num_rows > 0 and kernel.head_dim == head_dim and profile.provenance == "calibrated"
    is_near = (predicted_s <= BEYOND_FIT * kernel.longest_s) & is_fitted
    low, high = np.array([each.low for each in spreads])[bins], np.array([each.high for each in spreads])[bins]
    return np.where(is_near, low, low * CARRIED.low), np.where(is_near, high, high * CARRIED.high)


def visible_flops(calls: Calls) -> Array:
    """FLOPs of the scores that the mask leaves, as `FlashAttention.executed_flops` counts them."""
    width = np.minimum(calls.kv_len, calls.window)
    first = calls.kv_len - calls.query_len + 1
    growing = np.maximum(0, np.minimum(calls.kv_len, width) - first + 1)
    seen = growing * (first + np.minimum(calls.kv_len, width)) / 2 + (calls.query_len - growing) * width
    scores = np.where(calls.is_causal, seen, calls.query_len * width)
    return 2 * calls.batch * calls.num_heads * scores * (calls.qk_head_dim + calls.v_head_dim)
