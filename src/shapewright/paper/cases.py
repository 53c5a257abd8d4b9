"""Figures whose horizontal axis names cases: layers (1), shares of a layer (2, 11), whole models (13) and decoders (S4).

    case_values(load_figure("1"), times)      # (series, x, y, unit) of each bar
    case_points(load_figure("1"))             # what measuring them takes

Layers are GPT-3's: learned positions, GELU, dropout, intermediate size 4h; forward, b = 4, s = 2048. Figure 1 runs whole layers; the shares
add up operators timed one by one. Figure 13 is `NUM_TOKENS` steps of decoding, each at the same context. S4 sets the wall time of a step of
transformers against the GPU time of the same step: what an engine without host time would reach. Rows of `shapewright decode` take their
place where they are among the measurements: transformers' `generate` against this project's decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..measure.operators import points_of
from ..measure.points import LayerPoint, ModelPoint, Point
from ..operators.lower import lower
from ..operators.types import Operator
from ..read.resolve import load_shape
from ..shape import ModelShape
from ..workload import Workload
from .decoders import Decoded, decoded, has_decoder
from .figure import Figure
from .times import Time, Times

Value = tuple[str, str | float, float, str]
#: The family of the paper's layers.
LAYER_MODEL = "gpt3-2.7b"
MICRO_BATCH, SEQUENCE = 4, 2048
#: Figure 13: tokens before, and new ones.
CONTEXT, NUM_TOKENS = 128, 128


def case_values(figure: Figure, times: Times, dtype: str = "fp16") -> list[Value]:
    """Values of the figure; a case that lacks a time has none."""
    return list(_VALUES[figure.chart](figure, times, dtype))


def case_points(figure: Figure, dtype: str = "fp16") -> list[Point]:
    """Points that the values need."""
    match figure.chart:
        case "bars":
            return [layer_point(case["model"], dtype) for case in figure.cases]
        case "shares":
            return [
                point for case in figure.cases for operator in layer_operators(case, dtype) for point in points_of(operator, dtype=dtype)
            ]
        case "latency":
            return [decode_point(case["model"], dtype, runtime) for case in figure.cases for runtime in ("eager", "compiled")]
        case _:
            return [decode_point(case["model"], dtype, "eager", group["batch"], context) for case, group, context in _decoders(figure)]


def layer_point(model: str, dtype: str) -> LayerPoint:
    """One layer as the paper runs it: separate kernels of attention, dropout, forward."""
    return LayerPoint(model=model, source="reference", attention="unfused", has_dropout=True, dtype=dtype)


def layer_shape(case: Mapping[str, Any]) -> ModelShape:
    """GPT-3's layer at the case's width and heads."""
    h = case["h"]
    return load_shape(LAYER_MODEL, hidden_size=h, num_attention_heads=case["a"], num_key_value_heads=case["a"], intermediate_size=4 * h)


def layer_operators(case: Mapping[str, Any], dtype: str) -> list[Operator]:
    """What one layer of the case runs forward; counts are of one layer."""
    shape = layer_shape(case)
    workload = Workload(phase="forward", attention=case["attention"], dtype=dtype, micro_batch=MICRO_BATCH, sequence=SEQUENCE)
    kinds = {kind.name for kind in shape.layer_kinds}
    return [operator for operator in lower(shape, workload, dtype) if operator.layer in kinds]


def layer_flops(shape: ModelShape) -> float:
    """24 b s h^2 (1 + s / 6h): the paper's count of one layer, section III-C."""
    h = shape.hidden_size
    return 24 * MICRO_BATCH * SEQUENCE * h**2 * (1 + SEQUENCE / (6 * h))


def operator_seconds(case: Mapping[str, Any], times: Times, dtype: str) -> dict[str, float] | None:
    """Seconds of each operator of the layer by name; None where one has no time."""
    operators = layer_operators(case, dtype)
    split = [points_of(operator, dtype=dtype) for operator in operators]
    found = iter(times.of([point for points in split for point in points]))
    seconds: dict[str, float] = {}
    for operator, points in zip(operators, split, strict=True):
        parts = [next(found) for _ in points]
        if not parts or any(each is None for each in parts):
            return None
        seconds[operator.name] = seconds.get(operator.name, 0.0) + sum(each.time_s for each in parts if each)
    return seconds


def decode_point(model: str, dtype: str, runtime: str, batch: int = 1, context: int = CONTEXT) -> ModelPoint:
    """One new token of a whole model."""
    assert runtime in ("eager", "compiled")
    return ModelPoint(model=model, phase="decode", micro_batch=batch, context=context, dtype=dtype, runtime=runtime)  # pyright: ignore


def _bars(figure: Figure, times: Times, dtype: str) -> Iterator[Value]:
    points = [layer_point(case["model"], dtype) for case in figure.cases]
    for case, found in zip(figure.cases, times.of(points), strict=True):
        if found is not None:
            yield "throughput", case["name"], layer_flops(load_shape(case["model"])) / found.time_s / 1e12, figure.unit


def _shares(figure: Figure, times: Times, dtype: str) -> Iterator[Value]:
    named = {name for group in figure.groups for name in group["operators"]}
    for case in figure.cases:
        seconds = operator_seconds(case, times, dtype)
        if seconds is None:
            continue
        total = sum(seconds.values())
        for group in figure.groups:
            inside = group["operators"] or [name for name in seconds if name not in named]
            part = sum(seconds.get(name, 0.0) for name in inside)
            if part:
                yield group["name"], case["name"], 100 * part / total, figure.unit


def _latencies(figure: Figure, times: Times, dtype: str) -> Iterator[Value]:
    """Eager and, where it was measured, compiled; predicted, also the GPU's time alone."""
    for case in figure.cases:
        eager, compiled = times.of([decode_point(case["model"], dtype, runtime) for runtime in ("eager", "compiled")])
        size = load_shape(case["model"]).num_params / 1e9
        for series, seconds in _latency_series(times, eager, compiled):
            yield f"{series}: {case['name']}", round(size, 3), NUM_TOKENS * seconds, figure.unit


def _latency_series(times: Times, eager: Time | None, compiled: Time | None) -> Iterator[tuple[str, float]]:
    if eager is not None:
        yield "eager", eager.wall_s
        yield "GPU alone", eager.time_s
    if compiled is not None and times.source == "measured":
        yield "compiled", compiled.wall_s


def _decodes(figure: Figure, times: Times, dtype: str) -> Iterator[Value]:
    """The engines that were measured in a cell; else transformers' eager step and the GPU time alone of the same step."""
    cells = list(_decoders(figure))
    points = [decode_point(case["model"], dtype, "eager", group["batch"], context) for case, group, context in cells]
    for (case, group, context), found in zip(cells, times.of(points), strict=True):
        both = decoded(times, case["model"], batch=group["batch"], context=context, dtype=dtype)
        if both is None and found is not None and not has_decoder(times):
            both = Decoded(hf_s=found.wall_s, ours_s=found.time_s)
        if both is None:
            continue
        place = f"{case['name']} | {{}} | {group['name']}"
        yield place.format("HuggingFace (PyTorch) speedup"), context, 1.0, figure.unit
        yield place.format("Ours speedup"), context, both.gain, figure.unit
        yield place.format("Ours (token/s)"), context, group["batch"] / both.ours_s, "token/s"


def _decoders(figure: Figure) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], int]]:
    for case in figure.cases:
        for group in figure.groups:
            for context in group["contexts"]:
                yield case, group, context


_VALUES: Mapping[str, Callable[[Figure, Times, str], Iterator[Value]]] = {
    "bars": _bars, "shares": _shares, "latency": _latencies, "decode": _decodes,
}  # fmt: skip
