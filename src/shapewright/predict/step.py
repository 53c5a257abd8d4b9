"""From operators to layers and steps: sums, pipeline bubbles, the host's launch rate, tokens and FLOPs per second.

    GPU time = micro-batches x (forward + backward) + (stages - 1) x (forward + backward) [the bubble] + optimizer and gradient exchange
    step     = max(GPU time, launches x host time a launch) in eager mode, else GPU time; with a training stack as `stacks` says

A pipeline's first and last stages also hold the embedding and the head; the last, which is listed, sets the pace. Seconds, FLOPs, tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..operators.lower import lower
from ..operators.types import MemoryChain, MemoryPass, Operator
from ..shape import ModelShape
from ..workload import Workload
from .estimate import PROVENANCES, Estimate, Provenance
from .explanation import LayerTime, OperatorTime, PassTime, StepTime
from .operators import Machine
from .stacks import GPUS_PER_NODE, load_stack, stack_time, step_load

#: Estimates of one provenance that make up less than this share of the time do not speak for the whole.
WORTH_NAMING = 0.05


def model_flops(shape: ModelShape, workload: Workload, dtype: str) -> float:
    """FLOPs of the matrix products of one step over all GPUs, as if nothing were split, padded or recomputed."""
    plain = replace(
        workload, tensor_parallel=1, pipeline_parallel=1, data_parallel=1, expert_parallel=1, sequence_parallel=False, zero=0,
        global_batch=None, recompute="none",
    )  # fmt: skip
    each = sum(operator.flops * operator.count for operator in lower(shape, plain, dtype))
    return each * workload.num_micro_batches * workload.data_parallel


def num_launches(operator: Operator) -> int:
    """Kernels that one call issues."""
    return operator.work.num_kernels if isinstance(operator.work, MemoryPass | MemoryChain) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeconds:
    """The time of a step with its interval, and what it is made of: GPU work, what the host needs to issue it, idle pipeline time."""

    time_s: float
    low_s: float
    high_s: float
    gpu_s: float
    host_s: float
    bubble_s: float


def step_seconds(times: Sequence[OperatorTime], shape: ModelShape, workload: Workload, machine: Machine) -> StepSeconds:
    """How long the step of `times` takes, which list one micro-batch and the once-a-step operators of one GPU."""
    if workload.stack != "none" and workload.is_training:
        return _stack_seconds(times, shape, workload, machine)
    batch = [time for time in times if time.operator.part != "optimizer"]
    once = [time for time in times if time.operator.part == "optimizer"]
    repeats, stages = workload.num_micro_batches, workload.pipeline_parallel
    one_s, once_s = sum(t.total_s for t in batch), sum(t.total_s for t in once)
    bubble_s = (stages - 1) * one_s
    gpu_s = repeats * one_s + bubble_s + once_s
    is_eager = workload.runtime == "eager"
    host_s = step_launches([time.operator for time in times], workload) * machine.profile.launch_host_s if is_eager else 0.0
    host = machine.profile.spreads["host"]
    below, above = deviation(times, repeats + stages - 1)
    return StepSeconds(
        time_s=max(gpu_s, host_s), low_s=max(gpu_s - below, host_s * host.low), high_s=max(gpu_s + above, host_s * host.high),
        gpu_s=gpu_s, host_s=host_s, bubble_s=bubble_s,
    )  # fmt: skip


def _stack_seconds(times: Sequence[OperatorTime], shape: ModelShape, workload: Workload, machine: Machine) -> StepSeconds:
    """The step as a training stack whose whole steps were measured runs it."""
    stack, architecture = load_stack(workload.stack), machine.gpu.architecture
    gpus_per_node = machine.node.gpus_per_node if machine.node else GPUS_PER_NODE
    taken = stack_time(step_load(times, shape, workload, gpus_per_node), stack, architecture)
    time_s, gpu_s, host_s, bubble_s = (float(value) for value in taken)
    spread = stack.spread if architecture in stack.factors else machine.profile.spreads["datasheet"]
    return StepSeconds(time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, gpu_s=gpu_s, host_s=host_s, bubble_s=bubble_s)


def step_time(times: Sequence[OperatorTime], shape: ModelShape, workload: Workload, dtype: str, machine: Machine) -> StepTime:
    """The step of `times` with its FLOPs, tokens and launches."""
    step = step_seconds(times, shape, workload, machine)
    launches = step_launches([time.operator for time in times], workload)
    flops = model_flops(shape, workload, dtype)
    peak = machine.gpu.peak_flops_per_s(dtype) * workload.num_gpus
    return StepTime(
        time_s=step.time_s, low_s=step.low_s, high_s=step.high_s, flops=flops, tokens_per_s=workload.num_step_tokens / step.time_s,
        mfu=flops / (step.time_s * peak), gpu_s=step.gpu_s, host_s=step.host_s, bubble_s=step.bubble_s, num_launches=launches,
    )  # fmt: skip


def total_launches(times: Sequence[OperatorTime]) -> int:
    """Kernels that all calls of one micro-batch issue."""
    return sum(num_launches(time.operator) * time.operator.count for time in times)


def step_launches(operators: Iterable[Operator], workload: Workload) -> int:
    """Kernels of a whole step: those of the optimizer once, the others every micro-batch."""
    passes = workload.num_micro_batches
    return sum(num_launches(each) * each.count * (1 if each.part == "optimizer" else passes) for each in operators)


def deviation(times: Sequence[OperatorTime], passes: int) -> tuple[float, float]:
    """How far the sum lies from its 10th and 90th percentile: errors of one model (products, passes, ...) go together, others do not.

    Operators of a micro-batch count `passes` times, bubbles included, those of the optimizer once.
    """
    below: dict[str, float] = defaultdict(float)
    above: dict[str, float] = defaultdict(float)
    for time in times:
        kind, estimate = type(time.operator.work).__name__, time.estimate
        calls = time.operator.count * (1 if time.operator.part == "optimizer" else passes)
        below[kind] += (estimate.time_s - estimate.low_s) * calls
        above[kind] += (estimate.high_s - estimate.time_s) * calls
    return math.hypot(*below.values()), math.hypot(*above.values())


def layer_times(times: Sequence[OperatorTime], shape: ModelShape, workload: Workload) -> tuple[LayerTime, ...]:
    """Time of one layer of each kind, most frequent first; recomputation counts to the backward pass."""
    layers = []
    for kind in shape.layer_kinds:
        own = [time for time in times if time.operator.layer == kind.name]
        if not own:  # the listed stage of a pipeline may hold none
            continue
        # Some operator runs once a layer (an attention product): the smallest count is the number of layers listed.
        num_layers = min(time.operator.count for time in own)
        forward = _pass_time(own, ("forward",), num_layers)
        backward = _pass_time(own, ("recompute", "backward"), num_layers) if workload.is_training else None
        layers.append(LayerTime(kind=kind, forward=forward, backward=backward))
    return tuple(layers)


def _pass_time(times: Sequence[OperatorTime], parts: tuple[str, ...], num_layers: int) -> PassTime:
    own = [time for time in times if time.operator.part in parts]
    flops = sum(time.operator.flops * time.operator.count for time in own if time.operator.part != "recompute")
    return PassTime(time_s=sum(time.total_s for time in own) / num_layers, flops=flops / num_layers)


def with_shares(operators: Sequence[Operator], estimates: Sequence[Estimate], num_micro_batches: int) -> tuple[OperatorTime, ...]:
    """Operators with their share of the step's GPU time without bubbles: once-a-step operators run once, others every micro-batch."""
    repeats = [1 if operator.part == "optimizer" else num_micro_batches for operator in operators]
    times = [estimate.time_s * operator.count * n for operator, estimate, n in zip(operators, estimates, repeats, strict=True)]
    total = sum(times)
    return tuple(
        OperatorTime(operator=operator, estimate=estimate, share=time / total)
        for operator, estimate, time in zip(operators, estimates, times, strict=True)
    )


def overall_provenance(times: Sequence[OperatorTime]) -> Provenance:
    """The weakest provenance that makes up a share worth naming: a sum is no better known than its parts."""
    shares: dict[Provenance, float] = defaultdict(float)
    for time in times:
        shares[time.estimate.provenance] += time.share
    named: list[Provenance] = [name for name, share in shares.items() if share >= WORTH_NAMING]
    return max(named, key=PROVENANCES.index)
