"""How things divide over GPUs: the nearest counts that do, and changes of heads, key/value heads and tensor-parallel sizes that make them.

A split that does not divide is rounded up (`operators.scope`): the fullest GPU sets the pace, and the others wait for it. Counts of things
and of GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..operators.memory import memory_use
from ..units import ceil_div
from ..workload import Workload
from .case import Case
from .change import FEWER_HEADS, RETRAINED, Change, Value
from .whole_heads import has_plain_heads

FEWER_KV_HEADS = "fewer key/value heads may cost accuracy"


def multiples(value: int, parts: int) -> tuple[int, ...]:
    """The nearest multiples of `parts` above and below `value`, the nearer first."""
    above = ceil_div(value, parts) * parts
    near = {each for each in (above, above - parts) if each > 0 and each != value}
    return tuple(sorted(near, key=lambda each: (abs(each - value), -each)))


def divisors_near(value: int, size: int) -> tuple[int, ...]:
    """The largest divisor of `value` below `size`, and the smallest above it within twice its size."""
    below = [each for each in range(1, size) if value % each == 0][-1:]
    above = [each for each in range(size + 1, 2 * size + 1) if value % each == 0][:1]
    return (*below, *above)


def fits(case: Case, workload: Workload) -> bool:
    """Whether the model fits the memory of each GPU under `workload`."""
    return memory_use(case.shape, workload).total <= case.machine.gpu.memory_bytes


def split_changes(case: Case) -> tuple[Change, ...]:
    """Ways out of heads that do not divide over the GPUs asked for: what sets the price, other sizes of the group, other shapes."""
    more, *others = head_changes(case, case.workload.tensor_parallel)
    return (more, *size_alternatives(case, case.shape.num_attention_heads), *others)


def heads_in_words(case: Case) -> str:
    """How the heads lie on t GPUs where they do not divide."""
    heads, size = case.shape.num_attention_heads, case.workload.tensor_parallel
    most = ceil_div(heads, size)
    idle = most * size - heads
    return f"the fullest GPU holds {most} heads, as if the model had {heads + idle}"


def head_changes(case: Case, size: int, *, at: int | None = None) -> Iterator[Change]:
    """More heads of the same head_dim, as many as the fullest of `size` GPUs makes room for, the residual stream as it is: the price.

    Beside it a residual stream moved along, and fewer heads, which save for other reasons too. `at` compares both models over that many
    GPUs instead of those asked for.
    """
    shape = case.shape
    is_plain = has_plain_heads(shape)
    kept: tuple[tuple[str, Value], ...] = (("head_dim", shape.head_dim),) if is_plain else ()
    more = ceil_div(shape.num_attention_heads, size) * size
    fewer = more - size
    yield _even(("num_attention_heads", more), *kept, *_shared_heads(case, more, size), at=at, caution=RETRAINED)
    if is_plain:
        yield _even(("num_attention_heads", more), ("hidden_size", more * shape.head_dim), at=at, caution=RETRAINED, is_alternative=True)
    if fewer:
        caution = f"{RETRAINED}; {FEWER_HEADS}"
        yield _even(("num_attention_heads", fewer), *kept, at=at, caution=caution, is_alternative=True)


def _shared_heads(case: Case, heads: int, size: int) -> tuple[tuple[str, Value], ...]:
    """Key/value heads where those there are cannot serve `heads` query heads: the whole number nearest to what the GPUs hold anyway."""
    shared = case.shape.num_key_value_heads
    is_shared = shared < case.shape.num_attention_heads and not case.shape.latent_attention
    if not is_shared or heads % shared == 0:
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
    for size in divisors_near(value, case.workload.tensor_parallel):
        if fits(case, replace(case.workload, tensor_parallel=size)):
            yield Change(workload=(("tensor_parallel", size),), is_alternative=True)
