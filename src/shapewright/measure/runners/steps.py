"""Steps of a live model that the layer and the model runner share: forward without gradients, forward + backward, compiled or not.

A step sets the model's mode only where it differs, so that a forward and a training point of one group share the weights. `step_bytes`
is a rough upper estimate, in bytes, by which groups are made up; no result depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...shape import ModelShape
from ..clock import Call, digits
from ..launches import Launches
from ..operands import torch_dtype
from ..points import LayerPoint, ModelPoint, Value

#: Tensors of hidden, intermediate and query/key/value width that a layer keeps for its backward pass (norms, residuals, activation).
_SAVED_HIDDEN, _SAVED_INNER, _SAVED_SCORES = 12, 4, 4
#: A step whose wall time exceeds its kernels' by more than this share waits for the host.
HOST_SHARE = 0.1


def without_gradients(model: Any, forward: Call, *, has_dropout: bool = False) -> Call:
    """One forward pass in evaluation mode, or with the dropout of training."""
    import torch

    def step() -> None:
        if model.training != has_dropout:
            model.train(has_dropout)
        with torch.no_grad():
            forward()

    return step


def training_step(model: Any, loss: Callable[[], Any], optimizer: Any = None) -> Call:
    """Loss, gradients and optimizer in training mode; the gradients' memory is free again afterwards, as after `zero_grad`."""
    parameters = list(model.parameters())

    def step() -> None:
        if not model.training:
            model.train()
        loss().backward()
        if optimizer is not None:
            optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    return step


def compiled(model: Any) -> Any:
    """The model through Inductor, every shape and depth for itself (all models share the code of their classes, and its limit)."""
    import torch

    for name in ("recompile_limit", "accumulated_recompile_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 4096)
    return torch.compile(model, dynamic=False)


def step_bytes(shape: ModelShape, point: LayerPoint | ModelPoint, *, is_train: bool) -> int:
    """About what one step allocates: saved activations of all layers (one layer's without gradients), logits, gradients."""
    tokens, element_bytes = point.micro_batch * point.sequence, torch_dtype(point.dtype).itemsize
    width = _SAVED_HIDDEN * shape.hidden_size + _SAVED_INNER * shape.intermediate_size + 2 * (shape.q_size + shape.kv_size)
    if shape.moe:
        width += _SAVED_INNER * shape.moe.moe_intermediate_size * shape.moe.num_experts_per_tok
    scores = _SAVED_SCORES * shape.num_attention_heads * point.sequence if point.attention != "sdpa" else 0
    layer_bytes = tokens * (width + scores) * element_bytes
    logits_bytes = tokens * shape.vocab_size * (element_bytes + (8 if is_train else 0))
    return layer_bytes * (shape.num_hidden_layers if is_train else 1) + logits_bytes + is_train * shape.num_params * element_bytes


def host_columns(time_s: float, found: Launches | None) -> dict[str, Value]:
    """Kernels of a step, and whether its wall time is the host's; empty on a CPU."""
    if found is None:
        return {}
    waited = 1 - found.kernel_s / time_s
    return {
        "num_launches": round(found.num_launches, 2),
        "kernel_s": digits(found.kernel_s),
        "host_share": round(max(0.0, waited), 4),
        "is_host_bound": time_s > found.kernel_s * (1 + HOST_SHARE),
    }
