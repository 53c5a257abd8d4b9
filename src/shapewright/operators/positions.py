"""Rotary positions: the angle table once a pass, the rotation of queries and keys in every layer.

Kernels and bytes are those of transformers 5.17 in eager PyTorch, x * cos + rotate_half(x) * sin (product, negation of one half,
concatenation, product, sum) for queries and for keys. `runtime="compiled"` rotates both in one pass.
"""

from __future__ import annotations

from ..shape import ModelShape
from ..units import ceil_div
from .scope import FP32_BYTES, Kernel, Scope, Unit, chain, chains
from .types import Gemm, MemoryChain, MemoryPass

#: Architectures of transformers 5.17 that gather angles from a buffer rather than multiply frequencies by positions in each pass.
_BUFFERED = frozenset({"gptj", "codegen"})
#: Architectures of transformers 5.17 with a frequency base, and so a table, for each kind of attention.
_TABLE_PER_ATTENTION = frozenset({"gemma3", "gemma3_text", "olmo3", "modernbert"})
#: Architectures of transformers 5.17 that make the table whether their positions are rotary or not (Falcon with ALiBi).
_ALWAYS_TABLE = frozenset({"falcon"})


def rotary_table(scope: Scope) -> tuple[Unit, ...]:
    """Angles frequency x position as an outer product (d/2, 1)(1, s) in fp32, then cos and sin in the model's dtype.

    An odd d makes (d + 1)/2 frequencies. One table serves all sequences (batch 1), since positions are those of a batch without
    padding; it has no gradient.
    """
    shape, length = scope.shape, scope.workload.query_len
    rotated = shape.num_rotary_dims or (shape.head_dim if shape.architecture in _ALWAYS_TABLE else 0)
    half = ceil_div(rotated, 2)
    if not half or shape.architecture in _BUFFERED:
        return ()
    work = Gemm(m=half, n=length, k=1, dtype="fp32", layout="NN")
    size = scope.size
    ends: list[Kernel] = [] if size == FP32_BYTES else [("elementwise", 4, size)] * 2
    turns: list[Kernel] = [("elementwise", 4, 4)] * 4
    kernels: list[Kernel] = [("concat", 2, 4), *turns, *ends]
    unit = Unit(
        forward=(
            scope.operator("rotary_table", "gemm", work, note="fp32 outer product of frequencies and positions, not on tensor cores"),
            scope.operator("rotary_cos_sin", "rotary", chain(length * 2 * half, *kernels)),
        )
    )
    return (unit,) * _num_tables(shape)


def _num_tables(shape: ModelShape) -> int:
    return len(set(shape.attention_pattern)) if shape.architecture in _TABLE_PER_ATTENTION else 1


def rotary(scope: Scope, *, key_heads: int | None = None) -> tuple[Unit, ...]:
    """Rotates the leading `num_rotary_dims` of each query head and of `key_heads` key heads (default: those of this GPU).

    Keeps nothing but the shared angles.
    """
    shape, size = scope.shape, scope.size
    rotated = shape.num_rotary_dims
    full = rotated if shape.latent_attention else shape.head_dim  # latent attention joins its parts itself
    if not rotated:
        return ()
    query_rows = scope.tokens * scope.heads
    key_rows = scope.tokens * (key_heads or scope.kv_heads)
    if scope.is_compiled:
        elements = (query_rows + key_rows) * rotated
        forward = backward = chain(elements, ("elementwise", size, size))
    else:
        forward = chains(*[_rotate(rows, rotated, full, size) for rows in (query_rows, key_rows)])
        backward = chains(*[_rotate_backward(rows, rotated, full, size) for rows in (query_rows, key_rows)])
    return (scope.unit("rotary", "rotary", forward, backward),)


def _rotate(rows: int, rotated: int, full: int, size: int) -> MemoryPass | MemoryChain:
    """x cos, -x2, (-x2, x1), * sin, sum; a partial rotation is joined with the rest of the head."""
    turn: list[Kernel] = [
        ("strided", size, size),
        ("strided", size / 2, size / 2),
        ("concat", size, size),
        ("strided", size, size),
        ("strided", 2 * size, size),
    ]
    work = chain(rows * rotated, *turn)
    return work if rotated == full else chains(work, chain(rows * full, ("concat", size, size)))


def _rotate_backward(rows: int, rotated: int, full: int, size: int) -> MemoryPass | MemoryChain:
    """Gradients of both products; each half (and each part of a partial rotation) is written into zeros and added up."""
    half: list[Kernel] = [("fill", 0, size), ("strided", size / 2, size / 2)]
    turn: list[Kernel] = [
        ("strided", size, size),
        ("strided", size / 2, size / 2),
        *half,
        *half,
        ("elementwise", 2 * size, size),
        ("strided", size, size),
        ("elementwise", 2 * size, size),
    ]
    work = chain(rows * rotated, *turn)
    if rotated == full:
        return work
    share = rotated / full
    parts: list[Kernel] = [
        ("fill", 0, size),
        ("strided", size * (1 - share), size * (1 - share)),
        ("fill", 0, size),
        ("strided", size * share, size * share),
        ("elementwise", 2 * size, size),
    ]
    return chains(work, chain(rows * full, *parts))
