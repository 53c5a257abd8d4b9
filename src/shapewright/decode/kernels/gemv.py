"""One to four rows times a weight, on the ordinary arithmetic units: norm, product, bias, activation, residual in one pass over the weight.

Formula: y = act(W n(x) + b) + r, or act(W₀ n(x) + b₀) · (W₁ n(x) + b₁) where `GATED`; n is nothing, an RMS or a layer norm. Shapes: x
`[rows, k]`, each part W `[n_i, k]` (`TRANSPOSED`: `[k, n_i]`), b `[n_i]`, y and r `[rows, Σ n_i]` (`GATED`: n₀). One program makes
`BLOCK_N` outputs of one part for all `ROWS` rows, k walked in tiles of `BLOCK_K`, `DEPTH` of them in registers or on their way; sums in
fp32. A thread adds `FOLD` neighbours before anything is exchanged. The first `DEPTH` tiles are asked for before the program waits for its
input. `EVEN`: every part is a multiple of `BLOCK_N`. An RMS norm was begun by the product before (`common`): its scale is applied to the
sum.

Of a layer norm with weight w and bias c, W ((x - m) s · w + c) = s (W (x · w) - m W w) + W c, where m is the mean of x and s its scale: so
mean and scale are summed up on the way and applied at the end, and W w and W c `[Σ n_i]` (fp32), which weights alone make, are given
(`constants`). The row's first number is taken off x, and so off m: with a mean far from zero fp32 would leave little of the difference.

Reference: `tests/unit/decode/kernels/`, against float64. Source of the idea that one row wants no matrix unit: FlashDecoding++
(Hong et al., 2024), section 5, ImplA.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import (
    activate,
    handed_over,
    let_next_start,
    mean_and_scale,
    part_of,
    square_sums,
    wait_for_previous,
)


@triton.jit
def tile_of(weight, offsets, is_row, start: tl.constexpr, step, K: tl.constexpr, BLOCK_K: tl.constexpr, EVEN: tl.constexpr):
    """`[BLOCK_N, BLOCK_K]` of a weight from column `start` on; zero past the end."""
    if EVEN and start + BLOCK_K <= K:
        return tl.load(weight + offsets + start * step, eviction_policy="evict_first")
    else:
        ok = is_row[:, None] & (start + tl.arange(0, BLOCK_K) < K)[None, :]
        return tl.load(weight + offsets + start * step, mask=ok, other=0.0, eviction_policy="evict_first")


@triton.jit
def row_of(pointer, start: tl.constexpr, K: tl.constexpr, BLOCK_K: tl.constexpr):
    """`[BLOCK_K]` of a row from column `start` on, in fp32; zero past the end."""
    columns = start + tl.arange(0, BLOCK_K)
    if start + BLOCK_K <= K:
        return tl.load(pointer + columns).to(tl.float32)
    else:
        return tl.load(pointer + columns, mask=columns < K, other=0.0).to(tl.float32)


@triton.jit
def first_column(pointers, mask, WIDTH: tl.constexpr):
    """Numbers `[BLOCK_N]` as the first of `WIDTH` parts of a sum, the others zero: added before threads exchange what they have, they need
    no exchange of their own.
    """
    ok = mask[:, None] & (tl.arange(0, WIDTH) == 0)[None, :]
    return tl.load(tl.broadcast_to(pointers[:, None], ok.shape), mask=ok, other=0.0)


@triton.jit
def folded(products, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, FOLD: tl.constexpr):
    """Sums of `FOLD` neighbours, which one thread has: `[BLOCK_N, BLOCK_K / FOLD]`."""
    if FOLD == 1:
        return products
    else:
        return tl.sum(tl.reshape(products, [BLOCK_N, BLOCK_K // FOLD, FOLD]), 2)


@triton.jit
def gemv_kernel(
    x_pointer, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, norm_weight, gain_sums, shift_sums, squares_pointer, residual_pointer,
    out_pointer, next_weight, next_pointer, next_squares, n_0, n_1, n_2, out_stride, num_squares, eps, K: tl.constexpr,
    PARTS: tl.constexpr, GATED: tl.constexpr, TRANSPOSED: tl.constexpr, HAS_BIAS: tl.constexpr, NORM: tl.constexpr,
    HAS_NORM_BIAS: tl.constexpr, ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, SQUARES: tl.constexpr, HANDS_OVER: tl.constexpr,
    EVEN: tl.constexpr, FOLD: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, DEPTH: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    TILES: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    block = tl.program_id(0)
    weight, bias, n, first, block = part_of(  # pyright: ignore[reportGeneralTypeIssues]
        block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS, BLOCK_N
    )  # fmt: skip
    let_next_start(OVERLAP)
    rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < n
    columns = tl.arange(0, BLOCK_K)
    if TRANSPOSED:
        offsets = rows[:, None].to(tl.int64) + columns[None, :].to(tl.int64) * n
        step = n.to(tl.int64)
    else:
        offsets = rows[:, None].to(tl.int64) * K + columns[None, :]
        step = 1
    tiles = (tile_of(weight, offsets, is_row, 0, step, K, BLOCK_K, EVEN),)
    if GATED:
        tiles_1 = (tile_of(weight_1, offsets, is_row, 0, step, K, BLOCK_K, EVEN),)
    for i in tl.static_range(1, TILES):
        if i < DEPTH:
            tiles = tiles + (tile_of(weight, offsets, is_row, i * BLOCK_K, step, K, BLOCK_K, EVEN),)
            if GATED:
                tiles_1 = tiles_1 + (tile_of(weight_1, offsets, is_row, i * BLOCK_K, step, K, BLOCK_K, EVEN),)
    if HAS_BIAS:
        b = tl.load(bias + rows, mask=is_row, other=0.0)
        if GATED:
            b_1 = tl.load(bias_1 + rows, mask=is_row, other=0.0)
    if NORM == 2:
        of_gain = first_column(gain_sums + first + rows, is_row, BLOCK_K // FOLD)
        if GATED:
            of_gain_1 = first_column(gain_sums + n_0 + rows, is_row, BLOCK_K // FOLD)
    if NORM == 2 and HAS_NORM_BIAS:
        of_shift = first_column(shift_sums + first + rows, is_row, BLOCK_K // FOLD)
        if GATED:
            of_shift_1 = first_column(shift_sums + n_0 + rows, is_row, BLOCK_K // FOLD)
    if HANDS_OVER:
        next_gain = tl.load(next_weight + rows, mask=is_row, other=0.0)
    wait_for_previous(OVERLAP)
    residuals = ()
    squares = ()
    for r in tl.static_range(ROWS):
        if HAS_RESIDUAL:
            residuals = residuals + (tl.load(residual_pointer + r * out_stride + first + rows, mask=is_row, other=0.0),)
        if NORM == 1:
            squares = squares + (square_sums(squares_pointer, r, num_squares, SQUARES),)
    firsts = ()
    totals = ()
    deviations = ()
    for r in tl.static_range(ROWS):
        if NORM == 2:
            firsts = firsts + (tl.load(x_pointer + r * K).to(tl.float32),)
            totals = totals + (tl.zeros([BLOCK_K], tl.float32),)
            deviations = deviations + (tl.zeros([BLOCK_K], tl.float32),)
    sums = ()
    sums_1 = ()
    for _ in tl.static_range(ROWS):
        sums = sums + (tl.zeros([BLOCK_N, BLOCK_K // FOLD], tl.float32),)
        sums_1 = sums_1 + (tl.zeros([BLOCK_N, BLOCK_K // FOLD], tl.float32),)
    for i in tl.static_range(TILES):
        tile = tiles[i].to(tl.float32)
        if GATED:
            tile_1 = tiles_1[i].to(tl.float32)
        if NORM == 2:
            gain = row_of(norm_weight, i * BLOCK_K, K, BLOCK_K)
        totals_next = ()
        deviations_next = ()
        sums_next = ()
        sums_1_next = ()
        for r in tl.static_range(ROWS):
            x = row_of(x_pointer + r * K, i * BLOCK_K, K, BLOCK_K)
            if NORM == 2:
                x -= firsts[r]
                if (i + 1) * BLOCK_K > K:
                    x = tl.where(i * BLOCK_K + columns < K, x, 0.0)
                totals_next = totals_next + (totals[r] + x,)
                deviations_next = deviations_next + (deviations[r] + x * x,)
                x *= gain
            sums_next = sums_next + (sums[r] + folded(tile * x[None, :], BLOCK_N, BLOCK_K, FOLD),)
            if GATED:
                sums_1_next = sums_1_next + (sums_1[r] + folded(tile_1 * x[None, :], BLOCK_N, BLOCK_K, FOLD),)
        totals = totals_next
        deviations = deviations_next
        sums = sums_next
        if GATED:
            sums_1 = sums_1_next
        if i + DEPTH < TILES:
            tiles = tiles + (tile_of(weight, offsets, is_row, (i + DEPTH) * BLOCK_K, step, K, BLOCK_K, EVEN),)
            if GATED:
                tiles_1 = tiles_1 + (tile_of(weight_1, offsets, is_row, (i + DEPTH) * BLOCK_K, step, K, BLOCK_K, EVEN),)
    ys = ()
    for r in tl.static_range(ROWS):
        total = sums[r]
        if NORM == 2:
            mean, scale = mean_and_scale(totals[r], deviations[r], K, eps)
            total = (total - mean * of_gain) * scale
            if HAS_NORM_BIAS:
                total += of_shift
        y = tl.sum(total, 1)
        if NORM == 1:
            scale = tl.rsqrt(tl.sum(squares[r], 0) / K + eps)
            y *= scale
        if HAS_BIAS:
            y += b.to(tl.float32)
        y = activate(y, ACTIVATION)
        if GATED:
            total = sums_1[r]
            if NORM == 2:
                total = (total - mean * of_gain_1) * scale
                if HAS_NORM_BIAS:
                    total += of_shift_1
            up = tl.sum(total, 1)
            if NORM == 1:
                up *= scale
            if HAS_BIAS:
                up += b_1.to(tl.float32)
            y *= up
        if HAS_RESIDUAL:
            y += residuals[r].to(tl.float32)
        ys = ys + (y,)
    # Nothing is stored before all sums are exchanged: no load may move up past a store.
    for r in tl.static_range(ROWS):
        at = r * out_stride + first + rows
        stored = ys[r].to(out_pointer.dtype.element_ty)
        tl.store(out_pointer + at, stored, mask=is_row)
        if HANDS_OVER:
            of_outputs = handed_over(stored, next_gain, next_pointer + at, is_row)
            tl.store(next_squares + r * tl.num_programs(0) + tl.program_id(0), tl.sum(of_outputs, 0))
