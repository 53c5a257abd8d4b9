"""The micro-batch is smaller than what the memory holds, and a larger one is cheaper per token.

Products of few rows read their weights for few tokens and fill the GPU badly, every kernel has a fixed time, and each pass of a smaller
micro-batch adds its gradients to the sum once more. All of this is shared by more tokens in a larger micro-batch.

The price is per token. In training both sides take the same global batch, so that the optimizer counts alike: a larger micro-batch means
fewer passes of gradient accumulation.

**Fix.** Twice and four times the micro-batch, and as many doublings as the memory holds.

**Caution.** In training without gradient accumulation a larger micro-batch is a larger global batch, which the optimizer sees. Memory is
counted without fragmentation and the CUDA context.

**Paper.** Section VI-B: b as large as possible.

**Where it holds.** Every GPU. The rule speaks only of a micro-batch that somebody chose, in a flag or in the training configuration; the
default of this program is nobody's fault. Prefill and decode are left out: how many requests run together is what traffic and latency
leave, and every token of a larger batch comes later. Where SW402 speaks of experts that the same micro-batch starves, it is silent.

**Measured.** H200, a training step of Llama-3.2-1B at s = 1024 in eager mode with fused AdamW, per token against micro-batch 8: 9.5 % ± 9.1
more at 4 (8.3 predicted); at 2 and 1 the host sets the pace, 42.8 and 72.5 % more (`docs/measuring.md`). There the optimizer runs once a
step; the rule's own price counts it alike on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..batches import larger_batches
from ..case import Case
from ..change import Fault

YIELDS_TO = ("SW402",)
CAUTION = "without gradient accumulation the optimizer sees a larger global batch"


def check(case: Case) -> Iterator[Fault]:
    """A chosen micro-batch that can be doubled."""
    workload = case.workload
    if workload.phase in ("prefill", "decode"):
        return
    changes = larger_batches(case, CAUTION if workload.is_training else "")
    if changes:
        most = dict(changes[-1].workload)["micro_batch"]
        yield Fault(
            field="micro_batch", value=workload.micro_batch,
            message=f"micro_batch {workload.micro_batch} shares each pass among {workload.num_tokens} tokens, "
            f"where {most} sequences fit the {case.machine.gpu.memory_bytes / 1e9:.0f} GB of {case.machine.gpu.name}",
            changes=changes,
        )  # fmt: skip
