"""The first residual stream of a step: token embedding, and learned positions where the model has them.

Formula: x = E[token] + P[position + offset]. Shapes: tokens and positions `[batch]`, E `[vocab, hidden_size]`, P `[positions,
hidden_size]`, x `[batch, hidden_size]`. One program a row and block of the width. It is launched without overlap, so that everything later
in the step may read the step's state (length, starts, positions, older slots of the cache) before it waits for anything.
`HANDS_OVER`: x · w and sums of squares for the RMS norm after it, as products do (`common`).
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import handed_over, let_next_start


@triton.jit
def embed_kernel(
    tokens, positions, embedding, position_embedding, out_pointer, next_weight, next_pointer, next_squares, hidden_size,
    position_offset, HAS_POSITIONS: tl.constexpr, HANDS_OVER: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    let_next_start(OVERLAP)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_in = columns < hidden_size
    x = tl.load(embedding + tl.load(tokens + row) * hidden_size + columns, mask=is_in, other=0.0).to(tl.float32)
    if HAS_POSITIONS:
        position = (tl.load(positions + row) + position_offset).to(tl.int64)
        x += tl.load(position_embedding + position * hidden_size + columns, mask=is_in, other=0.0).to(tl.float32)
    at = row.to(tl.int64) * hidden_size + columns
    stored = x.to(out_pointer.dtype.element_ty)
    tl.store(out_pointer + at, stored, mask=is_in)
    if HANDS_OVER:
        of_outputs = handed_over(stored, tl.load(next_weight + columns, mask=is_in, other=0.0), next_pointer + at, is_in)
        tl.store(next_squares + row * tl.num_programs(1) + tl.program_id(1), tl.sum(of_outputs, 0))
