"""What `explain` says of a measured layer or model.

    layer = sum of the operators of the layers from `shallow` to `deep` / (deep - shallow)       one layer, forward or forward + backward
    model = sum of all operators of its phase
    time  = max(that sum, launches x host time a launch)                                          eager mode; else the sum

Steps run for seconds, so that products that keep the tensor cores busy are slowed by the card's power limit, as `explain` has them.
A model is what the point names with its `changes`, as the runner builds it. Seconds. Errors: a model, key or dtype that is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..hardware.gpu import Gpu
from ..measure.hf_fields import parse_changes, shape_of
from ..measure.points import LayerPoint, ModelPoint
from ..predict.explain import explain
from ..predict.explanation import Explanation, OperatorTime
from ..predict.profiles import load_profile
from ..predict.step import deviation, total_launches
from ..read.resolve import load_shape
from ..shape import ModelShape
from ..workload import Workload
from .compare import Compared


def compare_step(point: LayerPoint | ModelPoint, gpu: Gpu, library: str | None = None) -> Compared:
    """The prediction of a layer or a model."""
    shape = _shape(point.model, point.changes, getattr(point, "source", "hf"), point.phase, has_dropout=_has_dropout(point))
    if isinstance(point, ModelPoint):
        shape = replace(shape, num_hidden_layers=point.num_layers) if point.num_layers else shape
        explanation = explain(shape, gpu, workload_of(point), library=library)
        parts = ("forward", "backward", *(("optimizer",) if point.optimizer != "none" else ()))
        times = [time for time in explanation.operators if time.operator.part in parts]
        return _compared(times, 1.0, explanation, library)
    shape = replace(shape, num_hidden_layers=point.deep)
    explanation = explain(shape, gpu, workload_of(point), library=library)
    return _compared(_added_layers(explanation, point), 1.0 / (point.deep - point.shallow), explanation, library)


def rest_s(point: LayerPoint, gpu: Gpu, library: str | None = None) -> float:
    """Seconds of what the model of a reference layer runs beside its layers: embedding, final norm, logits and, in training, the loss."""
    shape = _shape(point.model, point.changes, point.source, point.phase, has_dropout=_has_dropout(point))
    explanation = explain(shape, gpu, workload_of(point), library=library)
    layers = {kind.name for kind in shape.layer_kinds}
    return sum(time.total_s for time in explanation.operators if time.operator.layer not in layers and time.operator.part != "optimizer")


def workload_of(point: LayerPoint | ModelPoint) -> Workload:
    """What the point runs, as `explain` is asked for it."""
    common: dict[str, Any] = {
        "micro_batch": point.micro_batch, "sequence": point.sequence, "dtype": point.dtype, "runtime": point.runtime,
        "attention": "flash" if point.attention == "sdpa" else "unfused",
    }  # fmt: skip
    if isinstance(point, ModelPoint) and point.phase == "decode":
        common["context"] = point.context
    return Workload(phase=point.phase, **common)


def _added_layers(explanation: Explanation, point: LayerPoint) -> list[OperatorTime]:
    """The operators of the layers by which the deep model exceeds the shallow one, with their counts there."""
    shape, added = explanation.shape, {}
    for layer in range(point.shallow, point.deep):
        key = shape.layer_attention(layer), bool(shape.moe and shape.moe.is_routed(layer))
        added[key] = added.get(key, 0) + 1
    counts = {kind.name: (kind.count, added.get((kind.attention, kind.mlp == "moe"), 0)) for kind in shape.layer_kinds}
    times = []
    for time in explanation.operators:
        has, wanted = counts.get(time.operator.layer, (1, 0))
        if wanted:
            times.append(replace(time, operator=replace(time.operator, count=time.operator.count * wanted // has)))
    return times


def _compared(times: Sequence[OperatorTime], scale: float, explanation: Explanation, library: str | None) -> Compared:
    """The sum of operators, or the host's time where that is longer."""
    profile = load_profile(explanation.gpu, library)
    gpu_s = scale * sum(time.total_s for time in times)
    is_eager = explanation.workload.runtime == "eager"
    host_s = scale * total_launches(times) * profile.launch_host_s if is_eager else 0.0
    below, above = (scale * each for each in deviation(times, 1))
    host = profile.spreads["host"]
    largest = max(times, key=lambda time: time.total_s)
    return Compared(
        predicted_s=max(gpu_s, host_s),
        low_s=max(gpu_s - below, host_s * host.low),
        high_s=max(gpu_s + above, host_s * host.high),
        limit_s=scale * sum(time.estimate.limit_s * time.operator.count for time in times),
        bound_by="host" if host_s > gpu_s else largest.estimate.bound_by,
        provenance=explanation.provenance,
        gpu_s=gpu_s,
        host_s=host_s,
    )


def _has_dropout(point: LayerPoint | ModelPoint) -> bool:
    return isinstance(point, LayerPoint) and point.has_dropout


@lru_cache(maxsize=256)
def _shape(model: str, changes: str, source: str, phase: str, *, has_dropout: bool) -> ModelShape:
    """The shape that is built and run: dropout is on in training, or where the point has it."""
    if source == "hf":
        shape = shape_of(model, changes)
    else:
        from ..measure.reference import reference_shape

        shape = reference_shape(load_shape(model, **parse_changes(changes)))
    return shape if phase == "train" or has_dropout else replace(shape, attention_dropout=0.0, hidden_dropout=0.0)
