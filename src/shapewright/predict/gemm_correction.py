"""What measured products say beyond the tile model: a bounded factor from a small network, fitted per GPU, library and alignment class.

    time = tile model x exp(clip(network(features), -bound, bound) x weight)

The features are sizes, alignments, what common tiles waste of each dimension and of the last wave, and the tile model's own time.
`weight` is 1 inside the range of the fitted rows and falls to 0 where a size lies `FADE` times beyond it: outside, the tile model stands
alone. Arrays have one entry a product; sizes in elements, times in seconds. The weights stand in the profile
(`hardware.profile.Correction`); `calibrate/correction.py` fits them.
"""

from __future__ import annotations

import base64
import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import Correction, KernelMenu
from .gemm_model import Rates, alignment

Array = NDArray[Any]
#: Tile sides along m and n, and steps of k, whose rounding up is a feature.
SIDES, K_STEPS = (8, 16, 32, 64, 96, 128, 160, 192, 256, 320), (16, 32, 64)
#: Tiles (along n, along m) whose last wave is a feature: those that the profiled kernels of an H200 ran with most.
WAVE_TILES = (
    (64, 8), (8, 64), (64, 16), (64, 32), (32, 64), (64, 64), (128, 64), (64, 128), (128, 128), (128, 256), (256, 128), (192, 192),
    (128, 192), (192, 128), (160, 256), (256, 160), (320, 128), (96, 128), (64, 256), (256, 64),
)  # fmt: skip
#: No waste counts for more than this: below a tile's size every rounding looks alike.
MAX_WASTE = 4.0
#: Alignments above this many elements change nothing.
MAX_ALIGNMENT = 64
#: Factor beyond the fitted range at which nothing is left of the correction.
FADE = 2.0
NUM_FEATURES = 4 + 2 + 12 + 4 + 2 * len(SIDES) + len(K_STEPS) + len(WAVE_TILES)
Network = tuple[tuple[Array, Array], ...]
_SIDE = {side: index for index, side in enumerate(SIDES)}
_TILE_N = np.array([_SIDE[tile_n] for tile_n, _ in WAVE_TILES])
_TILE_M = np.array([_SIDE[tile_m] for _, tile_m in WAVE_TILES])
_SIDE_COLUMN = np.array(SIDES, np.float32)[:, None]
_STEP_COLUMN = np.array(K_STEPS, np.float32)[:, None]


def features(sizes: tuple[Array, Array, Array, Array], layout: Array, core_s: Array, rates: Rates, *, is_fp16: Array | bool) -> Array:
    """[NUM_FEATURES, product] as float32 from integer (batch, m, n, k), layout codes and the tile model's time."""
    out = np.empty((NUM_FEATURES, len(core_s)), np.float32)
    b, m, n, k = (column.astype(np.float32) for column in sizes)
    flops, moved = b * m * n * k, b * (rates.size_bytes * (m * k + k * n) + rates.output_bytes * m * n)
    limit = np.maximum(flops * np.float32(2 / rates.flops_per_s), moved * np.float32(1 / rates.bytes_per_s))
    for row, column in enumerate((b, m, n, k, core_s * np.float32(1e6), core_s / limit)):
        np.log(column, out=out[row])
    at = 6
    for column in sizes[1:]:
        align = alignment(column, MAX_ALIGNMENT).astype(np.float32)
        np.log2(align, out=out[at])
        for each in (1, 2, 4):
            at += 1
            np.equal(align, each, out=out[at], casting="unsafe")
        at += 1
    for flag in (layout == 1, layout == 2, sizes[0] > 1, is_fp16):
        out[at] = flag
        at += 1
    _waste(out[at:], (b, m, n, k), rates.num_sms)
    return out


def _waste(out: Array, size: tuple[Array, Array, Array, Array], num_sms: int) -> None:
    """Rounded-up over true: rows and columns in tiles, k in steps, waves of whole tiles."""
    b, m, n, k = size
    at = 0
    tiles_m, tiles_n = np.ceil(m / _SIDE_COLUMN), np.ceil(n / _SIDE_COLUMN)
    for tiles, true, column in ((tiles_m, m, _SIDE_COLUMN), (tiles_n, n, _SIDE_COLUMN), (np.ceil(k / _STEP_COLUMN), k, _STEP_COLUMN)):
        rows = out[at : at + len(tiles)]
        np.multiply(tiles, column / true, out=rows)
        at += len(tiles)
    waves = tiles_m[_TILE_M]
    waves *= tiles_n[_TILE_N]
    waves *= b * np.float32(1 / num_sms)
    np.divide(np.ceil(waves), waves, out=out[at:])
    np.minimum(out, MAX_WASTE, out=out)


def forward(network: Network, x: Array) -> Array:
    """Output [product] of a network whose hidden layers end in max(0, .)."""
    for matrix, bias in network[:-1]:
        x = matrix @ x
        x += bias
        np.maximum(x, 0, out=x)
    matrix, bias = network[-1]
    return (matrix @ x + bias)[0]


@functools.lru_cache(maxsize=64)
def decode(correction: Correction) -> Network:
    """Matrices [out, in] and biases [out, 1] of a profile's correction."""
    values = np.frombuffer(base64.b64decode(correction.weights), "<f2").astype(np.float32)
    layers, at = [], 0
    for width_in, width_out in itertools.pairwise(correction.widths):
        matrix = values[at : at + width_in * width_out].reshape(width_out, width_in)
        at += matrix.size
        layers.append((matrix, values[at : at + width_out].reshape(width_out, 1)))
        at += width_out
    return tuple(layers)


def encode(network: Network, bound: float) -> Correction:
    """A network as a profile keeps it."""
    widths = (network[0][0].shape[1], *(matrix.shape[0] for matrix, _ in network))
    values = np.concatenate([np.concatenate([matrix.ravel(), bias.ravel()]) for matrix, bias in network]).astype("<f2")
    return Correction(widths=widths, weights=base64.b64encode(values.tobytes()).decode("ascii"), bound=bound)


def range_weight(sizes: tuple[Array, Array, Array, Array], menu: KernelMenu) -> Array:
    """1 for products inside the fitted range of batch, m, n, k and FLOPs, 0 from `FADE` times beyond it."""
    b, m, n, k = (np.log(column.astype(np.float32)) for column in sizes)
    beyond = np.zeros(len(b), np.float32)
    for column, (low, high) in zip((b, m, n, k, b + m + n + k + np.float32(np.log(2))), menu.fit_range, strict=True):
        np.maximum(beyond, np.maximum(np.float32(np.log(low)) - column, column - np.float32(np.log(high))), out=beyond)
    return np.maximum(1 - beyond / np.float32(np.log(FADE)), 0)


def correction(
    menu: KernelMenu, sizes: tuple[Array, Array, Array, Array], layout: Array, core_s: Array, rates: Rates, *, is_fp16: bool
) -> Array:
    """ln of what each product's tile-model time is multiplied by, within the bound; `range_weight` is left to the caller."""
    assert menu.correction is not None
    return bounded(menu.correction, features(_known_sizes(sizes, menu.fit_step), layout, core_s, rates, is_fp16=is_fp16))


def _known_sizes(sizes: tuple[Array, Array, Array, Array], step: int) -> tuple[Array, Array, Array, Array]:
    """Sizes with n and k rounded up to multiples of `step`; smaller ones stay as they are."""
    if step == 1:
        return sizes
    b, m, *others = sizes
    n, k = (np.where(each > step, -(-each // step) * step, each) for each in others)
    return b, m, n, k


def bounded(correction: Correction, x: Array) -> Array:
    """ln of the factor for features x [feature, product], within the bound."""
    return np.clip(forward(decode(correction), x), -correction.bound, correction.bound)
