"""The width of the experts is no multiple of what the tensor cores load at once.

An expert is an MLP of its own width, `moe_intermediate_size`; all experts of a layer run as one grouped product whose weights have rows
of that many elements (or of its share of t GPUs). Rows that do not begin on 16 bytes, 8 elements of bf16, leave the fast kernels, as in
any other product; models with experts that every token visits have a second such width, `shared_expert_intermediate_size`.

**Fix.** The nearest multiples of 64 for each GPU (of 32, 16 or 8 where the experts are narrow), compared at equal work: a narrower expert
is no gain by being narrower. Where the shared experts are as wide as several routed ones (DeepSeek), both widths move together.

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
    """Widths of routed and shared experts that are misaligned on a GPU; one fault where the shared width follows from the routed one."""
    moe = case.shape.moe
    if moe is None:
        return
    routed, shared = moe.moe_intermediate_size, moe.shared_expert_intermediate_size
    is_shared = _is_misaligned(case, shared)
    times = shared // routed if is_shared and _is_misaligned(case, routed) and shared % routed == 0 else 0
    if _is_misaligned(case, routed):
        yield _fault(case, "moe_intermediate_size", routed, times)
    if is_shared and not times:
        yield _fault(case, "shared_expert_intermediate_size", shared, 0)


def _is_misaligned(case: Case, width: int) -> bool:
    """Whether a GPU's share of the width is off the vectors."""
    return ceil_div(width, case.workload.tensor_parallel) % case.vector != 0


def _fault(case: Case, field: str, width: int, times: int) -> Fault:
    """A misaligned width; `times`: the shared experts are as wide as that many routed ones, and move along."""
    size = case.workload.tensor_parallel
    share = ceil_div(width, size)
    where = f"is {divisibility(width, case.vector)}" if size == 1 else f"leaves {share} a GPU, {divisibility(share, case.vector)}"
    return Fault(
        field=field, value=width, message=f"{field} {width} {where}: the experts' products leave the tensor cores' fast path",
        changes=tuple(_changed(field, better, times) for better in neighbours(width, parts=size)),
    )  # fmt: skip


def _changed(field: str, width: int, times: int) -> Change:
    """The width, and with it that of the shared experts."""
    shared = (("shared_expert_intermediate_size", times * width),) if times else ()
    return Change(model=((field, width), *shared), compare="equal_work")
