"""Greedy choice and the step's own bookkeeping: argmax of the logits, the next token into place, one position further.

Formula: token = the first index of the largest logit (as `torch.argmax`); tokens[row] = token, generated[slot, row] = token with slot =
length - first; positions + 1; length + 1. Shapes: logits `[batch, vocab]`, tokens and positions `[batch]`, generated `[slots, batch]`,
workspace `[batch, BLOCKS]` twice. The last program of a row to arrive writes the row; the last row to finish moves `length`.
NaN counts as the largest, above infinity, as in torch.
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import let_next_start, wait_for_previous


@triton.jit
def ordered(x):
    """int32 in the order of fp32 `x`, above the least of all: NaN is over infinity, and both zeros are one."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(x == x, tl.where(bits < 0, bits ^ 2147483647, bits), 2147483647)


@triton.jit
def argmax_kernel(
    logits, tokens, positions, length, first, generated, best_values, best_indices, counters, vocab_size, batch, generated_rows,
    BLOCKS: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    block = tl.program_id(1)
    let_next_start(OVERLAP)
    wait_for_previous(OVERLAP)
    share = tl.cdiv(tl.cdiv(vocab_size, BLOCKS), BLOCK) * BLOCK
    value = tl.full([BLOCK], -2147483648, tl.int32)
    index = tl.full([BLOCK], 2147483647, tl.int32)
    for start in range(block * share, tl.minimum(block * share + share, vocab_size), BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits + row.to(tl.int64) * vocab_size + column, mask=column < vocab_size, other=0.0).to(tl.float32)
        key = tl.where(column < vocab_size, ordered(x), -2147483648)
        is_new = key > value
        value = tl.where(is_new, key, value)
        index = tl.where(is_new, column, index)
    largest = tl.max(value, 0)
    tl.store(best_values + row * BLOCKS + block, largest)
    tl.store(best_indices + row * BLOCKS + block, tl.min(tl.where(value == largest, index, 2147483647), 0))
    tl.debug_barrier()
    if tl.atomic_add(counters + row, 1, sem="acq_rel", scope="gpu") < BLOCKS - 1:
        return
    tl.store(counters + row, 0)
    blocks = tl.arange(0, BLOCKS)
    values = tl.load(best_values + row * BLOCKS + blocks, cache_modifier=".cg")
    indices = tl.load(best_indices + row * BLOCKS + blocks, cache_modifier=".cg")
    token = tl.min(tl.where(values == tl.max(values, 0), indices, 2147483647), 0).to(tl.int64)
    slot = tl.load(length) - tl.load(first)
    tl.store(tokens + row, token)
    if (slot >= 0) & (slot < generated_rows):
        tl.store(generated + slot.to(tl.int64) * batch + row, token)
    tl.store(positions + row, tl.load(positions + row) + 1)
    tl.debug_barrier()
    if tl.atomic_add(counters + batch, 1, sem="acq_rel", scope="gpu") < batch - 1:
        return
    tl.store(counters + batch, 0)
    tl.store(length, tl.load(length) + 1)
