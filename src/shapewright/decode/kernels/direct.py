"""A few rows times a weight, on the matrix units, the weight going straight from memory into their registers.

Formula: as `gemv`: y = act(W n(x) + b) + r, or gated. Shapes: x `[rows, k]`, W `[n_i, k]`, y `[rows, Σ n_i]`; k a multiple of
32 · `WARPS` and n_i of `BLOCK_N`. One program makes `BLOCK_N` outputs of all rows (at most `BLOCK_M`); each of its `WARPS` warps takes a
range of k, walked in tiles of 32 columns, `DEPTH` of them in registers or on their way, and the warps' sums are added at the end (fp32).
The first `DEPTH` tiles are asked for before the program waits for its input.

A matrix unit wants of each row of 16 columns the pairs (2t, 2t+1) and (2t+8, 2t+9) in thread t, which is 4 bytes at a time from memory,
or a detour through shared memory. A sum over k does not care for its order: thread t takes the 16 bytes 8t to 8t+7 of 32 columns, of
weight and input alike, and calls them the columns that two instructions want of it. So a tile is one 16-byte load a thread and 8 rows,
and two instructions; no shared memory and no barrier but those of the last sum (NVIDIA, m16n8k16; elsewhere the compiler moves what it
must, and the result is the same). k is unrolled: in a loop every load waits on one and the same counter, so that nothing is on its way
while a tile is used. The weight passes by the first cache (`evict_first`), where x has to stay: every program reads all of it.

Up to 8 rows stand on the 8-wide side of the unit, unpadded where there are 8, and the weight's rows on the 16-wide one (`SWAPPED`;
FlashDecoding++, Hong et al., 2024, section 4); more rows the other way round.
An RMS norm as in `flat`. Reference: `tests/unit/decode/kernels/`, against float64.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import activate, handed_over, let_next_start, part_of, square_sums_of_rows, wait_for_previous


@triton.jit
def reordered(tile, WARPS: tl.constexpr, EIGHTS: tl.constexpr):
    """`[8, WARPS, EIGHTS, 32]`, which a warp loads by eights of rows, as `[WARPS, 8 · EIGHTS, 32]`.

    Columns (t, j, s, e) become (j, s, t, e): 8 neighbours of a thread are what two instructions want of it.
    """
    split = tl.permute(tl.reshape(tile, [8, WARPS, EIGHTS, 4, 2, 2, 2]), [1, 2, 0, 4, 5, 3, 6])
    return tl.reshape(split, [WARPS, 8 * EIGHTS, 32])


@triton.jit
def product(weight, x, sums, SWAPPED: tl.constexpr):
    """sums + x Wᵀ a warp, `[WARPS, rows, outputs]`, or its transpose where `SWAPPED`."""
    if SWAPPED:
        return tl.dot(weight, tl.permute(x, [0, 2, 1]), sums, input_precision="ieee")
    else:
        return tl.dot(x, tl.permute(weight, [0, 2, 1]), sums, input_precision="ieee")


@triton.jit
def total(sums, SWAPPED: tl.constexpr):
    """Of all warps, `[rows, outputs]`."""
    if SWAPPED:
        return tl.trans(tl.sum(sums, 0))
    else:
        return tl.sum(sums, 0)


@triton.jit
def direct_kernel(
    x_pointer, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, squares_pointer, residual_pointer, out_pointer,
    next_weight, next_pointer, next_squares, rows, n_0, n_1, n_2, out_stride, num_squares, eps, K: tl.constexpr,
    PARTS: tl.constexpr, GATED: tl.constexpr, HAS_BIAS: tl.constexpr, NORM: tl.constexpr, ACTIVATION: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr, SQUARES: tl.constexpr, HANDS_OVER: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr, WARPS: tl.constexpr, SWAPPED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    RANGE: tl.constexpr = K // WARPS
    TILES: tl.constexpr = RANGE // 32
    M_EIGHTS: tl.constexpr = BLOCK_M // 8
    N_EIGHTS: tl.constexpr = BLOCK_N // 8
    block = tl.program_id(0)
    weight, bias, _, first, block = part_of(  # pyright: ignore[reportGeneralTypeIssues]
        block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS, BLOCK_N
    )  # fmt: skip
    let_next_start(OVERLAP)
    eight = tl.arange(0, 8)[:, None, None, None]
    columns = (tl.arange(0, WARPS) * RANGE)[None, :, None, None] + tl.arange(0, 32)[None, None, None, :]
    outs = block * BLOCK_N + (tl.arange(0, N_EIGHTS) * 8)[None, None, :, None] + eight
    at = outs.to(tl.int64) * K + columns
    weight += at
    weight_1 += at
    tiles = ()
    tiles_1 = ()
    for i in tl.static_range(TILES):
        if i < DEPTH:
            tiles = tiles + (tl.load(weight + i * 32, eviction_policy="evict_first"),)
            if GATED:
                tiles_1 = tiles_1 + (tl.load(weight_1 + i * 32, eviction_policy="evict_first"),)
    x_rows = (tl.arange(0, M_EIGHTS) * 8)[None, None, :, None] + eight
    is_x = x_rows < rows
    x_pointer += x_rows * K + columns
    rows_out = tl.arange(0, BLOCK_M)
    is_row = (rows_out < rows)[:, None]
    columns_out = block * BLOCK_N + tl.arange(0, BLOCK_N)
    place = rows_out[:, None].to(tl.int64) * out_stride + first + columns_out[None, :]
    if HAS_BIAS:
        b = tl.load(bias + columns_out)[None, :]
        if GATED:
            b_1 = tl.load(bias_1 + columns_out)[None, :]
    if HANDS_OVER:
        gain = tl.load(next_weight + columns_out)[None, :]
    wait_for_previous(OVERLAP)
    if HAS_RESIDUAL:
        residual = tl.load(residual_pointer + place, mask=is_row, other=0.0)
    if NORM == 1:
        squares = square_sums_of_rows(squares_pointer, rows_out, rows, num_squares, SQUARES)
    if SWAPPED:
        sums = tl.zeros([WARPS, BLOCK_N, BLOCK_M], tl.float32)
        sums_1 = tl.zeros([WARPS, BLOCK_N, BLOCK_M], tl.float32)
    else:
        sums = tl.zeros([WARPS, BLOCK_M, BLOCK_N], tl.float32)
        sums_1 = tl.zeros([WARPS, BLOCK_M, BLOCK_N], tl.float32)
    for i in tl.static_range(TILES):
        x = tl.load(x_pointer + i * 32, mask=is_x, other=0.0)
        x = reordered(x, WARPS, M_EIGHTS)
        sums = product(reordered(tiles[i], WARPS, N_EIGHTS), x, sums, SWAPPED)
        if i + DEPTH < TILES:
            tiles = tiles + (tl.load(weight + (i + DEPTH) * 32, eviction_policy="evict_first"),)
        if GATED:
            sums_1 = product(reordered(tiles_1[i], WARPS, N_EIGHTS), x, sums_1, SWAPPED)
            if i + DEPTH < TILES:
                tiles_1 = tiles_1 + (tl.load(weight_1 + (i + DEPTH) * 32, eviction_policy="evict_first"),)
    y = total(sums, SWAPPED)
    if NORM == 1:
        scale = tl.rsqrt(tl.sum(squares, 1) / K + eps)[:, None]
        y *= scale
    if HAS_BIAS:
        y += b.to(tl.float32)
    y = activate(y, ACTIVATION)
    if GATED:
        up = total(sums_1, SWAPPED)
        if NORM == 1:
            up *= scale
        if HAS_BIAS:
            up += b_1.to(tl.float32)
        y *= up
    if HAS_RESIDUAL:
        y += residual.to(tl.float32)
    stored = y.to(out_pointer.dtype.element_ty)
    tl.store(out_pointer + place, stored, mask=is_row)
    if HANDS_OVER:
        of_outputs = handed_over(stored, gain, next_pointer + place, is_row)
        tl.store(next_squares + rows_out * tl.num_programs(0) + tl.program_id(0), tl.sum(of_outputs, 1), mask=rows_out < rows)
