"""So few tokens reach each expert that its product waits for weights.

Of E experts each token visits k, so that an expert sees b s k / E rows of a micro-batch. Every weight read from memory does one
multiply-add a row; below peak FLOP/s x bytes a weight / (2 x bandwidth) rows, 206 on an H200 with bf16 and 201 on an A100 of 40 GB, the
tensor cores wait for weights. A dense MLP sees all b s rows and is far from that point; 128 experts of which a token visits 8 see a
sixteenth.

**Fix.** A larger micro-batch that fits the memory, compared per token (and in training at an equal global batch). A longer sequence or
experts spread over more replicas (`expert_parallel`), which brings each expert the tokens of all of them, help as well.

**Caution.** The mean of all experts: uneven routing starves some and makes the fullest late.

**Paper.** Not in it: its models have no experts. Sections V and VI-B, products of low arithmetic intensity are bound by memory, b as
large as possible.

**Where it holds.** Every GPU; training and forward passes. Prefill and decode are left out, as in SW501: how many requests run together
is what traffic and latency leave. Only where somebody chose the micro-batch: the default one is nobody's fault.

**Measured.** H200, one layer of Qwen3-30B-A3B forward at s = 2048, per token against micro-batch 8: 14.1 % ± 8.0 more at 2 and 5.0 ± 4.4
at 4, where 6.4 and 2.2 are predicted; at 1, and at s = 256, the host sets the pace (`docs/measuring.md`). Plain products of few rows are
predicted from 225,000 of an H200 (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import load_dtype
from ..batches import larger_batches
from ..case import Case
from ..change import Fault


def check(case: Case) -> Iterator[Fault]:
    """Experts with fewer rows than the GPU's FLOPs per byte ask for."""
    moe, workload = case.shape.moe, case.workload
    if moe is None or workload.phase in ("prefill", "decode"):
        return
    rows = workload.num_tokens * moe.num_experts_per_tok * workload.expert_parallel / moe.num_experts
    needed = rows_needed(case)
    if rows >= needed:
        return
    changes = larger_batches(case)
    if changes:
        yield Fault(
            field="micro_batch", value=workload.micro_batch,
            message=f"micro_batch {workload.micro_batch} gives each of {moe.num_experts} experts {rows:.0f} rows: "
            f"below {needed:.0f} its products wait for their weights",
            changes=changes,
        )  # fmt: skip


def rows_needed(case: Case) -> float:
    """Rows at which a product's FLOPs take as long as reading its weights: peak x bytes a weight / (2 x bandwidth)."""
    gpu, dtype = case.machine.gpu, case.now.dtype
    return gpu.peak_flops_per_s(dtype) * load_dtype(dtype).size_bytes / (2 * gpu.memory_bytes_per_s)
