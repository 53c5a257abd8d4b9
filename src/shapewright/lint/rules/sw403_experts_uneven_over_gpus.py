"""The experts do not divide by the expert-parallel size.

With expert parallelism each replica holds E/ep whole experts. Where ep does not divide E some GPUs hold one more: they get more rows, and
at the exchange that brings the rows back all wait for them. 60 experts over 8 GPUs are 8 on four of them and 7 on the others.

The price is the step beside that of a model whose experts divide, whose tokens visit as many experts as before. Expert-parallel sizes
that divide are named beside it where they save GPU-seconds per token; that saving holds their other communication too and is no part of
the price.

**Fix.** A number of experts that divides, or an expert-parallel size that divides the experts there are (and the replicas).

**Caution.** Another number of experts is a new shape to train. Engines that place copies of busy experts on spare places (as DeepSeek-V3
does) use what is uneven here.

**Paper.** Not in it: its models have no experts. It follows from section VI-B's rule on heads over GPUs.

**Where it holds.** Every GPU and library: it is arithmetic, with tokens spread evenly over the experts.

**Measured.** Nothing on several GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import RETRAINED, Change, Fault
from ..splits import divisors_near
from ..widths import multiples


def check(case: Case) -> Iterator[Fault]:
    """Replicas that hold different numbers of experts."""
    moe, size = case.shape.moe, case.workload.expert_parallel
    if moe is None or moe.num_experts % size == 0:
        return
    most = ceil_div(moe.num_experts, size)
    yield Fault(
        field="num_experts", value=moe.num_experts,
        message=f"num_experts {moe.num_experts} does not divide by expert_parallel {size}: the fullest GPU holds {most}, "
        f"{100 * (most * size / moe.num_experts - 1):.1f} % above the mean",
        changes=tuple(_changes(moe.num_experts, size, case.workload.data_parallel)),
    )  # fmt: skip


def _changes(experts: int, size: int, replicas: int) -> Iterator[Change]:
    for value in multiples(experts, size):
        yield Change(model=(("num_experts", value),), caution=RETRAINED)
    for each in divisors_near(experts, size, lambda each: replicas % each == 0):
        yield Change(workload=(("expert_parallel", each),), is_alternative=True)
