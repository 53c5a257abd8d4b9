"""Other numbers of heads at equal width, and the sizes that fused attention has kernels for.

Heads are traded as (num_attention_heads, head_dim) of the same product, q_size, so that every projection, and the cache of keys and values,
keeps its size; sizes in elements. `heads.toml` holds the head sizes that measured layers do not tell apart.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path

from ..hardware.gpu import Gpu
from ..hardware.profile import AttentionRate
from ..operators.types import FlashAttention
from ..predict.attention import flash_kernel, has_backward, head_rate
from ..shape import ModelShape
from .case import Case
from .change import FEWER_HEADS, Change, Comparison, Value
from .whole_heads import has_plain_heads

FILE = Path(__file__).with_name("heads.toml")
#: Head sizes that are proposed; wider ones have no fused kernel in most libraries.
LARGEST_HEAD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedHeads:
    """What a head runs as in the fused kernels of a step (forward and, in training, backward), and the sizes that there are kernels for."""

    runs_as: tuple[int, ...]
    sizes: frozenset[int]


def head_pairs(shape: ModelShape, tensor_parallel: int, *, multiple: int) -> tuple[tuple[int, int], ...]:
    """Other (num_attention_heads, head_dim) of the same q_size, narrowest heads first, with head_dim in steps of `multiple`.

    Heads divide over the GPUs, and shared key heads (of which there are several) too; those keep kv_size.
    """
    sizes = [size for size in range(multiple, LARGEST_HEAD + 1, multiple) if size != shape.head_dim and shape.q_size % size == 0]
    pairs = [(shape.q_size // size, size) for size in sizes]
    return tuple(pair for pair in pairs if pair[0] % tensor_parallel == 0 and _keeps_keys(shape, *pair, tensor_parallel))


def _keeps_keys(shape: ModelShape, heads: int, head_dim: int, tensor_parallel: int) -> bool:
    """Whether key heads of the new size make up the same kv_size, are shared evenly and divide over the GPUs; a single one stays single."""
    if shape.num_key_value_heads in (1, shape.num_attention_heads):
        return True
    keys, rest = divmod(shape.kv_size, head_dim)
    return rest == 0 and heads % keys == 0 == keys % tensor_parallel


def nearest_pairs(shape: ModelShape, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The pair with the next narrower head and that with the next wider one, up to half and twice as wide."""
    below = [pair for pair in pairs if shape.head_dim / 2 <= pair[1] < shape.head_dim][-1:]
    above = [pair for pair in pairs if shape.head_dim < pair[1] <= 2 * shape.head_dim][:1]
    return (*below, *above)


def with_heads(shape: ModelShape, heads: int, head_dim: int, *, field: str, compare: Comparison = "as_is") -> Change:
    """The change to other heads, `field` first, for a pair of `head_pairs`."""
    values: dict[str, Value] = {"head_dim": head_dim, "num_attention_heads": heads}
    if has_plain_heads(shape) and field != "head_dim":
        del values["head_dim"]  # follows from the number of heads, and most configs do not hold it
    if 1 < shape.num_key_value_heads < shape.num_attention_heads:
        values["num_key_value_heads"] = shape.kv_size // head_dim
    ordered = sorted(values.items(), key=lambda each: each[0] != field)
    caution = FEWER_HEADS if heads < shape.num_attention_heads else ""
    return Change(model=tuple(ordered), compare=compare, caution=caution)


def resized(head_dim: int) -> Change:
    """As many heads of another size, for models whose heads are no share of hidden_size; compared at equal work."""
    return Change(model=(("head_dim", head_dim),), compare="equal_work")


def has_own_head_dim(shape: ModelShape) -> bool:
    """Whether head_dim is a choice of its own rather than hidden_size / num_attention_heads."""
    return not has_plain_heads(shape)


def fused_heads(case: Case) -> FusedHeads:
    """Kernels for the head size of a case, whether or not its attention is fused."""
    shape, workload, rates = case.shape, case.workload, case.machine.profile.attention
    call = FlashAttention(
        batch=workload.micro_batch, num_heads=shape.num_attention_heads, num_kv_heads=shape.num_key_value_heads,
        query_len=workload.query_len, kv_len=workload.kv_len, qk_head_dim=shape.qk_head_dim, v_head_dim=shape.v_head_dim,
        dtype=case.now.dtype, is_causal=shape.kind == "decoder", window=shape.window(shape.layer_kinds[0].attention),
    )  # fmt: skip
    calls = (call, replace(call, is_backward=True)) if workload.is_training else (call,)
    runs_as, sizes = zip(*(_kernel_sizes(each, rates) for each in calls), strict=True)
    shared = frozenset.intersection(*sizes)
    return FusedHeads(runs_as=runs_as, sizes=shared or frozenset(chain(*sizes)))


def _kernel_sizes(call: FlashAttention, rates: AttentionRate) -> tuple[int, frozenset[int]]:
    """The size of the kernel that a call runs on, and those of its like."""
    if call.is_backward and not has_backward(rates):
        return head_rate(call.qk_head_dim, rates.heads).head_dim, frozenset(head.head_dim for head in rates.heads)
    own, library = flash_kernel(call, rates), rates.kernels[0].library
    like = (library, own.use, own.is_windowed)
    sizes = frozenset(each.head_dim for each in rates.kernels if (each.library, each.use, each.is_windowed) == like)
    return own.head_dim, sizes or frozenset((own.head_dim,))


def are_alike(head_dim: int, other: int, gpu: Gpu) -> bool:
    """Whether whole layers of this GPU with fused attention measured the same at both head sizes (or at sizes around them)."""
    low, high = _alike().get(gpu.name, (0, -1))
    return low <= min(head_dim, other) and max(head_dim, other) <= high


@cache
def _alike() -> dict[str, tuple[int, int]]:
    """GPU -> smallest and largest of the head sizes that are alike."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {gpu: (min(entry["head_dims"]), max(entry["head_dims"])) for gpu, entry in table.items()}
