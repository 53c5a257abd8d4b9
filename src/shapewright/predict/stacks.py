"""How a training stack runs the operators of a step: its host, its kernels, and what of its communication hides behind computation.

    layers = products x factor + attention x factor + memory-bound x factor + tensor-parallel collectives x factor
    host   = launches x host time a launch
    slot   = (layers^p + host^p)^(1/p) + the share of sharding collectives that shows
    step   = ((micro-batches + stages - 1) x slot + micro-batches x (logits x factor + embedding and loss x factor + sends)
              + gradients x factor + optimizer) x (1 + straggling x log2(nodes))

A slot joins GPU and host: where both take about as long, neither hides the other. The last stage sets the pace, with the head; the
bubble fills and drains the others, which have none. Constants are fitted to whole steps and stand in `hardware/stacks`, one file a stack.
Seconds; fields of `StepLoad` may be arrays with one entry a step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..hardware.profile import Spread
from ..operators.types import FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Operator
from ..shape import ModelShape
from ..workload import Workload
from .collectives import gpus_in_node
from .explanation import OperatorTime

FOLDER = Path(__file__).parent.parent / "hardware/stacks"
GPUS_PER_NODE = 8
#: Megatron-LM's fused scale-mask-softmax works on four matrices of scores at a time (megatron/fused_kernels, `batch_per_block`); other
#: counts run as separate kernels.
SOFTMAX_MATRICES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Constants of one training stack, fitted on the GPU architectures that `factors` names.

    `factors` multiply the time of `product`, `product_fp8`, `attention`, `memory`, `tensor` (tensor-parallel collectives), `edge`
    (embedding, head, loss) and `gradient` (the exchange over replicas; `gradient_crowded` where the rings of several groups share a
    node's adapters). `join` is p; `exposed` the share of ZeRO-3's collectives that computation does not hide; `straggling` the time added
    for each doubling of nodes; `unfused_softmax` the launches a layer that the fused softmax saves.
    """

    name: str
    factors: Mapping[str, Mapping[str, float]]
    launch_host_s: float
    join: float
    exposed: float
    straggling: float
    unfused_softmax: float
    is_ring_on_one_adapter: bool
    """Whether a ring of gradients crosses between nodes by one adapter, however many GPUs of a node it holds."""
    spread: Spread
    num_rows: int
    origin: str
    accuracy: Mapping[str, Any]

    def factor(self, architecture: str, kind: str) -> float:
        """The factor of one kind of work; an architecture that was not fitted takes those of the last one that was."""
        known = self.factors.get(architecture) or self.factors[list(self.factors)[-1]]
        return known[kind]


class StepLoad(NamedTuple):
    """One GPU's work: seconds of a micro-batch by kind, of the whole step (`gradient`, `optimizer`), counts and sizes."""

    product: Any
    product_fp8: Any
    attention: Any
    memory: Any
    tensor: Any
    head: Any
    edge: Any
    shard: Any
    send: Any
    gradient: Any
    gradient_crowded: Any
    optimizer: Any
    launches: Any
    unfused_layers: Any
    num_micro_batches: Any
    num_stages: Any
    num_nodes: Any
    adapters: Any
    """Network adapters that `gradient` is spread over: GPUs that a replica group has in a node, 1 where it has no other node."""


class StackTime(NamedTuple):
    """Seconds of a step: all of it, the GPU's work alone, the host's, and the bubble's share of the step."""

    time_s: Any
    gpu_s: Any
    host_s: Any
    bubble_s: Any


@lru_cache(maxsize=4)
def load_stack(name: str) -> Stack:
    """The constants of a stack that `Workload.stack` names."""
    data = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Stack(**{**data, "spread": Spread(low=data["spread"][0], high=data["spread"][1])})


def stack_time(load: StepLoad, stack: Stack, architecture: str) -> StackTime:
    """The time of a step from its load; vectorised."""
    factors = {kind: stack.factor(architecture, kind) for kind in FACTORS}
    layers = sum(factors[kind] * getattr(load, kind) for kind in ("product", "product_fp8", "attention", "memory", "tensor"))
    host = stack.launch_host_s * (load.launches + stack.unfused_softmax * load.unfused_layers)
    edge, shard = factors["product"] * load.head + factors["edge"] * load.edge, stack.exposed * load.shard
    gradient = factors["gradient"] * load.gradient + factors["gradient_crowded"] * load.gradient_crowded
    gradient = gradient * (load.adapters if stack.is_ring_on_one_adapter else 1)
    once = load.num_micro_batches * load.send + gradient + load.optimizer
    late = 1 + stack.straggling * np.log2(np.maximum(1.0, load.num_nodes))
    fill = joined(layers, host, stack.join) + shard
    bubble = (load.num_stages - 1) * fill
    slots = load.num_micro_batches + load.num_stages - 1
    return StackTime(
        time_s=(load.num_micro_batches * (fill + edge) + bubble + once) * late, host_s=slots * host, bubble_s=bubble * late,
        gpu_s=slots * (layers + shard) + load.num_micro_batches * edge + once,
    )  # fmt: skip


FACTORS = ("product", "product_fp8", "attention", "memory", "tensor", "edge", "gradient", "gradient_crowded")


def joined(gpu_s: Any, host_s: Any, order: float) -> Any:
    """GPU and host side by side: near the longer, more where both take as long."""
    longest = np.maximum(gpu_s, host_s)
    return longest * ((gpu_s / longest) ** order + (host_s / longest) ** order) ** (1 / order)


def step_load(times: Sequence[OperatorTime], shape: ModelShape, workload: Workload, gpus_per_node: int = GPUS_PER_NODE) -> StepLoad:
    """The load of `times`, which list one micro-batch and the once-a-step operators of one GPU."""
    names = ("product", "product_fp8", "attention", "memory", "tensor", "head", "edge", "shard", "send", "gradient", "optimizer")
    sums: dict[str, float] = dict.fromkeys(names, 0.0)
    for time in times:
        sums[_kind(time.operator)] += time.total_s
    stride = workload.tensor_parallel
    leaves = stride * workload.data_parallel > gpus_per_node
    is_crowded = leaves and 1 < stride < gpus_per_node
    gradient = sums.pop("gradient")
    num_layers = -(-shape.num_hidden_layers // workload.pipeline_parallel)
    matrices = workload.micro_batch * -(-shape.num_attention_heads // workload.tensor_parallel)
    is_unfused = workload.attention == "unfused" and matrices % SOFTMAX_MATRICES != 0
    return StepLoad(
        **sums,
        gradient=0.0 if is_crowded else gradient,
        gradient_crowded=gradient if is_crowded else 0.0,
        launches=sum(_launches(time.operator) for time in times if _is_layer(time.operator)),
        unfused_layers=num_layers if is_unfused else 0,
        num_micro_batches=workload.num_micro_batches,
        num_stages=workload.pipeline_parallel,
        num_nodes=workload.num_gpus / gpus_per_node,
        adapters=gpus_in_node(workload.data_parallel, stride, gpus_per_node) if leaves else 1,
    )


def _is_layer(operator: Operator) -> bool:
    return operator.layer not in ("embedding", "head", "step")


def _launches(operator: Operator) -> int:
    kernels = operator.work.num_kernels if isinstance(operator.work, MemoryPass | MemoryChain) else 1
    return kernels * operator.count


def _kind(operator: Operator) -> str:
    """The field of `StepLoad` that an operator adds to."""
    if operator.kind == "collective":
        return _collective_kind(operator)
    if operator.name == "gradient_accumulation":
        return "memory"
    if operator.part == "optimizer":
        return "optimizer"
    if not _is_layer(operator):
        return "head" if isinstance(operator.work, Gemm) else "edge"
    if isinstance(operator.work, FlashAttention):
        return "attention"
    if isinstance(operator.work, Gemm | GroupedGemm):
        return "product_fp8" if operator.work.dtype == "fp8" else "product"
    return "memory"


def _collective_kind(operator: Operator) -> str:
    if operator.name.startswith("pipeline_"):
        return "send"
    is_gradient = operator.name.startswith(("gradient_", "parameter_"))
    if operator.name.startswith("zero_") or (is_gradient and operator.part != "optimizer"):
        return "shard"
    return "gradient" if is_gradient else "tensor"
