"""The width of the experts is no multiple of what the tensor cores load at once.

An expert is an MLP of its own width, `moe_intermediate_size`; all experts of a layer run as one grouped product whose weights have rows
of that many elements (or of its share of t GPUs). Rows that do not begin on 16 bytes, 8 elements of bf16, leave the fast kernels, as in
any other product; models with experts that every token visits have a second such width, `shared_expert_intermediate_size`.

**Fix.** The nearest multiples of 64 for each GPU (of 32, 16 or 8 where the experts are narrow), compared at equal work: a narrower expert
is no gain by being narrower.

**Caution.** PyTorch's own grouped product refuses rows that do not begin on 16 bytes ("strides should be multiple of 16 bytes"): such a
model runs expert by expert, or not at all. Trained widths can be padded with zeros, which leaves the function as it is, by an engine that
does so.

**Paper.** Section VI-B's rule for widths, which it states for h/t and the MLP; its models have no experts.

**Where it holds.** Every GPU with tensor or matrix cores on which misaligned products lose time.

**Measured.** H200, a layer of Qwen3-30B-A3B: experts of 760 cost nothing that could be told from noise beside 768 (1.2 % +-4.3), since
both are multiples of 8; experts of 767 do not run. Plain products with n or k odd take 5 to 8 times, with multiples of 2 and 4 2.7 to 3.7
times as long as with multiples of 8 (`docs/measuring.md`); grouped products are predicted to lose as much.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import Change, Fault
from ..widths import divisibility, neighbours


def check(case: Case) -> Iterator[Fault]:
    """Widths of routed and shared experts that are misaligned on a GPU."""
    moe, size = case.shape.moe, case.workload.tensor_parallel
    if moe is None:
        return
    for field in ("moe_intermediate_size", "shared_expert_intermediate_size"):
        width = getattr(moe, field)
        share = ceil_div(width, size)
        if width and share % case.vector:
            where = f"is {divisibility(width, case.vector)}" if size == 1 else f"is {share} a GPU, {divisibility(share, case.vector)}"
            better = neighbours(width, parts=size)
            changes = tuple(Change(model=((field, value),), compare="equal_work") for value in better)
            message = f"{field} {width} {where}: the experts' products leave the tensor cores' fast path"
            yield Fault(field=field, value=width, message=message, changes=changes)
