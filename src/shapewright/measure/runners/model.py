"""Whole Hugging Face models with random weights, in turn: wall time of one step, the kernels in it, tokens a second and peak memory.

- forward: all logits of `sequence` tokens, evaluation mode, no gradients, no cache.
- train: loss, backward pass and AdamW (`fused`, `foreach` or `none`) in training mode; gradients are dropped after each step.
- prefill: logits of the last token of `sequence` tokens (all of them where the model cannot: `has_all_logits`), with a new cache.
- decode: one token after `context` tokens. Eager: a dynamic cache, put back after each step to what it was (by reference, no copy).
  Compiled: a static cache with room for `ROOM` tokens more, whose positions start anew when it is full; it is read whole in any case.

Compiled models go through `torch.compile`; `first_s` holds the compilation. Seconds; sizes in bytes.
Errors: `InputError` for a model that cannot be built or has no such phase, memory errors of the device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from ...errors import InputError
from ...shape import ModelShape
from ..clock import Call, digits, timing_of
from ..hf_fields import Recipe, recipe_of, resized
from ..hf_models import build, require_memory, weight_bytes
from ..operands import torch_dtype
from ..points import ModelPoint, Value
from . import Bench, Outcome
from .precision import with_precision
from .steps import compiled, host_columns, step_bytes, training_step, without_gradients
from .turns import Job, Measured, run_jobs

#: Tokens that a static cache holds beyond the context.
ROOM = 64
LEARNING_RATE = 1e-5


def measure(points: Sequence[ModelPoint], bench: Bench) -> list[Outcome]:
    """Outcomes of models that run in turn."""
    return run_jobs([_job_or_error(point, bench) for point in points], bench)


def _job_or_error(point: ModelPoint, bench: Bench) -> Job | BaseException:
    try:
        return _job(point, bench)
    except Exception as error:
        return error


def _job(point: ModelPoint, bench: Bench) -> Job:
    recipe = recipe_of(point.model, point.changes)
    if recipe.shape.kind == "encoder" and point.phase in ("prefill", "decode"):
        raise InputError(f"{point.model} is an encoder and has no {point.phase}", hint="use phase forward or train", field="phase")
    recipe = resized(recipe, num_layers=point.num_layers, positions=_tokens(point))
    held, own = weight_bytes(recipe.shape, point.dtype), _own_bytes(recipe.shape, point)
    is_train = point.phase == "train"
    require_memory(held + own + is_train * held, bench.device, f"{point.phase} of {point.model}")
    return Job(
        key=(point.model, point.changes, point.num_layers, point.dtype, point.attention, point.runtime, _positions(recipe)),
        held_bytes=held,
        own_bytes=own,
        working_bytes=step_bytes(recipe.shape, _as_worked(point), is_train=is_train),
        num_rounds=point.rounds,
        build=lambda: _built(recipe, point, bench),
        steps=lambda pair: [with_precision(_STEPS[point.phase](*pair, point, bench), point.dtype)],
        columns=lambda measured: _columns(point, recipe, measured),
    )


def _tokens(point: ModelPoint) -> int:
    """Positions that the model must have."""
    return point.context + ROOM if point.phase == "decode" else point.sequence


def _positions(recipe: Recipe) -> int | None:
    return recipe.shape.max_position_embeddings if recipe.shape.position_embedding == "learned" else None


def _as_worked(point: ModelPoint) -> ModelPoint:
    """The point with the tokens that one step computes; a decode step's cache is filled by a prefill of its context."""
    return replace(point, sequence=max(1, point.context)) if point.phase == "decode" else point


def _own_bytes(shape: ModelShape, point: ModelPoint) -> int:
    """Bytes of the optimizer's two moments, or of the keys and values of a context."""
    element_bytes = torch_dtype(point.dtype).itemsize
    if point.phase == "train":
        return 2 * weight_bytes(shape, point.dtype) if point.optimizer != "none" else 0
    width = shape.num_key_value_heads * (shape.qk_head_dim + shape.v_head_dim)
    tokens = {"prefill": point.sequence, "decode": point.context + ROOM}.get(point.phase, 0)
    return point.micro_batch * tokens * shape.num_hidden_layers * width * element_bytes


def _built(recipe: Recipe, point: ModelPoint, bench: Bench) -> tuple[Any, Any]:
    """The model, and what runs it."""
    model = build(recipe, bench.device, dtype=point.dtype, attention=point.attention)
    return model, compiled(model) if point.runtime == "compiled" else model


def _ids(model: Any, num_tokens: int, point: ModelPoint, bench: Bench) -> Any:
    """Random tokens (micro_batch, num_tokens)."""
    import torch

    return torch.randint(0, int(model.config.vocab_size), (point.micro_batch, num_tokens), device=bench.device.name)


def _without_cache(model: Any) -> dict[str, Any]:
    return {"use_cache": False} if model.can_generate() else {}


def _forward(model: Any, run: Any, point: ModelPoint, bench: Bench) -> Call:
    ids_BS = _ids(model, point.sequence, point, bench)
    return without_gradients(model, lambda: run(input_ids=ids_BS, **_without_cache(model)))


def _train(model: Any, run: Any, point: ModelPoint, bench: Bench) -> Call:
    import torch

    ids_BS, named = _ids(model, point.sequence, point, bench), _without_cache(model)
    optimizer = None
    if point.optimizer != "none":
        variant: Any = {point.optimizer: True}
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, **variant)
    return training_step(model, lambda: run(input_ids=ids_BS, labels=ids_BS, **named).loss, optimizer)


def _last_only(model: Any) -> dict[str, Any]:
    """The argument that asks for the last token's logits alone, where the model takes it."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def _prefill(model: Any, run: Any, point: ModelPoint, bench: Bench) -> Call:
    ids_BS, last = _ids(model, point.sequence, point, bench), _last_only(model)
    return without_gradients(model, lambda: run(input_ids=ids_BS, use_cache=True, **last))


def _decode(model: Any, run: Any, point: ModelPoint, bench: Bench) -> Call:
    import torch
    from transformers import DynamicCache, StaticCache

    is_static = point.runtime == "compiled"
    cache: Any = StaticCache(config=model.config, max_cache_len=point.context + ROOM) if is_static else DynamicCache(config=model.config)
    if point.context:
        with torch.no_grad():
            model.eval()(input_ids=_ids(model, point.context, point, bench), past_key_values=cache, use_cache=True, **_last_only(model))
    token_B1, put_back = _ids(model, 1, point, bench), _put_back(cache)

    def step() -> None:
        put_back()
        run(input_ids=token_B1, past_key_values=cache, use_cache=True)

    return without_gradients(model, step)


def _put_back(cache: Any) -> Callable[[], None]:
    """Make the cache what it is now: its references and numbers each time, positions kept on the device after `ROOM` times."""
    import torch

    saved = [dict(vars(layer)) for layer in cache.layers]
    scalars = [value for each in saved for value in each.values() if isinstance(value, torch.Tensor) and value.ndim == 0]
    first = [value.clone() for value in scalars]
    count = 0

    def put_back() -> None:
        nonlocal count
        for layer, state in zip(cache.layers, saved, strict=True):
            vars(layer).update(state)
        if count == ROOM:
            for value, start in zip(scalars, first, strict=True):
                value.copy_(start)
            count = 0
        count += 1

    return put_back


_STEPS: Mapping[str, Callable[..., Call]] = {"forward": _forward, "train": _train, "prefill": _prefill, "decode": _decode}


def _columns(point: ModelPoint, recipe: Recipe, measured: Measured) -> Mapping[str, Value]:
    times_s = [turn[0] for turn in measured.rounds_s]
    timing = timing_of(times_s, first_s=measured.first_s[0], num_calls=1, num_copies=1, method="wall")
    tokens = point.micro_batch * (1 if point.phase == "decode" else point.sequence)
    found: dict[str, Value] = {
        "tokens_per_s": digits(tokens / median(times_s)),
        "spread_percent": digits(100 * (max(times_s) - min(times_s)) / timing.time_s),
        "num_params": recipe.shape.num_params,
        "layers_built": recipe.shape.num_hidden_layers,
        "num_together": measured.num_together,
    }
    if point.phase == "decode":
        found["cache"] = "static" if point.runtime == "compiled" else "dynamic"
    if measured.peak_bytes[0]:
        found["peak_memory_bytes"] = measured.peak_bytes[0] + weight_bytes(recipe.shape, point.dtype)
    found |= host_columns(timing.time_s, measured.launches[0])
    return timing.row() | found | ({"notes": "; ".join(recipe.notes)} if recipe.notes else {})
