"""The time of a matrix product as arithmetic on arrays: tiles, waves, alignment, split-K, bandwidth.

For one candidate kernel (tile_m x tile_n, k split s ways), with sizes in elements, times in seconds:

    tiles   = batch ceil(m / tile_m) ceil(n / tile_n)
    loop    = max(2 k tile_m tile_n / (peak per SM x efficiency),  operand bytes of the tile / what one SM can draw)
    block   = loop + prologue + epilogue
    waves   = ceil(tiles s / SMs), its last wave softened
    time    = launch + (( waves x block )^p + ( bytes / bandwidth )^p)^(1/p) + split cost

and the product takes the quickest candidate. Which menu of candidates applies follows from the layout and the alignment of the leading
dimensions: x, w and y have k, k, n elements a row in layout NT, k, n, n in NN, m, n, n in TN. Source: fits described in each profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import load_dtype
from ..hardware.profile import KernelMenu
from .estimate import BoundBy

Array = NDArray[Any]
LAYOUT_CODES = {"NT": 0, "NN": 1, "TN": 2}
BOUNDS: tuple[BoundBy, ...] = ("compute", "memory", "latency", "launch")
#: Elements of the tile that `KernelMenu.epilogue_s` is stated for.
REFERENCE_TILE = 128 * 128
#: Elements of k below which no kernel splits it further.
MIN_SPLIT_K = 128
#: Partial results of a split k are added up in fp32.
PARTIAL_BYTES = load_dtype("fp32").size_bytes
#: Rows evaluated at once: candidates x rows stay in the second-level cache.
CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a GPU can do for one dtype: `num_sms`, dense peak, DRAM bandwidth, operand and output size."""

    num_sms: int
    flops_per_s: float
    bytes_per_s: float
    size_bytes: int
    output_bytes: int
    vector_bytes: int = 16
    """Leading dimensions in multiples of this reach the full rate (`Gpu.alignment_bytes`)."""


def alignment(x: Array, limit: int) -> Array:
    """Largest power of two that divides x, at most `limit` (elements)."""
    return np.minimum(x & -x, limit)


def leading_alignments(m: Array, n: Array, k: Array, layout: Array, limit: int) -> tuple[Array, Array]:
    """Alignment in elements of the operands' leading dimensions (the worse of x and w) and of the output's."""
    align_m, align_n, align_k = alignment(m, limit), alignment(n, limit), alignment(k, limit)
    x = np.where(layout == 2, align_m, align_k)
    w = np.where(layout == 0, align_k, align_n)
    return np.minimum(x, w), align_n


def filled_waves(waves: Array, softness: float) -> Array:
    """Waves that are paid for: an unfilled last one is charged in part, a lone one in full."""
    whole = np.ceil(waves)
    return np.where(waves > 1, whole - softness * (whole - waves), 1)


def bound_codes(times: tuple[Array, Array, Array], waves: Array, launch_s: float) -> Array:
    """Index into `BOUNDS` from `times` = (whole, SM, DRAM) in seconds: launch over half the time, else DRAM, too few blocks, or compute."""
    time_s, sm_s, dram_s = times
    return np.where(launch_s > 0.5 * time_s, 3, np.where(dram_s > sm_s, 1, np.where(waves < 0.75, 2, 0)))


def candidate_table(menu: KernelMenu, dtype: type = np.float32) -> tuple[Array, Array, Array, Array]:
    """tile_m, tile_n, fill and efficiency of a menu as columns [candidate, 1]."""
    rows = [(c.tile_m, c.tile_n, c.fill, c.efficiency) for c in menu.candidates]
    columns = np.array(rows, dtype).T
    return columns[0][:, None], columns[1][:, None], columns[2][:, None], columns[3][:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTimes:
    """Times of every candidate [candidate, row], and what they are made of."""

    time_s: Array
    sm_s: Array
    dram_s: Array
    split_s: Array
    blocks: Array
    splits: Array


def candidate_times(size: tuple[Array, Array, Array, Array], group: Array, menu: KernelMenu, rates: Rates) -> CandidateTimes:
    """Time of each candidate of `menu` for rows `size` = (batch, m, n, k) as floats; `group` multiplies the efficiency of each row."""
    b, m, n, k = size
    tile_m, tile_n, fill, efficiency = candidate_table(menu, b.dtype.type)
    sms, unit = rates.num_sms, rates.size_bytes
    tiles = b * np.ceil(m / tile_m) * np.ceil(n / tile_n)
    splits = np.clip(np.floor(fill * sms / tiles), 1, np.maximum(np.floor(k / MIN_SPLIT_K), 1))
    depth = np.ceil(k / (splits * menu.grain)) * menu.grain
    flops = 2 * b * m * n * k
    slow = 1 + menu.droop * np.log1p(flops * 1e-12)
    rate = np.minimum(efficiency * group, 1)  # a factor fitted to memory-bound products may exceed what a tile can do
    compute = depth * (2 * tile_m * tile_n * sms / rates.flops_per_s / rate) * slow
    load = depth * (np.minimum(tile_m, m) + np.minimum(tile_n, n)) * (unit * sms / rates.bytes_per_s / menu.feed)
    loop = np.sqrt(np.sqrt(np.square(np.square(compute)) + np.square(np.square(load))))
    block = loop + (menu.prologue_s + menu.epilogue_s / REFERENCE_TILE * tile_m * tile_n)
    blocks = tiles * splits
    sm = filled_waves(blocks / sms, menu.softness) * block
    dram = np.broadcast_to(b * (unit * (m * k + k * n) + rates.output_bytes * m * n) / (rates.bytes_per_s * menu.bandwidth_share), sm.shape)
    p = menu.sharpness
    ratio = np.minimum(sm, dram) / np.maximum(sm, dram)
    core = np.maximum(sm, dram) * np.power(1 + np.power(ratio, p), 1 / p)
    split = np.where(splits > 1, menu.split_s + menu.split_share * PARTIAL_BYTES / rates.bytes_per_s * (b * m * n * splits), 0)
    return CandidateTimes(time_s=menu.launch_s + core + split, sm_s=sm, dram_s=dram, split_s=split, blocks=blocks, splits=splits)
