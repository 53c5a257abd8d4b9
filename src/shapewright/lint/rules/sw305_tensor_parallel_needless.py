"""The model fits on fewer GPUs than share each layer.

Tensor parallelism buys memory and latency, and pays for them with two all-reduces a layer forward and two backward, during which nothing
is computed, and with products that are t times narrower. Where the weights, the optimizer's states and the activations of the same
micro-batch fit on a smaller group, the other GPUs do more as replicas.

The price compares GPU-seconds per token. In training both sides use the same GPUs and the same global batch: what leaves the group
becomes data-parallel, and the exchange of gradients that it then takes part in, and its own whole optimizer step, are counted.

**Fix.** The smallest tensor-parallel size at which the model fits, and the next ones above it.

**Caution.** In decode and prefill a smaller group answers later: this is a price for throughput, not for latency. A replica more
multiplies the global batch unless the micro-batches of each become fewer.

**Paper.** Section VI-B: t as small as possible. Its evidence, Figure 16, is an artefact: run times in its log are the same for all t, and
FLOPs divided by t make a curve that falls as 1/t. The real QKV product keeps 244, 229, 243 and 232 TFLOP/s at h = 8192 for t = 1, 2, 4
and 8 on an A100. The advice holds for the communication, not for the products.

**Where it holds.** Every GPU. Communication is predicted as not overlapped with computation; sequence parallelism and overlap make the
price smaller.

**Measured.** Nothing on several GPUs here. Collectives are predicted from published NCCL measurements, all-reduce, all-gather and
reduce-scatter to 5.4 % held out (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...operators.memory import memory_use
from ...workload import Workload
from ..case import Case
from ..change import Change, Fault
from ..splits import fits, is_group

LATENCY = "a price for throughput: a smaller group answers later"
REPLICAS = "the other GPUs become replicas of the same global batch"


def check(case: Case) -> Iterator[Fault]:
    """A tensor-parallel group larger than the memory asks for."""
    workload = case.workload
    size = workload.tensor_parallel
    if size == 1:
        return
    heads = case.shape.num_attention_heads
    smaller = [each for each in range(1, size) if size % each == 0 and heads % each == 0 and is_group(case, each)]
    changes = [change for each in smaller if (change := _change(case, each)) is not None]
    if changes:
        least = dict(changes[0].workload)["tensor_parallel"]
        need = memory_use(case.shape, replace(workload, **dict(changes[0].workload))).total  # type: ignore[arg-type]
        yield Fault(
            field="tensor_parallel", value=size,
            message=f"tensor_parallel {size} is more than the memory asks for: with {least} each GPU holds {need / 1e9:.1f} of "
            f"the {case.machine.gpu.memory_bytes / 1e9:.0f} GB of {case.machine.gpu.name}, and the GPUs exchange less",
            changes=tuple(changes),
        )  # fmt: skip


def _change(case: Case, size: int) -> Change | None:
    """`size` GPUs a group, if the model fits them; in training the others are replicas, at an equal global batch."""
    workload = case.workload
    if not workload.is_training:
        change = Change(workload=(("tensor_parallel", size),), caution=LATENCY)
        return change if fits(case, replace(workload, tensor_parallel=size)) else None
    replicas = workload.data_parallel * workload.tensor_parallel // size
    whole = _global_batch(workload, replicas)
    fields = {"tensor_parallel": size, "data_parallel": replicas, "global_batch": whole}
    if whole is None or not fits(case, replace(workload, **fields)):
        return None
    return Change(workload=tuple(fields.items()), against=(("global_batch", whole),), caution=REPLICAS)


def _global_batch(workload: Workload, replicas: int) -> int | None:
    """The global batch of the comparison: the one asked for, or a micro-batch of each replica; None: it is no whole number of them."""
    least = workload.micro_batch * replicas
    if workload.global_batch is None:
        return least
    return None if workload.global_batch % least else workload.global_batch
