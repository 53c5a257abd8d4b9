"""One AdamW step over `num_params` parameters in `num_tensors` tensors of equal size (the first ones hold the remainder).

Momentum and variance are of the parameters' dtype, as torch makes them for a bf16 model: a step reads weight, gradient and both states and
writes all but the gradient, 7 elements a parameter. On a GPU the optimizer is `capturable` (its step number lives on the device), so that
steps are timed in a graph; on a CPU plain. The learning rate is 0: the same work, and operands stay as they are.
`fused` is one kernel for many tensors, `foreach` a chain of multi-tensor kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import InputError
from ..clock import Prepared
from ..operands import torch_dtype
from ..points import OptimizerPoint
from . import Bench

#: Tensors of a parameter's size that a step touches: weight, gradient, momentum, variance.
NUM_TENSORS_EACH = 4


def prepare(point: OptimizerPoint, bench: Bench) -> Prepared:
    """One optimizer a copy of the parameters."""
    if point.dtype == "fp8":
        raise InputError("an optimizer steps no fp8 parameters", hint="use bf16, fp16 or fp32", field="dtype")
    if point.num_tensors > point.num_params:
        raise InputError(f"num_tensors is {point.num_tensors}", hint=f"there are {point.num_params} parameters", field="num_tensors")
    each, more = divmod(point.num_params, point.num_tensors)
    sizes = [each + (index < more) for index in range(point.num_tensors)]
    element_bytes = torch_dtype(point.dtype).itemsize
    copies = bench.operands.copies(sizes * NUM_TENSORS_EACH, point.dtype, element_bytes=element_bytes)
    steps = [_optimizer(point, bench, bench.operands.take(sizes * 2, point.dtype, copy)).step for copy in range(copies)]
    return Prepared(calls=steps, facts={"capturable": bench.device.is_gpu})


def _optimizer(point: OptimizerPoint, bench: Bench, flat: Sequence[Any]) -> Any:
    """AdamW over the first half of the tensors, whose gradients are the other."""
    import torch

    count = point.num_tensors
    weights = [torch.nn.Parameter(each) for each in flat[:count]]
    for weight, gradient in zip(weights, flat[count:], strict=True):
        weight.grad = gradient
    chosen: dict[str, Any] = {"fused": True} if point.variant == "fused" else {"foreach": True}
    found = torch.optim.AdamW(weights, lr=0.0, capturable=bench.device.is_gpu, **chosen)
    # The first step makes the states, so it runs here, outside every graph, whatever the optimizer thinks of that.
    found._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]
    found.step()
    return found
