"""How things divide over GPUs: the nearest counts that do, and changes of heads, key/value heads and tensor-parallel sizes that make them.

A split that does not divide is rounded up (`operators.scope`): the fullest GPU sets the pace, and the others wait for it. Groups of GPUs
that are offered can be formed: whole shares of a node, and of the job where its number of GPUs is set. Counts of things and of GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..operators.memory import memory_use
from ..units import ceil_div
from ..workload import Workload
from .case import Case
from .change import FEWER_HEADS, RETRAINED, Change, Value
from .whole_heads import has_plain_heads, head_step

FEWER_KV_HEADS = "fewer key/value heads may cost accuracy"
ALIGNED_TOO = "head_dim becomes aligned too, which the price holds"


def divisors_near(value: int, size: int, is_possible: Callable[[int], bool] = lambda _: True) -> tuple[int, ...]:
    """The largest possible divisor of `value` below `size`, and the smallest above it within twice its size."""
    whole = [each for each in range(1, 2 * size + 1) if value % each == 0 and is_possible(each)]
    return (*[each for each in whole if each < size][-1:], *[each for each in whole if each > size][:1])


def is_group(case: Case, size: int) -> bool:
    """Whether `size` GPUs can share each layer: they divide a node's GPUs, or are a power of two of them, and leave the job's number."""
    node, is_power = case.machine.node, size & (size - 1) == 0
    is_share = is_power if node is None else node.gpus_per_node % size == 0 or (is_power and size <= node.gpus_per_node)
    return is_share and keeps_gpus(case, size, case.workload.pipeline_parallel)


def keeps_gpus(case: Case, tensor_parallel: int, pipeline_parallel: int) -> bool:
    """Whether replicas of that many GPUs make up the job's; its number is set where there are replicas or several nodes."""
    node, asked = case.machine.node, case.workload
    is_set = asked.data_parallel > 1 or (node is not None and asked.num_gpus > node.gpus_per_node)
    return not is_set or asked.num_gpus % (tensor_parallel * pipeline_parallel) == 0


def fits(case: Case, workload: Workload) -> bool:
    """Whether the model fits the memory of each GPU under `workload`."""
    return memory_use(case.shape, workload).total <= case.machine.gpu.memory_bytes


def split_changes(case: Case) -> tuple[Change, ...]:
    """Ways out of heads that do not divide over the GPUs asked for: what sets the price, other sizes of the group, other shapes."""
    more, *others = head_changes(case, case.workload.tensor_parallel)
    shape = case.shape
    keys = shape.num_attention_heads if shape.latent_attention or shape.num_key_value_heads == 1 else shape.num_key_value_heads
    return (more, *size_alternatives(case, math.gcd(shape.num_attention_heads, keys)), *others)


def heads_in_words(case: Case) -> str:
    """How the heads lie on t GPUs where they do not divide."""
    heads, size = case.shape.num_attention_heads, case.workload.tensor_parallel
    most = ceil_div(heads, size)
    idle = most * size - heads
    return f"the fullest GPU holds {most} heads, as if the model had {heads + idle}"


def head_changes(case: Case, size: int, *, at: int | None = None) -> Iterator[Change]:
    """More heads of the same head_dim, as many as the fullest of `size` GPUs makes room for, the residual stream as it is: the price.

    Beside it a residual stream moved along, and fewer heads, which save for other reasons too. Key/value heads divide as well; a head_dim
    off the vectors is offered aligned. `at` compares both models over that many GPUs instead of those asked for.
    """
    shape = case.shape
    is_plain = has_plain_heads(shape)
    head_dim = shape.head_dim if shape.latent_attention else _aligned(shape.head_dim, head_step(case))
    kept: tuple[tuple[str, Value], ...] = (("head_dim", head_dim),) if is_plain or head_dim != shape.head_dim else ()
    caution = RETRAINED if head_dim == shape.head_dim else f"{RETRAINED}; {ALIGNED_TOO}"
    more = ceil_div(shape.num_attention_heads, size) * size
    fewer = more - size
    keys = shared_heads(case, more, size)
    yield _even(("num_attention_heads", more), *kept, *keys, at=at, caution=caution)
    if is_plain:
        yield _even(("num_attention_heads", more), ("hidden_size", more * head_dim), *keys, at=at, caution=caution, is_alternative=True)
    if fewer:
        keys = shared_heads(case, fewer, size)
        yield _even(("num_attention_heads", fewer), *kept, *keys, at=at, caution=f"{caution}; {FEWER_HEADS}", is_alternative=True)


def _aligned(head_dim: int, step: int) -> int:
    """The multiple of `step` nearest to a head_dim."""
    return max(1, round(head_dim / step)) * step


def shared_heads(case: Case, heads: int, size: int) -> tuple[tuple[str, Value], ...]:
    """Key/value heads where those there are do not divide over `size` GPUs or cannot serve `heads` query heads.

    The whole number nearest to what the GPUs hold anyway. A lone key/value head (multi-query attention) stays: every GPU has a copy of
    it in any case, which is SW303's to speak of.
    """
    shared = case.shape.num_key_value_heads
    is_shared = shared < case.shape.num_attention_heads and not case.shape.latent_attention
    if not is_shared or (heads % shared == 0 and (shared % size == 0 or shared == 1)):
        return ()
    held = ceil_div(shared, size) * size
    return (("num_key_value_heads", min(_whole_shares(heads, size), key=lambda each: abs(each - held))),)


def _whole_shares(heads: int, size: int) -> list[int]:
    """Numbers of key/value heads that divide over `size` GPUs and serve whole numbers of `heads` query heads."""
    return [each for each in range(size, heads + 1, size) if heads % each == 0]


def _even(*model: tuple[str, Value], at: int | None, caution: str, is_alternative: bool = False) -> Change:
    change = Change(model=model, compare="equal_params", caution=caution, is_alternative=is_alternative)
    return change if at is None else over(change, at)


def key_value_changes(case: Case, size: int, *, at: int | None = None) -> Iterator[Change]:
    """The nearest numbers of key/value heads that divide over `size` GPUs and serve whole numbers of query heads."""
    shape = case.shape
    whole = _whole_shares(shape.num_attention_heads, size)
    above = [each for each in whole if each > shape.num_key_value_heads][:1]
    below = [each for each in whole if each < shape.num_key_value_heads][-1:]
    for heads in above:
        yield _even(("num_key_value_heads", heads), at=at, caution=RETRAINED)
    for heads in below:
        yield _even(("num_key_value_heads", heads), at=at, caution=f"{RETRAINED}; {FEWER_KV_HEADS}", is_alternative=bool(above))


def over(change: Change, size: int) -> Change:
    """`change` compared over `size` tensor-parallel GPUs."""
    return replace(change, workload=(("tensor_parallel", size),), against=(("tensor_parallel", size),))


def size_alternatives(case: Case, value: int) -> Iterator[Change]:
    """Tensor-parallel sizes near the one asked for that divide `value`, where the model fits; the linter drops those that save nothing."""
    for size in divisors_near(value, case.workload.tensor_parallel, lambda each: is_group(case, each)):
        if fits(case, replace(case.workload, tensor_parallel=size)):
            yield Change(workload=(("tensor_parallel", size),), is_alternative=True)
