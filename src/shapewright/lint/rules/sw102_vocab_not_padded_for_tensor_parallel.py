"""The vocabulary does not split into aligned shares over the tensor-parallel GPUs.

Tensor parallelism gives each of t GPUs ceil(vocab_size / t) columns of the logits. A vocabulary that suits the tensor cores whole need
not do so in parts: 50264 is a multiple of 8, but an eighth of it, 6283, is odd, and all three products of the logits fall back to a
slower kernel. Where t does not divide it, some GPUs wait for those with a column more. Megatron-LM therefore pads by itself, to multiples
of `make-vocab-size-divisible-by` x t (128 x t); padding the config says what will run, and gives every t the same table.

**Fix.** The next multiple of 64 x t: padding, which changes nothing that the model computes.

**Paper.** Section VI-B: the vocabulary divisible by 64, and widths per GPU by powers of two up to 64.

**Where it holds.** Every GPU with tensor or matrix cores, in eager PyTorch and frameworks that do not pad by themselves. `torch.compile`
pads most misaligned products, at the cost of a copy. A share that is a multiple of 8 elements of 16 bits, but not of 64, costs nothing to
be seen on an H200: there the rule is silent.

**Measured.** Shares as such were not measured. The product of one share is that of a vocabulary of its size: on an H200 (PyTorch 2.11,
CUDA 13) products at odd n take 5 to 8 times, at multiples of 2 and 4 alike 2.7 to 3.6 times, at multiples of 8 as long as at multiples of
64 (`docs/measuring.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import Change, Fault
from ..widths import STEPS, divisibility, padded

YIELDS_TO = ("SW101",)


def check(case: Case) -> Iterator[Fault]:
    """A vocabulary that is aligned itself, but not in its shares."""
    vocab, parts = case.shape.vocab_size, case.workload.tensor_parallel
    if parts == 1 or not case.shape.has_lm_head or vocab % case.vector or vocab % (STEPS[0] * parts) == 0:
        return
    share = ceil_div(vocab, parts)
    if share % case.vector:
        fault = f"the fullest GPU's share {share} is {divisibility(share, case.vector)}"
    elif vocab % parts:
        fault = f"shares of up to {share} columns are uneven"
    else:
        fault = f"the share {share} is {divisibility(share, STEPS[0])}, not of {STEPS[0]}"
    yield Fault(
        field="vocab_size", value=vocab, message=f"vocab_size {vocab} over {parts} GPUs: {fault}",
        changes=(Change(model=(("vocab_size", padded(vocab, parts=parts)),), is_safe=True),),
    )  # fmt: skip
