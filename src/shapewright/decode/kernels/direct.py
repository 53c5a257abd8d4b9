"""A few rows times a weight, on the matrix units, the weight going straight from memory into their registers.

Formula: as `gemv`: y = act(W n(x) + b) + r, or gated. Shapes: x `[rows, k]`, W `[n_i, k]`, y `[rows, Σ n_i]`; k a multiple of 32 and n_i of
`BLOCK_N`. One program, one warp, makes `BLOCK_N` outputs of all rows (at most `BLOCK_M`); k is walked in tiles of 32, `DEPTH` of them in
registers or on their way, and the first `DEPTH` are asked for before the program waits for its input.

A matrix unit wants of each row of 16 columns the pairs (2t, 2t+1) and (2t+8, 2t+9) in thread t, which is 4 bytes at a time from memory, or
a detour through shared memory. A sum over k does not care for its order: thread t takes the 16 bytes 8t to 8t+7 of 32 columns, of weight
and input alike, and calls them the columns that two instructions want of it. So a tile is one 16-byte load a thread and row, and two
instructions; no shared memory and no barrier (NVIDIA, m16n8k16; elsewhere the compiler moves what it must, and the result is the same).

The few rows stand on the 16-wide side and the weight's on the 8-wide one, where `SWAPPED` the other way round: then up to 8 rows are padded
to 8, not 16 (FlashDecoding++, Hong et al., 2024, section 4), and a program makes 16 outputs at a time.
An RMS norm is folded in as in `flat`. Reference: `tests/unit/decode/kernels/`, against float64.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import activate, let_next_start, part_of, wait_for_previous


@triton.jit
def reordered(tile, ROWS: tl.constexpr):
    """Columns (t, j, s, e) of `[ROWS, 32]` as (j, s, t, e): 8 neighbours of a thread become what two instructions want of it."""
    return tl.reshape(tl.permute(tl.reshape(tile, [ROWS, 4, 2, 2, 2]), [0, 2, 3, 1, 4]), [ROWS, 32])


@triton.jit
def product(weight, x, sums, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, SWAPPED: tl.constexpr):
    """sums + x Wᵀ, `[BLOCK_M, BLOCK_N]`, or its transpose where `SWAPPED`."""
    w = reordered(weight, BLOCK_N)
    if SWAPPED:
        return tl.dot(w, tl.trans(x), sums, input_precision="ieee")
    else:
        return tl.dot(x, tl.trans(w), sums, input_precision="ieee")


@triton.jit
def direct_kernel(
    x_pointer, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, norm_weight, residual_pointer, out_pointer,
    rows, n_0, n_1, n_2, out_stride, eps, K: tl.constexpr,
    PARTS: tl.constexpr, GATED: tl.constexpr, HAS_BIAS: tl.constexpr, NORM: tl.constexpr, ACTIVATION: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, DEPTH: tl.constexpr, SWAPPED: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    weight, bias, _, first, block = part_of(  # pyright: ignore[reportGeneralTypeIssues]
        block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS, BLOCK_N
    )  # fmt: skip
    let_next_start(OVERLAP)
    outs = block * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, 32)[None, :]
    x_rows = tl.arange(0, BLOCK_M)
    is_x = (x_rows < rows)[:, None]
    at = outs[:, None].to(tl.int64) * K + columns
    weight += at
    weight_1 += at
    tiles = ()
    tiles_1 = ()
    for i in tl.static_range(DEPTH):
        tiles = tiles + (tl.load(weight + i * 32, mask=i * 32 < K, other=0.0),)
        if GATED:
            tiles_1 = tiles_1 + (tl.load(weight_1 + i * 32, mask=i * 32 < K, other=0.0),)
    wait_for_previous(OVERLAP)
    x_pointer += x_rows[:, None] * K + columns
    norm_weight += tl.broadcast_to(columns, [BLOCK_M, 32])
    if SWAPPED:
        sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        sums_1 = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    else:
        sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        sums_1 = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    squares = tl.zeros([BLOCK_M, 32], tl.float32)
    for k in tl.range(0, K, DEPTH * 32, num_stages=1):
        after = ()
        after_1 = ()
        for i in tl.static_range(DEPTH):
            is_in = k + i * 32 < K
            x = tl.load(x_pointer + k + i * 32, mask=is_x & is_in, other=0.0)
            if NORM == 1:
                wide = x.to(tl.float32)
                squares += wide * wide
                x = (wide * tl.load(norm_weight + k + i * 32, mask=is_in, other=0.0).to(tl.float32)).to(x.dtype)
            x = reordered(x, BLOCK_M)
            sums = product(tiles[i], x, sums, BLOCK_N, BLOCK_M, SWAPPED)
            ahead = k + (DEPTH + i) * 32
            after = after + (tl.load(weight + ahead, mask=ahead < K, other=0.0),)
            if GATED:
                sums_1 = product(tiles_1[i], x, sums_1, BLOCK_N, BLOCK_M, SWAPPED)
                after_1 = after_1 + (tl.load(weight_1 + ahead, mask=ahead < K, other=0.0),)
        tiles = after
        if GATED:
            tiles_1 = after_1
    if SWAPPED:
        sums = tl.trans(sums)
        sums_1 = tl.trans(sums_1)
    y = sums
    if NORM == 1:
        scale = tl.rsqrt(tl.sum(squares, 1) / K + eps)[:, None]
        y *= scale
    if HAS_BIAS:
        y += tl.load(bias + outs).to(tl.float32)[None, :]
    y = activate(y, ACTIVATION)
    if GATED:
        up = sums_1
        if NORM == 1:
            up *= scale
        if HAS_BIAS:
            up += tl.load(bias_1 + outs).to(tl.float32)[None, :]
        y *= up
    place = x_rows[:, None].to(tl.int64) * out_stride + first + outs[None, :]
    if HAS_RESIDUAL:
        y += tl.load(residual_pointer + place, mask=is_x, other=0.0).to(tl.float32)
    tl.store(out_pointer + place, y.to(out_pointer.dtype.element_ty), mask=is_x)
