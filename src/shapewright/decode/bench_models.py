"""Models with random weights, made on the device, for whatever a user names: a catalogue name, a config.json or its folder, a Hub id whose
config lies in the local cache. Nothing is fetched, and no checkpoint is read: decoding takes the same time whatever the weights say.

Weights are drawn by transformers' own rules from a fixed seed, so that logits have the size that they have at the start of training. A
table of learned positions that is shorter than the longest sequence is made longer, which `positions_raised_to` says (OPT has 2048).

    bench_model = build_model(recipe_for("opt-6.7b"), device, dtype="bf16", positions=4240)
    twin(bench_model.model)       # another model over the same weights

Errors: `InputError` for a name or config that cannot be built, `MissingError` without torch or transformers, memory errors of the device.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..measure.devices import Device
from ..measure.hf_fields import Recipe, recipe_of, resized
from ..measure.hf_models import build, require_memory, weight_bytes
from ..read import catalogue, hub_cache
from ..shape import ModelShape

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchModel:
    """A live model and what it is."""

    name: str
    family: str
    shape: ModelShape
    model: Any
    dtype: str
    positions_raised_to: int | None = None
    notes: tuple[str, ...] = ()


def recipe_for(name: str) -> Recipe:
    """The fields of the model called `name`; encoders are refused."""
    cached = None if Path(name).exists() or catalogue.is_known(name) else hub_cache.find_cached_config(name)
    recipe = recipe_of(name if cached is None else str(cached))
    if recipe.shape.kind == "encoder":
        raise InputError(f"{name} is an encoder", hint="name a model that generates text")
    return recipe


def build_model(recipe: Recipe, device: Device, *, name: str, dtype: str, positions: int) -> BenchModel:
    """The model of `recipe` with room for `positions` tokens, in evaluation mode, set to generate greedily and without end."""
    import torch

    longer = resized(recipe, positions=positions)
    require_memory(weight_bytes(longer.shape, dtype), device, f"the weights of {name}")
    torch.manual_seed(SEED)
    model = build(longer, device, dtype=dtype, attention="sdpa").requires_grad_(False)
    model.generation_config = _endless()
    is_raised = longer.shape.num_params != recipe.shape.num_params
    return BenchModel(
        name=name,
        family=recipe.model_type,
        shape=longer.shape,
        model=model,
        dtype=dtype,
        positions_raised_to=longer.shape.max_position_embeddings if is_raised else None,
        notes=longer.notes,
    )


def _endless() -> Any:
    """Greedy, and no token ends a row: every engine makes exactly the tokens it is asked for."""
    from transformers import GenerationConfig

    return GenerationConfig(do_sample=False, eos_token_id=None, bos_token_id=None, pad_token_id=0)


def twin(model: Any) -> Any:
    """Another model over the same weights and buffers: what is done to one's modules, config or methods leaves the other as it is."""
    shared = {id(each): each for each in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)
