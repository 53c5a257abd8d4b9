"""The key/value heads do not divide by the tensor-parallel size, so GPUs keep copies.

A query head needs its key/value head on the same GPU. Eight key/value heads over 16 GPUs are therefore 16: each GPU makes, caches and, in
decode, reads a whole one. The copies' weights, their gradients and the KV cache cost memory and time that a model with as many heads as
GPUs would use.

The price is what the copies could be: the step beside that of a model with as many key/value heads as there are copies, at an equal
number of parameters. In decode over long contexts, where copies of the cache are read, the copies cost more than that; what a smaller
group saves there, cheaper communication included, is shown with the fix and is no part of the price.

**Fix.** For a new model, as many key/value heads as GPUs. Else the largest tensor-parallel size that divides them and that a node's GPUs
can form, with replicas or pipeline stages on the other GPUs.

**Caution.** A smaller group makes the single token slower. Fewer key/value heads may cost accuracy.

**Paper.** Not in it: its models have as many key/value heads as heads. It follows from section VI-B's rule on heads over GPUs.

**Where it holds.** Every GPU; vLLM copies heads so where t is a multiple of them and refuses other sizes.

**Measured.** Nothing over several GPUs. The bytes of the cache are counted exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import Fault
from ..splits import key_value_changes, size_alternatives


def check(case: Case) -> Iterator[Fault]:
    """Key/value heads of which GPUs keep copies; heads that do not divide themselves are another rule's."""
    shape, size = case.shape, case.workload.tensor_parallel
    heads = shape.num_key_value_heads
    if shape.latent_attention or heads % size == 0 or shape.num_attention_heads % size:
        return
    each = ceil_div(heads, size)
    yield Fault(
        field="num_key_value_heads", value=heads,
        message=f"num_key_value_heads {heads} does not divide by tensor_parallel {size}: each GPU keeps {each}, "
        f"so that {each * size} are made, cached and read",
        changes=(*key_value_changes(case, size), *size_alternatives(case, heads)),
    )  # fmt: skip
