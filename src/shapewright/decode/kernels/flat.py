"""A few rows times a weight, on the matrix units, operands swapped: the weight's rows fill the unit, the few rows are padded to 8 or 16.

Formula: as `gemv`: y = act(W n(x) + b) + r, or gated. Shapes: x `[rows, k]`, W `[n_i, k]` (`TRANSPOSED`: `[k, n_i]`), y `[rows, Σ n_i]`.
One program makes `BLOCK_N` outputs of one part for `BLOCK_M` rows, over one of `SPLITS` equal ranges of k; `STAGES` tiles of the weight are
on their way at a time, `EARLY` from before the program waits for its input (NVIDIA; x is then not read ahead). `EVEN`: tiles fill n and k.
Where k is split, the sums of each range go to a workspace `[splits, blocks, 2 if gated, BLOCK_N, BLOCK_M]` (fp32) and the last program to
arrive adds them in order, so that the result does not depend on who is last; its counter it sets back to zero. An RMS norm is folded in: x
times the norm's weight enters the product, 1 / rms(x) multiplies the sum. A layer norm is not: it runs before.

Reference: `tests/unit/decode/kernels/`, against float64. Source: FlashDecoding++ (Hong et al., 2024), section 4: flat GEMM padded to 8
rather than 64, double buffered.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import activate, let_next_start, part_of, wait_for_previous


@triton.jit
def loaded_after_waiting(pointers, mask):
    """`tl.load(pointers, mask, 0)` of 16-bit values that stays where it stands.

    The compiler runs a loop's loads some rounds ahead, which is right for weights and wrong for what the kernel before still writes.
    """
    bits = tl.inline_asm_elementwise(
        """{
        .reg .pred is_in;
        setp.ne.b32 is_in, $2, 0;
        mov.b16 $0, 0;
        @is_in ld.global.b16 $0, [$1];
        }""",
        "=h,l,r",
        [pointers, mask.to(tl.int32)],
        dtype=tl.int16,
        is_pure=False,
        pack=1,
    )
    return bits.to(pointers.dtype.element_ty, bitcast=True)


@triton.jit
def flat_kernel(
    x_pointer, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, norm_weight, residual_pointer, out_pointer,
    workspace, counters, rows, n_0, n_1, n_2, out_stride, eps, K: tl.constexpr,
    PARTS: tl.constexpr, GATED: tl.constexpr, TRANSPOSED: tl.constexpr, HAS_BIAS: tl.constexpr, NORM: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr, STAGES: tl.constexpr, EVEN: tl.constexpr, OVERLAP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    tile_m = tl.program_id(1)
    split = tl.program_id(2)
    place = tile_m * tl.num_programs(0) + block
    weight, bias, n, first, block = part_of(  # pyright: ignore[reportGeneralTypeIssues]
        block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS, BLOCK_N
    )  # fmt: skip
    let_next_start(OVERLAP)
    share = tl.cdiv(tl.cdiv(K, SPLITS), BLOCK_K) * BLOCK_K
    begin = split * share
    end = tl.minimum(begin + share, K)
    out_rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_out = out_rows < n
    x_rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    is_x = x_rows < rows
    columns = tl.arange(0, BLOCK_K)
    if TRANSPOSED:
        offsets = out_rows[:, None].to(tl.int64) + columns[None, :].to(tl.int64) * n
        step = n.to(tl.int64)
    else:
        offsets = out_rows[:, None].to(tl.int64) * K + columns[None, :]
        step = 1
    x_offsets = x_rows[None, :].to(tl.int64) * K + columns[:, None]
    if not EARLY:
        wait_for_previous(OVERLAP)
    sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    sums_1 = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    squares = tl.zeros([BLOCK_K, BLOCK_M], tl.float32)
    for start in tl.range(begin, end, BLOCK_K, num_stages=STAGES):
        is_in = start + columns < end
        ok = is_out[:, None] & is_in[None, :]
        if EVEN:
            tile = tl.load(weight + offsets + start * step)
        else:
            tile = tl.load(weight + offsets + start * step, mask=ok, other=0.0)
        if GATED:
            if EVEN:
                tile_1 = tl.load(weight_1 + offsets + start * step)
            else:
                tile_1 = tl.load(weight_1 + offsets + start * step, mask=ok, other=0.0)
        if EARLY:
            wait_for_previous(OVERLAP)
            x = loaded_after_waiting(x_pointer + x_offsets + start, is_in[:, None] & is_x[None, :])
        else:
            x = tl.load(x_pointer + x_offsets + start, mask=is_in[:, None] & is_x[None, :], other=0.0)
        if NORM == 1:
            wide = x.to(tl.float32)
            squares += wide * wide
            x = (wide * tl.load(norm_weight + start + columns, mask=is_in, other=0.0).to(tl.float32)[:, None]).to(x.dtype)
        sums = tl.dot(tile, x, sums, input_precision="ieee")
        if GATED:
            sums_1 = tl.dot(tile_1, x, sums_1, input_precision="ieee")
    if EARLY:
        # A range of k may be empty, and its program has to wait all the same.
        wait_for_previous(OVERLAP)
    if SPLITS > 1:
        n_tile = tl.arange(0, BLOCK_N)[:, None] * BLOCK_M + tl.arange(0, BLOCK_M)[None, :]
        size = BLOCK_N * BLOCK_M
        width = size * 2 + BLOCK_M
        here = workspace + (place.to(tl.int64) * SPLITS + split) * width
        tl.store(here + n_tile, sums)
        if GATED:
            tl.store(here + size + n_tile, sums_1)
        if NORM == 1:
            tl.store(here + 2 * size + tl.arange(0, BLOCK_M), tl.sum(squares, 0))
        tl.debug_barrier()
        arrived = tl.atomic_add(counters + place, 1, sem="acq_rel", scope="gpu")
        if arrived < SPLITS - 1:
            return
        tl.store(counters + place, 0)
        here = workspace + place.to(tl.int64) * SPLITS * width
        sums = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        sums_1 = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        for _ in tl.static_range(SPLITS):
            sums += tl.load(here + n_tile, cache_modifier=".cg")
            if GATED:
                sums_1 += tl.load(here + size + n_tile, cache_modifier=".cg")
            if NORM == 1:
                total += tl.load(here + 2 * size + tl.arange(0, BLOCK_M), cache_modifier=".cg")
            here += width
    else:
        total = tl.sum(squares, 0)
    y = sums
    if NORM == 1:
        scale = tl.rsqrt(total / K + eps)[None, :]
        y *= scale
    if HAS_BIAS:
        y += tl.load(bias + out_rows, mask=is_out, other=0.0).to(tl.float32)[:, None]
    y = activate(y, ACTIVATION)
    if GATED:
        up = sums_1
        if NORM == 1:
            up *= scale
        if HAS_BIAS:
            up += tl.load(bias_1 + out_rows, mask=is_out, other=0.0).to(tl.float32)[:, None]
        y *= up
    at = x_rows[None, :].to(tl.int64) * out_stride + first + out_rows[:, None]
    ok = is_out[:, None] & is_x[None, :]
    if HAS_RESIDUAL:
        y += tl.load(residual_pointer + at, mask=ok, other=0.0).to(tl.float32)
    tl.store(out_pointer + at, y.to(out_pointer.dtype.element_ty), mask=ok)
