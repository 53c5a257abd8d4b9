"""A norm on its own: for products that read its result more often than it costs to write it (a library's, or many rows').

Formula: rms, x / √(mean(x²) + eps) · w; layer, (x - mean) / √(var + eps) · w + b. Shapes: x and y `[rows, k]`, w and b `[k]`; one program a
row, sums in fp32. Reference: `tests/unit/decode/kernels/`, against float64.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import let_next_start, mean_and_scale, wait_for_previous


@triton.jit
def norm_kernel(
    x_pointer, weight, bias, out_pointer, k, eps,
    NORM: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_K: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    let_next_start(OVERLAP)
    columns = tl.arange(0, BLOCK_K)
    is_in = columns < k
    w = tl.load(weight + columns, mask=is_in, other=0.0)
    if HAS_BIAS:
        b = tl.load(bias + columns, mask=is_in, other=0.0)
    wait_for_previous(OVERLAP)
    x = tl.load(x_pointer + row * k + columns, mask=is_in, other=0.0).to(tl.float32)
    if NORM == 2:
        first = tl.load(x_pointer + row * k).to(tl.float32)
        shifted = tl.where(is_in, x - first, 0.0)
        mean, scale = mean_and_scale(shifted, shifted * shifted, k, eps)
        x -= first + mean
    else:
        scale = tl.rsqrt(tl.sum(x * x, 0) / k + eps)
    y = x * scale * w.to(tl.float32)
    if HAS_BIAS:
        y += b.to(tl.float32)
    tl.store(out_pointer + row * k + columns, y.to(out_pointer.dtype.element_ty), mask=is_in)
