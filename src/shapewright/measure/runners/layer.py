"""One transformer layer by difference: models of `deep` and `shallow` layers run in turn, and what the deeper one takes longer is shared by
the layers between. Eager or compiled, bf16 by default, no cache, a vocabulary of 256 so that the head does not drown the layer; with the
model's own vocabulary `rest_s` of the row is what the model takes beside its layers: embedding, head and loss.

forward: evaluation mode without gradients, or with the dropout of training (`has_dropout`). train: training mode (dropout where the model
has it), loss and backward pass; gradients are dropped after each step and no optimizer runs. Every round gives one difference; a row keeps
their median and quantiles, `spread_percent` (largest less smallest over the median), both models' times, `num_launches` and `kernel_s` of
one layer (the sum of its kernels) and `is_host_bound` where the wall time exceeds the kernels' by more than a tenth. Seconds; sizes in
bytes.

Errors: `InputError` for a model that cannot be built or whose difference drowns in noise, memory errors of the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from ...errors import InputError
from ...read.resolve import load_shape
from ...shape import ModelShape
from ..clock import Call, digits, timing_of
from ..hf_fields import parse_changes, recipe_of, resized
from ..hf_models import build, require_memory, weight_bytes
from ..launches import Launches
from ..operands import torch_dtype
from ..points import LayerPoint, Value
from ..reference import build_reference, reference_shape
from . import Bench, Outcome
from .precision import with_precision
from .steps import compiled, host_columns, step_bytes, training_step, without_gradients
from .turns import Job, Measured, run_jobs


def measure(points: Sequence[LayerPoint], bench: Bench) -> list[Outcome]:
    """Outcomes of layers that are compared with one another."""
    return run_jobs([_job_or_error(point, bench) for point in points], bench)


def _job_or_error(point: LayerPoint, bench: Bench) -> Job | BaseException:
    try:
        return _job(point, bench)
    except Exception as error:
        return error


def _job(point: LayerPoint, bench: Bench) -> Job:
    shapes, make, notes = _source(point, bench)
    held, depths = sum(weight_bytes(shape, point.dtype) for shape in shapes), (point.deep, point.shallow)
    is_train = point.phase == "train"
    working = step_bytes(shapes[0], point, is_train=is_train)
    require_memory(held + is_train * weight_bytes(shapes[0], point.dtype), bench.device, f"{point.model} with {point.deep} layers")
    return Job(
        key=(point.model, point.changes, point.source, point.dtype, point.attention, point.runtime, *depths, point.vocab_size),
        held_bytes=held,
        own_bytes=0,
        working_bytes=working,
        num_rounds=point.rounds,
        build=make,
        steps=lambda pair: [_step(model, run, point, shapes[0].vocab_size, bench) for model, run in pair],
        columns=lambda measured: _columns(point, shapes[0], measured, notes),
        is_profiled=point.is_profiled,
    )


def _source(point: LayerPoint, bench: Bench) -> tuple[tuple[ModelShape, ModelShape], Callable[[], Any], tuple[str, ...]]:
    """The shapes of the deep and the shallow model, what builds both (each with the callable that runs it), and remarks."""
    depths = (point.deep, point.shallow)

    def pair(models: Sequence[Any]) -> list[tuple[Any, Any]]:
        return [(model, compiled(model) if point.runtime == "compiled" else model) for model in models]

    if point.source == "hf":
        recipe = recipe_of(point.model, point.changes)
        recipes = [resized(recipe, num_layers=depth, vocab_size=point.vocab_size, positions=point.sequence) for depth in depths]
        shapes = (recipes[0].shape, recipes[1].shape)
        make = lambda each: build(each, bench.device, dtype=point.dtype, attention=point.attention)  # noqa: E731
        return shapes, lambda: pair([make(each) for each in recipes]), recipe.notes
    whole = reference_shape(load_shape(point.model, **parse_changes(point.changes)))
    shapes = tuple(_cut(whole, depth, point) for depth in depths)
    make = lambda each: build_reference(each, bench.device, dtype=point.dtype, attention=point.attention)  # noqa: E731
    return (shapes[0], shapes[1]), lambda: pair([make(each) for each in shapes]), ()


def _cut(shape: ModelShape, depth: int, point: LayerPoint) -> ModelShape:
    positions = shape.max_position_embeddings
    if shape.position_embedding == "learned":
        positions = max(positions or 0, point.sequence)
    rows = point.vocab_size or shape.vocab_size
    return replace(shape, num_hidden_layers=depth, vocab_size=rows, max_position_embeddings=positions)


def _step(model: Any, run: Any, point: LayerPoint, vocab_size: int, bench: Bench) -> Call:
    import torch

    ids_BS = torch.randint(0, vocab_size, (point.micro_batch, point.sequence), device=bench.device.name)
    named = {"input_ids": ids_BS} | ({"use_cache": False} if _takes_cache(model) else {})
    if point.phase == "forward":
        step = without_gradients(model, lambda: run(**named), has_dropout=point.has_dropout)
    else:
        step = training_step(model, lambda: run(**named, labels=ids_BS).loss)
    return with_precision(step, point.dtype)


def _takes_cache(model: Any) -> bool:
    """Whether the model keeps keys and values unless told not to: encoders and our own layers do not."""
    return hasattr(getattr(model, "config", None), "use_cache") and bool(getattr(model, "can_generate", lambda: False)())


def _columns(point: LayerPoint, shape: ModelShape, measured: Measured, notes: Sequence[str]) -> Mapping[str, Value]:
    between = point.deep - point.shallow
    layers_s = [(deep - shallow) / between for deep, shallow in measured.rounds_s]
    if median(layers_s) <= 0:
        raise InputError("the deeper model was no slower than the shallow one", hint="take more layers between, or a larger workload")
    timing = timing_of(layers_s, first_s=measured.first_s[0], num_calls=1, num_copies=1, method="wall")
    deep_s, shallow_s = (digits(median(turn[i] for turn in measured.rounds_s)) for i in (0, 1))
    spread = digits(100 * (max(layers_s) - min(layers_s)) / timing.time_s)
    kinds = Counter(_kind(shape, layer) for layer in range(point.shallow, point.deep))
    rest_s = median(shallow - point.shallow * layer for (_, shallow), layer in zip(measured.rounds_s, layers_s, strict=True))
    found: dict[str, Value] = {"deep_s": deep_s, "shallow_s": shallow_s, "rest_s": digits(rest_s), "spread_percent": spread}
    found |= {"layers": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()), "num_together": measured.num_together}
    found |= host_columns(timing.time_s, _between(measured.launches, between))
    if measured.peak_bytes[0]:
        found["peak_memory_bytes"] = measured.peak_bytes[0] + shape.num_params * torch_dtype(point.dtype).itemsize
    return timing.row() | found | ({"notes": "; ".join(notes)} if notes else {})


def _between(found: Sequence[Launches | None], layers: int) -> Launches | None:
    """Launches of one layer, from those of the deep and the shallow model."""
    deep, shallow = found
    if deep is None or shallow is None:
        return None
    num_launches = (deep.num_launches - shallow.num_launches) / layers
    return Launches(num_launches=num_launches, kernel_s=(deep.kernel_s - shallow.kernel_s) / layers)


def _kind(shape: ModelShape, layer: int) -> str:
    """`full+dense`, `sliding+moe`, ... of one layer."""
    return f"{shape.layer_attention(layer)}+{'moe' if shape.moe and shape.moe.is_routed(layer) else 'dense'}"
