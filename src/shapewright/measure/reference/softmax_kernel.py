"""The kernel behind `softmax.causal_softmax_`, which gives its formula; imported only where Triton is.

One program a row of x (rows, num_columns): it loads what the causal mask leaves, and writes the whole row.
"""

from __future__ import annotations

from typing import Any

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

NUM_WARPS = 4


@triton.jit
def _causal_softmax_kernel(x_ptr, num_columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    last = row % num_columns
    columns = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * num_columns + columns, mask=columns <= last, other=-float("inf")).to(tl.float32)
    powers = tl.exp(x - tl.max(x, axis=0))
    y = powers / tl.sum(powers, axis=0)
    tl.store(x_ptr + row * num_columns + columns, y.to(x_ptr.dtype.element_ty), mask=columns < num_columns)


def launch(scores: Tensor) -> None:
    """Replace contiguous scores (..., S, S) by their causal softmax."""
    num_columns = scores.shape[-1]
    grid = (scores.numel() // num_columns,)
    # Triton's type of a kernel knows no launch options.
    kernel: Any = _causal_softmax_kernel
    kernel[grid](scores, num_columns, BLOCK=triton.next_power_of_2(num_columns), num_warps=NUM_WARPS)
