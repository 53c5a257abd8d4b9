"""A few rows times a weight, on the matrix units, operands swapped: the weight's rows fill the unit, the few rows are padded to 8 or 16.

Formula: as `gemv`: y = act(W n(x) + b) + r, or gated. Shapes: x `[rows, k]`, W `[n_i, k]` (`TRANSPOSED`: `[k, n_i]`), y `[rows, Σ n_i]`.
One program makes `BLOCK_N` outputs of one part for `BLOCK_M` rows, over one of `SPLITS` equal ranges of k; `STAGES` tiles of `BLOCK_K`
columns of the weight are on their way at a time. `EVEN`: tiles fill n and k.
A matrix instruction takes 16 columns and waits for the one before it where both add to the same sums: with 8 rows and 16 outputs there is
no other, and a tile of 512 columns is 32 of them in a row, in which nothing new is asked for. So a tile is added to `CHAINS` sums, each
over its part of the columns, which are added up at the end. Bias, residual and the next norm's weight are asked for before the loop: after
it, every program would wait for them again.
The next kernel's programs start where there is room, which early is on the multiprocessors that are done first: few programs crowd there.
With `LATE`, they may start only after this program's sums, when there soon is room everywhere.
Where k is split, the sums of each range go to a workspace `[splits, blocks, 2 if gated, BLOCK_N, BLOCK_M]` (fp32) and the last program to
arrive adds them in order, so that the result does not depend on who is last; its counter it sets back to zero. An RMS norm was begun by
the product before (`common`): its scale is applied to the sum. A layer norm runs before.

Reference: `tests/unit/decode/kernels/`, against float64. Source: FlashDecoding++ (Hong et al., 2024), section 4: flat GEMM padded to 8
rather than 64, double buffered.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import activate, handed_over, let_next_start, part_of, square_sums_of_rows, wait_for_previous


@triton.jit
def tile_of(weight, ok, EVEN: tl.constexpr):
    """A tile of the weight; zero outside."""
    if EVEN:
        return tl.load(weight)
    else:
        return tl.load(weight, mask=ok, other=0.0)


@triton.jit
def flat_kernel(
    x_pointer, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, squares_pointer, residual_pointer, out_pointer,
    next_weight, next_pointer, next_squares, workspace, counters, rows, n_0, n_1, n_2, out_stride, num_squares, eps, K: tl.constexpr,
    PARTS: tl.constexpr, GATED: tl.constexpr, TRANSPOSED: tl.constexpr, HAS_BIAS: tl.constexpr, NORM: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, SQUARES: tl.constexpr, HANDS_OVER: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SPLITS: tl.constexpr, STAGES: tl.constexpr,
    CHAINS: tl.constexpr, EVEN: tl.constexpr, LATE: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = BLOCK_K // CHAINS
    block = tl.program_id(0)
    tile_m = tl.program_id(1)
    split = tl.program_id(2)
    place = tile_m * tl.num_programs(0) + block
    weight, bias, n, first, block = part_of(  # pyright: ignore[reportGeneralTypeIssues]
        block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS, BLOCK_N
    )  # fmt: skip
    let_next_start(OVERLAP and not LATE)
    share = tl.cdiv(tl.cdiv(K, SPLITS), BLOCK_K) * BLOCK_K
    begin = split * share
    end = tl.minimum(begin + share, K)
    out_rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_out = out_rows < n
    x_rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    is_x = x_rows < rows
    columns = tl.arange(0, WIDTH)
    if TRANSPOSED:
        offsets = out_rows[:, None].to(tl.int64) + columns[None, :].to(tl.int64) * n
        step = n.to(tl.int64)
    else:
        offsets = out_rows[:, None].to(tl.int64) * K + columns[None, :]
        step = 1
    x_offsets = x_rows[None, :].to(tl.int64) * K + columns[:, None]
    chains = ()
    chains_1 = ()
    for _ in tl.static_range(CHAINS):
        chains = chains + (tl.zeros([BLOCK_N, BLOCK_M], tl.float32),)
        if GATED:
            chains_1 = chains_1 + (tl.zeros([BLOCK_N, BLOCK_M], tl.float32),)
    if HAS_BIAS:
        b = tl.load(bias + out_rows, mask=is_out, other=0.0)
        if GATED:
            b_1 = tl.load(bias_1 + out_rows, mask=is_out, other=0.0)
    if HANDS_OVER:
        gain = tl.load(next_weight + out_rows, mask=is_out, other=0.0)
    at = x_rows[None, :].to(tl.int64) * out_stride + first + out_rows[:, None]
    is_own = is_out[:, None] & is_x[None, :]
    wait_for_previous(OVERLAP)
    if HAS_RESIDUAL:
        residual = tl.load(residual_pointer + at, mask=is_own, other=0.0)
    if NORM == 1:
        squares = square_sums_of_rows(squares_pointer, x_rows, rows, num_squares, SQUARES)
    for start in tl.range(begin, end, BLOCK_K, num_stages=STAGES):
        chains_next = ()
        chains_1_next = ()
        for chain in tl.static_range(CHAINS):
            place_in_k = start + chain * WIDTH
            is_in = place_in_k + columns < end
            ok = is_out[:, None] & is_in[None, :]
            tile = tile_of(weight + offsets + place_in_k * step, ok, EVEN)
            if GATED:
                tile_1 = tile_of(weight_1 + offsets + place_in_k * step, ok, EVEN)
            x = tl.load(x_pointer + x_offsets + place_in_k, mask=is_in[:, None] & is_x[None, :], other=0.0)
            chains_next = chains_next + (tl.dot(tile, x, chains[chain], input_precision="ieee"),)
            if GATED:
                chains_1_next = chains_1_next + (tl.dot(tile_1, x, chains_1[chain], input_precision="ieee"),)
        chains = chains_next
        chains_1 = chains_1_next
    let_next_start(OVERLAP and LATE)
    sums = chains[0]
    for chain in tl.static_range(1, CHAINS):
        sums += chains[chain]
    if GATED:
        sums_1 = chains_1[0]
        for chain in tl.static_range(1, CHAINS):
            sums_1 += chains_1[chain]
    if SPLITS > 1:
        n_tile = tl.arange(0, BLOCK_N)[:, None] * BLOCK_M + tl.arange(0, BLOCK_M)[None, :]
        size = BLOCK_N * BLOCK_M
        width = size * 2
        here = workspace + (place.to(tl.int64) * SPLITS + split) * width
        tl.store(here + n_tile, sums)
        if GATED:
            tl.store(here + size + n_tile, sums_1)
        tl.debug_barrier()
        arrived = tl.atomic_add(counters + place, 1, sem="acq_rel", scope="gpu")
        if arrived < SPLITS - 1:
            return
        tl.store(counters + place, 0)
        here = workspace + place.to(tl.int64) * SPLITS * width
        sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        if GATED:
            sums_1 = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        for _ in tl.static_range(SPLITS):
            sums += tl.load(here + n_tile, cache_modifier=".cg")
            if GATED:
                sums_1 += tl.load(here + size + n_tile, cache_modifier=".cg")
            here += width
    y = sums
    if NORM == 1:
        scale = tl.rsqrt(tl.sum(squares, 1) / K + eps)[None, :]
        y *= scale
    if HAS_BIAS:
        y += b.to(tl.float32)[:, None]
    y = activate(y, ACTIVATION)
    if GATED:
        up = sums_1
        if NORM == 1:
            up *= scale
        if HAS_BIAS:
            up += b_1.to(tl.float32)[:, None]
        y *= up
    if HAS_RESIDUAL:
        y += residual.to(tl.float32)
    stored = y.to(out_pointer.dtype.element_ty)
    tl.store(out_pointer + at, stored, mask=is_own)
    if HANDS_OVER:
        of_outputs = handed_over(stored, gain[:, None], next_pointer + at, is_own)
        tl.store(next_squares + x_rows * tl.num_programs(0) + tl.program_id(0), tl.sum(of_outputs, 0), mask=is_x)
