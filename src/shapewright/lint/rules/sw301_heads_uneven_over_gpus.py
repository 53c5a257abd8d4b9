"""The attention heads do not divide by the tensor-parallel size.

Tensor parallelism gives every GPU a/t whole heads. Where t does not divide a, some GPUs hold one head more than others, and at the
all-reduce that follows all wait for the fullest: 71 heads on 8 GPUs take as long as 72. Megatron-LM and vLLM refuse such a split.

The price is what the idle places could hold: the step beside that of a model whose heads divide, at an equal number of parameters. A
tensor-parallel size that divides is named beside it where it saves GPU-seconds per token; that saving holds its cheaper communication too
and is no part of the price.

**Fix.** Heads that divide, with head_dim kept: hidden_size stays and the width of all heads together moves, or hidden_size moves along.
Key/value heads that do not divide move too, and a head_dim that is no multiple of 8 becomes one: then the price holds the copies of the
former and what attention gains by the latter. Or a tensor-parallel size that divides the heads there are and a node's GPUs, or that is a
power of two; where the job has replicas or several nodes, one of which replicas make up its number of GPUs.

**Caution.** Fewer heads may cost accuracy. Trained weights keep their heads: for them there is only another tensor-parallel size.

**Paper.** Section VI-B asks that (b a)/t be an integer, section VII-A shows 32 heads failing on six GPUs. Where even (b a)/t is none,
SW302 speaks instead.

**Where it holds.** Every GPU and library: it is arithmetic. Engines that pad heads with zeros pay the same.

**Measured.** Nothing: the frameworks that could be timed refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..splits import heads_in_words, split_changes


def check(case: Case) -> Iterator[Fault]:
    """Heads that do not divide over the GPUs, though the micro-batch's heads together do."""
    heads, size = case.shape.num_attention_heads, case.workload.tensor_parallel
    if heads % size == 0 or heads * case.workload.micro_batch % size:
        return
    yield Fault(
        field="num_attention_heads", value=heads,
        message=f"num_attention_heads {heads} does not divide by tensor_parallel {size}: {heads_in_words(case)}",
        changes=split_changes(case),
    )  # fmt: skip
