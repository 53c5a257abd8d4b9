"""`lower(shape, workload, dtype)`: the operators of one micro-batch on one GPU, and of the optimizer step.

The GPU is one of the last pipeline stage, which has the head; it holds ceil(L / pipeline_parallel) layers, the last ones, and the
embedding where there is one stage. An operator of a layer stands once for each kind of layer, with the layers of that kind as its
`count`, so the work here does not grow with L. Parts: forward, recompute (again before the backward pass), backward, optimizer
(once a step, not once a micro-batch). Sizes in `types.Operator`; names are those of `parameters.weights` for operators with weights, with
`_dgrad`, `_wgrad`, `_backward` for their backward pass.

Kernels are eager PyTorch's with transformers 5.17 (`graph` replays the same kernels without the host), but unfused attention is
Megatron-LM's; `compiled` fuses pointwise chains. The KV cache that transformers fills by default in a forward pass runs only in the
phases prefill and decode.
"""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import load_dtype
from ..parameters import params_per_call
from ..shape import LayerKind, ModelShape
from ..units import ceil_div
from ..workload import Workload
from .embedding import embedding_units
from .head import head_units
from .layer import layer_units
from .optimizer import adam, gradient_accumulation
from .parallel import gradient_operators, held_params, local_params, pipeline_units
from .scope import Groups, Scope, Unit
from .types import Operator


def lower(shape: ModelShape, workload: Workload, dtype: str) -> tuple[Operator, ...]:
    """Operators in the order they run: forward, recomputed, backward, optimizer."""
    groups = stage_units(shape, workload, dtype)
    forward = [operator for _, units in groups for unit in units for operator in unit.forward]
    if not workload.is_training:
        return tuple(forward)
    again = [operator for scope, units in groups for operator in _recomputed(scope, units)]
    backward = [operator for _, units in reversed(groups) for unit in reversed(units) for operator in unit.backward]
    return (*forward, *again, *backward, *_once_a_step(groups))


def stage_units(shape: ModelShape, workload: Workload, dtype: str, *, is_first: bool = False) -> Groups:
    """The units of the last pipeline stage, or of the first: embedding, each kind of layer, head, those that the stage has."""
    dtype = load_dtype(dtype).name
    stages = workload.pipeline_parallel
    scope = Scope(shape=shape, workload=workload, dtype=dtype, layer="embedding", params=params_per_call(shape))
    groups: Groups = []
    if stages == 1 or is_first:
        groups.append((scope, embedding_units(scope)))
    for kind in _kinds_of_stage(shape, stages, is_first=is_first):
        layer = replace(scope, layer=kind.name, count=kind.count, attention=kind.attention)
        groups.append((layer, layer_units(layer, kind)))
    if stages == 1 or not is_first:
        step = replace(scope, layer="step")
        # Received before the first layer of the stage and sent back after it.
        groups.insert(0, (step, pipeline_units(step)))
        head = replace(scope, layer="head")
        groups.append((head, head_units(head)))
    return groups


def _kinds_of_stage(shape: ModelShape, stages: int, *, is_first: bool) -> list[LayerKind]:
    """The kinds of layer in the first or last ceil(L / stages) layers, with their counts there."""
    if stages == 1:
        return list(shape.layer_kinds)
    num_layers = ceil_div(shape.num_hidden_layers, stages)
    start = 0 if is_first else max(0, shape.num_hidden_layers - num_layers)
    counts: dict[tuple[str, bool], int] = {}
    for layer in range(start, min(start + num_layers, shape.num_hidden_layers)):
        key = shape.layer_attention(layer), bool(shape.moe and shape.moe.is_routed(layer))
        counts[key] = counts.get(key, 0) + 1
    kinds = {(kind.attention, kind.mlp == "moe"): kind for kind in shape.layer_kinds}
    return [replace(kinds[key], count=count) for key, count in counts.items()]


def _recomputed(scope: Scope, units: tuple[Unit, ...]) -> list[Operator]:
    """What runs a second time: whole layers, or the s x s part of unfused attention."""
    recompute = scope.workload.recompute
    if recompute == "none" or not scope.is_layer:
        return []
    return [
        replace(operator, part="recompute", num_params=0)
        for unit in units
        if recompute == "full" or unit.is_core
        for operator in unit.forward
    ]


def _once_a_step(groups: Groups) -> list[Operator]:
    """Gradient accumulation and reduction, and the optimizer, over the parameters that this GPU holds."""
    scope = replace(groups[0][0], layer="step", count=1)
    dense, experts = stage_params(groups)
    return [
        *gradient_accumulation(scope, held_params(scope.workload, dense, experts, from_zero=2)),
        *gradient_operators(scope, dense, experts),
        adam(scope, held_params(scope.workload, dense, experts, from_zero=1)),
    ]


def stage_params(groups: Groups) -> tuple[int, int]:
    """Parameters that one GPU of the stage holds: (dense, of routed experts)."""
    counted = [(scope.count, local_params(units)) for scope, units in groups]
    return sum(count * dense for count, (dense, _) in counted), sum(count * experts for count, (_, experts) in counted)
