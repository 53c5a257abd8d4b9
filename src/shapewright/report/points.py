"""Measured points in a few words, as tables name them: "8192 x 10923 x 4096 NT bf16". Settings that have their default are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ShapewrightError
from ..measure.points import (
    AttentionPoint,
    CollectivePoint,
    GemmPoint,
    HostPoint,
    LayerPoint,
    MemoryPoint,
    ModelPoint,
    OptimizerPoint,
    Point,
    point_of,
)
from . import units


def row_name(row: Mapping[str, Any]) -> str:
    """The name of a row's point; of a kind that is not known, the kind."""
    try:
        return point_name(point_of(row))
    except ShapewrightError:
        return str(row.get("kind", "?"))


def point_name(point: Point) -> str:
    """The name of a point."""
    match point:
        case GemmPoint():
            return _joined(_gemm(point), point.dtype, _unless(point.call, "mm", "bmm"), _split(point), _unless(point.runtime, "eager"))
        case AttentionPoint():
            return _joined(_attention(point), point.dtype, *_flags(point))
        case MemoryPoint():
            backward = "backward" if point.is_backward else ""
            return _joined(f"{point.op} {point.rows} x {point.width}", point.dtype, backward, _unless(point.runtime, "eager"))
        case OptimizerPoint():
            return f"AdamW {point.variant}, {units.short_count(point.num_params)} in {point.num_tensors} tensors {point.dtype}"
        case CollectivePoint():
            return f"{point.name} of {units.num_bytes(point.message_bytes)} over {point.group_size} GPUs"
        case HostPoint():
            return point.what
        case LayerPoint() | ModelPoint():
            return _step(point)
        case _:
            return point.kind


def _gemm(point: GemmPoint) -> str:
    batch = f"{point.batch} x " if point.call == "bmm" else ""
    return f"{batch}{point.m} x {point.n} x {point.k} {point.layout}"


def _split(point: GemmPoint) -> str:
    return f"in {point.split} parts {point.order}" if point.split else ""


def _attention(point: AttentionPoint) -> str:
    heads = f"{point.num_heads}" if point.num_heads == point.num_kv_heads else f"{point.num_heads}/{point.num_kv_heads}"
    return f"{point.backend} {point.batch} x {heads} heads of {point.head_dim}, {point.query_len} x {point.kv_len}"


def _flags(point: AttentionPoint) -> tuple[str, ...]:
    named = {"backward": point.is_backward, "dropout": point.has_dropout, "no mask": not point.is_causal}
    return tuple(name for name, is_set in named.items() if is_set)


def _step(point: LayerPoint | ModelPoint) -> str:
    """Model, changes, phase and sizes."""
    sizes = f"b={point.micro_batch} s={point.sequence}"
    if isinstance(point, ModelPoint) and point.phase == "decode":
        sizes = f"b={point.micro_batch} context {point.context}"
    source = _unless(point.source, "hf") if isinstance(point, LayerPoint) else ""
    layers = f"{point.num_layers} layers" if isinstance(point, ModelPoint) and point.num_layers else ""
    attention = "" if point.attention == "sdpa" else "unfused"
    tail = (layers, sizes, _unless(point.dtype, "bf16"), source, attention, _unless(point.runtime, "eager"))
    return _joined(point.model, point.changes.replace(",", " "), point.phase, *tail)


def _unless(value: str, *defaults: str) -> str:
    return "" if value in defaults else value


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))
