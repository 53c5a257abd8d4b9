"""The optimizer: Adam in mixed precision, and the accumulation of gradients over micro-batches.

Per parameter (Rajbhandari et al. 2020, section 3.1): a 16-bit weight and gradient, and in fp32 a master weight, momentum and variance,
2 + 2 + 12 = 16 bytes. A step reads gradient, master, momentum and variance (14 bytes) and writes weight, master, momentum and variance
(14). In fp32 there is no master copy: 4 + 4 + 8 bytes held, 16 read and 12 written. ZeRO-1 and above split states and step over the
data-parallel group. Gradients are kept in the weights' dtype (fp32 gradients, Megatron-LM's option, would make 18 bytes).
"""

from __future__ import annotations

import math

from .parallel import param_bytes
from .scope import FP32_BYTES, Scope
from .types import MemoryPass, Operator

#: A multi-tensor launch of PyTorch's fused Adam covers 320 blocks of 65,536 elements, of 36 tensors at most
#: (aten/src/ATen/native/cuda/MultiTensorApply.cuh).
CHUNK_ELEMENTS, MOST_CHUNKS, MOST_TENSORS = 65536, 320, 36


def launches_of(num_params: float, num_tensors: int = 1) -> tuple[int, float]:
    """Launches of a step over tensors of equal size, and the whole chunks that they amount to."""
    chunks = max(1, num_tensors * math.ceil(num_params / num_tensors / CHUNK_ELEMENTS))
    launches = max(math.ceil(chunks / MOST_CHUNKS), math.ceil(num_tensors / MOST_TENSORS))
    return launches, num_params / CHUNK_ELEMENTS


def state_bytes_per_param(scope: Scope) -> int:
    """Momentum and variance, and a master weight where the weights are not fp32."""
    return 2 * FP32_BYTES if param_bytes(scope) == FP32_BYTES else 3 * FP32_BYTES


def adam(scope: Scope, num_params: float) -> Operator:
    """One fused step over the `num_params` parameters whose states this GPU holds."""
    states, weight = state_bytes_per_param(scope), param_bytes(scope)
    master = 0 if states == 3 * FP32_BYTES else weight
    launches, chunks = launches_of(num_params)
    work = MemoryPass(
        pattern="optimizer",
        read_bytes=num_params * (weight + states + master),
        written_bytes=num_params * (states + weight),
        num_kernels=launches,
        rows=chunks / launches,
    )
    return scope.operator("adam", "optimizer", work, "optimizer", note="fused Adam, fp32 states")


def gradient_accumulation(scope: Scope, num_params: float) -> tuple[Operator, ...]:
    """Each micro-batch after the first adds its gradients to those kept: the mean over a step's micro-batches."""
    num_micro_batches = scope.workload.num_micro_batches
    if num_micro_batches == 1:
        return ()
    size = num_params * param_bytes(scope) * (num_micro_batches - 1) / num_micro_batches
    work = MemoryPass(pattern="elementwise", read_bytes=2 * size, written_bytes=size)
    note = f"bytes are the mean over {num_micro_batches} micro-batches; the first stores its gradients without adding"
    return (scope.operator("gradient_accumulation", "optimizer", work, "backward", note=note),)
