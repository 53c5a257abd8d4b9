"""Arithmetic of a fused attention kernel's forward pass, over arrays of calls: the same code fits it and predicts with it.

Legend: a block is `tile_q` rows of queries of one sequence and head (with `packs_heads`, of all the heads that share a key-value head); it
walks over the visible keys in tiles of `tile_kv`. Sizes in elements, times in seconds, one entry a call.

    sm     = max(longest block, all blocks / SMs + tail x longest x unfilled part of the last wave)
    block  = block_s + tiles x (FLOPs of a tile / (peak of one SM x efficiency))
    memory = bytes / (bandwidth x share); operands that fit the L2 come at `l2_share` instead
    time   = fixed + p-norm(sm, memory) x droop + combining of split keys + writing of k and v to a cache

Keys are split over idle SMs as FlashAttention-3 does it (hopper/heuristics.h and flash_prepare_scheduler.cu, BSD-3): a sequence whose
blocks fill less than 0.8 of the SMs and that has more than 4 tiles of keys runs a splitting kernel; how many splits it makes depends on
the tiles of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import load_dtype
from ..hardware.profile import FlashKernel
from ..operators.types import FlashAttention

Array = NDArray[Any]

_SIZES = ("batch", "num_heads", "num_kv_heads", "query_len", "kv_len", "qk_head_dim", "v_head_dim")
#: FlashAttention-3's own numbers: a splitting kernel below this share of the SMs, above these tiles, at most these splits, this slack.
SPLIT_BELOW_SMS, SPLIT_ABOVE_TILES, MOST_SPLITS, SPLIT_SLACK, SPLIT_FILL = 0.8, 4, 128, 1.1, 0.85
#: Rows of queries that one group of four warps computes: further groups of a block cost `rows_s` each.
WARP_GROUP_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Forward calls, floats; `window` is infinite where there is none, `size_bytes` that of q, k, v and the output."""

    batch: Array
    num_heads: Array
    num_kv_heads: Array
    query_len: Array
    kv_len: Array
    qk_head_dim: Array
    v_head_dim: Array
    window: Array
    is_causal: Array
    size_bytes: Array

    def __len__(self) -> int:
        return len(self.batch)

    def take(self, index: Array) -> Calls:
        """The calls numbered (or masked by) `index`."""
        return Calls(**{name: getattr(self, name)[index] for name in self.__slots__})

    @property
    def query_bytes(self) -> Array:
        """q read and the output written."""
        return self.size_bytes * self.batch * self.num_heads * self.query_len * (self.qk_head_dim + self.v_head_dim)

    @property
    def kv_bytes(self) -> Array:
        """k and v that any query sees, read once."""
        rows = np.minimum(self.kv_len, self.query_len + np.minimum(self.kv_len, self.window) - 1)
        return self.size_bytes * self.batch * self.num_kv_heads * rows * (self.qk_head_dim + self.v_head_dim)

    @property
    def new_kv_bytes(self) -> Array:
        """k and v of the new tokens alone."""
        new = np.minimum(self.query_len, self.kv_len)
        return self.size_bytes * self.batch * self.num_kv_heads * new * (self.qk_head_dim + self.v_head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """What a kernel needs of a GPU: `flops_per_s` is the dense peak of the dtype."""

    num_sms: int
    flops_per_s: float
    bytes_per_s: float
    l2_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelTimes:
    """Seconds of every call, and what they are made of: time_s = main_s + combine_s + append_s + fixed."""

    time_s: Array
    main_s: Array
    """Arithmetic and memory joined, with the droop."""
    tiles_s: Array
    """FLOPs of all tiles, masked and padded ones included, at the peak of the whole chip."""
    busy_s: Array
    """Tiles at the kernel's efficiency, spread evenly over the SMs."""
    blocks_s: Array
    """Fixed work of the blocks, spread evenly."""
    sm_s: Array
    """What the SMs take: even spread, last wave, longest block."""
    memory_s: Array
    combine_s: Array
    append_s: Array
    num_splits: Array
    waves: Array


def calls_of(works: Sequence[FlashAttention]) -> Calls:
    """Forward calls as arrays."""
    sizes = {name: np.array([float(getattr(work, name)) for work in works]) for name in _SIZES}
    window = np.array([float(work.window or np.inf) for work in works])
    is_causal = np.array([work.is_causal for work in works])
    return Calls(**sizes, window=window, is_causal=is_causal, size_bytes=np.array([load_dtype(work.dtype).size_bytes for work in works]))


def kernel_times(calls: Calls, kernel: FlashKernel, chip: Chip) -> KernelTimes:
    """Times of `calls` on `kernel`, which is taken to hold their heads (a smaller head is padded)."""
    if not kernel.skips_window:
        calls = replace(calls, window=np.full(len(calls), np.inf))
    group = calls.num_heads / calls.num_kv_heads if kernel.packs_heads else np.ones_like(calls.batch)
    rows = calls.query_len * group
    blocks_each, sequences = np.ceil(rows / kernel.tile_q), calls.batch * calls.num_heads / group
    tiles_each, tiles_longest = _tiles(calls, kernel, blocks_each, kernel.tile_q / group)
    splits, is_split = num_splits(calls, kernel, chip, blocks_each * sequences / calls.batch, blocks_each * sequences)
    rate = kernel.efficiency * np.where(is_split, kernel.split_rate, 1.0)
    head = (calls.qk_head_dim + calls.v_head_dim) / 2 * np.maximum(1.0, kernel.head_dim / calls.qk_head_dim)
    tile_flops = 4.0 * kernel.tile_q * kernel.tile_kv * head
    tile_s = tile_flops / (chip.flops_per_s / chip.num_sms * rate)
    block_s = kernel.block_s + kernel.rows_s * (np.ceil(np.minimum(rows, kernel.tile_q) / WARP_GROUP_ROWS) - 1)
    num_blocks = sequences * blocks_each * splits
    waves = num_blocks / chip.num_sms
    longest = np.ceil(tiles_longest / splits) * tile_s + block_s
    busy, blocks = sequences * tiles_each * tile_s / chip.num_sms, num_blocks * block_s / chip.num_sms
    unfilled = np.where(waves > 1, kernel.tail * (np.ceil(waves) - waves) + kernel.split_tail * is_split, 0.0)
    sm = np.maximum(longest, busy + blocks + unfilled * longest)
    memory = _memory_s(calls, kernel, chip)
    tiles = sequences * tiles_each * tile_flops / chip.flops_per_s
    droop = 1 + kernel.droop * np.log1p(tiles * chip.flops_per_s / 1e12)
    bigger = np.maximum(sm, memory)
    main = bigger * (1 + (np.minimum(sm, memory) / bigger) ** kernel.sharpness) ** (1 / kernel.sharpness) * droop
    partial_bytes = 8.0 * splits * calls.batch * calls.num_heads * calls.query_len * calls.v_head_dim
    combine = np.where(splits > 1, kernel.split_s + kernel.combine_share * partial_bytes / chip.bytes_per_s, 0.0)
    append = kernel.append_share * 2 * calls.new_kv_bytes / chip.bytes_per_s
    return KernelTimes(
        time_s=kernel.fixed_s + main + combine + append, main_s=main, tiles_s=tiles, busy_s=busy, blocks_s=blocks, sm_s=sm, memory_s=memory,
        combine_s=combine, append_s=append, num_splits=splits, waves=waves,
    )  # fmt: skip


def num_splits(calls: Calls, kernel: FlashKernel, chip: Chip, blocks_each: Array, blocks: Array) -> tuple[Array, Array]:
    """Parts that the keys of a block are split into, and whether the splitting kernel runs; `blocks_each` counts those of one sequence."""
    tiles = np.ceil(np.minimum(calls.kv_len, calls.window + kernel.tile_q) / kernel.tile_kv)
    is_split = kernel.can_split & (blocks_each < SPLIT_BELOW_SMS * chip.num_sms) & (tiles > SPLIT_ABOVE_TILES)
    most = np.clip(np.minimum(tiles, chip.num_sms), 1, MOST_SPLITS)
    # The quickest way to fill the SMs: the fewest splits whose waves are nearly as full as the fullest.
    counts = np.arange(1, MOST_SPLITS + 1.0)
    waves = blocks_each[:, None] * counts / chip.num_sms
    fill = np.where(counts <= most[:, None], waves / np.ceil(waves), 0.0)
    wanted = counts[np.argmax(fill >= SPLIT_FILL * fill.max(axis=1, keepdims=True), axis=1)]
    tiles_an_sm = np.ceil(SPLIT_SLACK * blocks * tiles / chip.num_sms)
    return np.where(is_split, np.clip(np.ceil(tiles / tiles_an_sm), 1, wanted), 1.0), is_split


def _tiles(calls: Calls, kernel: FlashKernel, blocks: Array, queries: Array) -> tuple[Array, Array]:
    """Tiles of keys that the blocks of one sequence visit, and those of its longest; a block holds `queries` queries.

    Blocks end, and windows start, at steps of `queries`: within tiles they come to lie on every multiple of `grain`, whose mean is taken.
    """
    step = float(kernel.tile_kv)
    last = np.ceil(calls.kv_len / step) * step
    past, before = calls.kv_len - calls.query_len, blocks - 1
    grain = np.gcd(np.maximum(queries, 1).astype(np.int64), kernel.tile_kv)
    between = (step - grain) / 2
    mean_end = np.where(calls.is_causal, np.minimum(past + blocks / 2 * queries + (-past) % grain + between, last), last)
    keys = before * mean_end + last
    # A window hides the keys before its first query; only whole tiles of them are skipped.
    width = np.where(np.isfinite(calls.window), calls.window, 0.0)
    first_start = past - width + 1
    first_hiding = np.clip(np.ceil(-first_start / queries), 0, blocks)
    hiding = np.where(np.isfinite(calls.window), blocks - first_hiding, 0)
    mean_start = np.maximum(first_start + (first_hiding + before) / 2 * queries - first_start % grain - between, 0.0)
    last_start = np.maximum(np.floor((first_start + before * queries) / step) * step, 0.0)
    hidden, hidden_last = np.where(hiding > 0, hiding * mean_start, 0.0), np.where(hiding > 0, last_start, 0.0)
    return np.maximum((keys - hidden) / step, blocks), np.maximum((last - hidden_last) / step, 1.0)


def _memory_s(calls: Calls, kernel: FlashKernel, chip: Chip) -> Array:
    """Bytes over the bandwidth; calls whose operands stay in the L2 between repetitions are served by it.

    The L2 may beat DRAM, which a call as a whole does not: its fixed time at least stands between.
    """
    moved = calls.query_bytes + calls.kv_bytes
    missing = 1 / (1 + (kernel.l2_fill * chip.l2_bytes / moved) ** kernel.l2_sharpness)
    floor = moved / chip.bytes_per_s
    return np.maximum(floor * (missing / kernel.bandwidth_share + (1 - missing) / kernel.l2_share), floor - kernel.fixed_s)
