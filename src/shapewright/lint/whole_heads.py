"""Widths of the residual stream near the one there is, with heads that come out whole.

Where h = heads x head_dim, a new hidden_size needs new heads or a new head_dim. Of all splits of a width the one with the head_dim nearest
to the present one is taken; heads stay multiples of the key/value heads, and are multiples of the tensor-parallel size. Elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..shape import ModelShape
from .case import Case
from .change import FEWER_HEADS, Change

#: How far a width may lie from the present one, and a head_dim, as shares of them.
MAX_CHANGE, MAX_HEAD_CHANGE = 0.06, 0.25
#: Elements that a head_dim is offered in multiples of.
HEAD_STEP = 8


def hidden_changes(shape: ModelShape, *, step: int, parts: int = 1, most: int = 4, keeps_head_dim: bool = False) -> tuple[Change, ...]:
    """Changes of hidden_size to the nearest multiples of `step`, nearest first; heads that are independent of h stay as they are.

    `keeps_head_dim` leaves out widths whose heads would have another head_dim, which changes attention too.
    """
    changes: list[Change] = []
    for hidden in _multiples(shape.hidden_size, step):
        if len(changes) == most:
            break
        heads = best_heads(shape, hidden, parts=parts) if has_plain_heads(shape) else shape.num_attention_heads
        if heads and (not keeps_head_dim or not has_plain_heads(shape) or hidden == heads * shape.head_dim):
            changes.append(_change(shape, hidden, heads))
    return tuple(changes)


def _change(shape: ModelShape, hidden: int, heads: int) -> Change:
    """Heads are named only where they change."""
    new_heads = (("num_attention_heads", heads),) if heads != shape.num_attention_heads else ()
    caution = FEWER_HEADS if heads < shape.num_attention_heads else ""
    return Change(model=(("hidden_size", hidden), *new_heads), compare="equal_work", caution=caution)


def head_step(case: Case) -> int:
    """Elements that a head_dim is offered in multiples of: whole vectors of the tensor cores, and of what fused kernels take."""
    return math.lcm(HEAD_STEP, case.vector)


def has_plain_heads(shape: ModelShape) -> bool:
    """Whether the heads share out h exactly: head_dim = h / a."""
    return shape.head_dim * shape.num_attention_heads == shape.hidden_size and not shape.latent_attention


def best_heads(shape: ModelShape, hidden: int, *, parts: int = 1) -> int | None:
    """The number of heads that keeps head_dim nearest at width `hidden`; None where none leaves a head_dim close by in multiples of 8."""
    grouped = 1 if shape.num_key_value_heads == shape.num_attention_heads else shape.num_key_value_heads
    unit = math.lcm(grouped, parts)

    def distance(heads: int) -> float:
        return abs(math.log(hidden / heads / shape.head_dim))

    most = int(hidden / shape.head_dim * (1 + MAX_HEAD_CHANGE)) + 1
    whole = [heads for heads in range(unit, most + 1, unit) if hidden % (heads * HEAD_STEP) == 0]
    best = min(whole, key=distance, default=None)
    return best if best is not None and distance(best) <= math.log(1 + MAX_HEAD_CHANGE) else None


def _multiples(value: int, step: int) -> Iterator[int]:
    """Multiples of `step` within `MAX_CHANGE` of `value`, which is left out; nearest first."""
    low, high = math.ceil(value * (1 - MAX_CHANGE) / step), math.floor(value * (1 + MAX_CHANGE) / step)
    yield from sorted((each * step for each in range(max(1, low), high + 1) if each * step != value), key=lambda each: abs(each - value))
