"""The heads of all sequences together do not divide by the tensor-parallel size.

Scores and attention over values are (b a)/t independent matrix products on each GPU. Where that is no whole number there is no even split
at all, neither by heads nor by heads of all sequences of the micro-batch. Frameworks split by heads, since the weights that make queries,
keys and values lie by heads, so the fullest of t GPUs sets the pace as SW301 tells.

The price is that of SW301: the step beside that of a model whose heads divide, at an equal number of parameters.

**Fix.** Heads that divide, or a tensor-parallel size that divides the heads there are, both as in SW301. Another micro-batch would make
(b a)/t whole, but no framework splits that way.

**Caution.** Fewer heads may cost accuracy. Trained weights keep their heads: for them there is only another tensor-parallel size.

**Paper.** Section VI-B: (b a)/t should be an integer. It can be one where a/t is none: then SW301 speaks.

**Where it holds.** Every GPU and library: it is arithmetic.

**Measured.** Nothing: the frameworks that could be timed refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..splits import heads_in_words, split_changes


def check(case: Case) -> Iterator[Fault]:
    """(b a)/t that is no integer."""
    heads, size, batch = case.shape.num_attention_heads, case.workload.tensor_parallel, case.workload.micro_batch
    if heads * batch % size == 0:
        return
    yield Fault(
        field="num_attention_heads", value=heads,
        message=f"num_attention_heads {heads} x micro_batch {batch} does not divide by tensor_parallel {size}: {heads_in_words(case)}",
        changes=split_changes(case),
    )  # fmt: skip
