"""A model's name and changes as fields of a Hugging Face config: plain values, without torch or transformers.

`recipe_of(model, changes)` takes a catalogue name or a file and text such as "intermediate_size=10922,num_attention_heads=20". A change
names a field of `ModelShape`, and what hangs on it moves along (`shape.override`), or a key of the config itself. The fields are read back
as a shape (`Recipe.shape`): what is built is what was asked for. Models that the catalogue describes by their shape alone (GPT-3) become
GPT-NeoX with sequential residuals, rotary positions on a quarter of the head and without dropout, where their layers are of that kind.

Errors: `InputError` that names the model, the change or the field at fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, shown, unknown_name
from ..read import catalogue
from ..read.fields import OVERRIDABLE, apply_overrides
from ..read.hf import FAMILIES, shape_from_hf
from ..read.hf_config import Family
from ..read.hf_names import ALIASES, TEXT_KEYS
from ..read.located import load_json, read_text
from ..read.resolve import load_shape
from ..shape import ModelShape

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "none": None}
#: Keys of a config that say how a checkpoint was saved, not what the model is.
_NOT_SHAPE = (
    "model_type", "auto_map", "architectures", "torch_dtype", "dtype", "quantization_config", "transformers_version", "_name_or_path",
    "attn_implementation", "_attn_implementation", "use_cache",
)  # fmt: skip
#: Fields of a shape that are labels, and those that GPT-NeoX of transformers does not take over from a catalogue's shape.
_LABELS = ("name", "architecture")
_NEOX_LAYER: Mapping[str, Any] = {
    "is_gated": False, "norm": "layernorm", "norm_placement": "pre", "is_qkv_fused": True, "has_qkv_bias": True,
    "has_attention_output_bias": True, "has_mlp_bias": True, "moe": None, "latent_attention": None, "qk_norm": None, "kind": "decoder",
    "has_embedding_norm": False, "is_weight_transposed": False, "embedding_size": None, "attention_pattern": ("full",),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Keys of a config of `model_type`, the shape that transformers builds from them, and remarks on how they came about."""

    model_type: str
    values: Mapping[str, Any]
    shape: ModelShape
    notes: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        return FAMILIES[ALIASES.get(self.model_type, self.model_type)]


def recipe_of(model: str, changes: str = "") -> Recipe:
    """The fields of `model` with `changes` on top."""
    model_type, values, notes = _source(model)
    recipe = _read(model, model_type, values, notes)
    wanted = parse_changes(changes)
    known = {*OVERRIDABLE, *values, *recipe.family.defaults}
    for name in wanted:
        if name not in known or name in _NOT_SHAPE:
            raise unknown_name(f"field of {recipe.model_type}", name, known, field=name)
    own = {name: value for name, value in wanted.items() if name not in OVERRIDABLE}
    if own:
        recipe = _read(model, model_type, {**values, **own}, notes)
    return _overridden(recipe, {name: value for name, value in wanted.items() if name in OVERRIDABLE})


def shape_of(model: str, changes: str = "") -> ModelShape:
    """The shape that a point of this model and these changes builds."""
    return recipe_of(model, changes).shape


def resized(recipe: Recipe, *, num_layers: int = 0, vocab_size: int = 0, positions: int = 0) -> Recipe:
    """The recipe with another depth and vocabulary (0: its own), and a table of learned positions of at least `positions` rows."""
    values, old = dict(recipe.values), recipe.shape
    depth = num_layers or old.num_hidden_layers
    values[_key(recipe, "num_hidden_layers")] = depth
    for name, value in recipe.values.items():
        if isinstance(value, list | tuple) and len(value) == old.num_hidden_layers and not isinstance(value[0], list | tuple):
            values[name] = [value[i % len(value)] for i in range(depth)]
    if "attention_types" in values:
        kinds = [kind for group, count in values["attention_types"] for _ in range(count) for kind in group]
        values["attention_types"] = [[[kinds[i % len(kinds)] for i in range(depth)], 1]]
    if vocab_size:
        values[_key(recipe, "vocab_size")] = vocab_size
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            values[name] = 0 if name == "pad_token_id" and old.kind == "encoder" else None
    if old.position_embedding == "learned" and positions > (old.max_position_embeddings or 0):
        # An encoder's table may keep rows that serve no position.
        values[_key(recipe, "max_position_embeddings")] = positions + (8 if old.kind == "encoder" else 0)
    return _read(old.name, recipe.model_type, values, recipe.notes)


def parse_changes(text: str) -> dict[str, Any]:
    """Values by name: "a=1,b=0.5,c=true,d=gelu"."""
    found: dict[str, Any] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not name or not value:
            raise InputError(f"the change {shown(part)} is no field=value", hint="write intermediate_size=10922", field="changes")
        if name in found:
            raise InputError(f"{name} is changed twice", hint="keep one", field=name)
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return text
    return float(text) if any(letter in text for letter in ".eE") else int(text)


def _source(model: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """model_type, keys and remarks of a name or file."""
    path = Path(model)
    if path.is_dir():
        path = path / "config.json"
    if path.suffix == ".json" and path.is_file():
        return _of_config(load_json(read_text(path), where=str(path)).values, str(path))
    if catalogue.is_known(model):
        entry = catalogue.describe(model)
        if entry.config:
            return _of_config(entry.config, entry.name)
    return _as_neox(load_shape(model))


def _of_config(config: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    outer = config.get("model_type")
    if outer not in FAMILIES:
        inner = next((config[key] for key in TEXT_KEYS if isinstance(config.get(key), Mapping)), None)
        config = config if inner is None else inner
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or ALIASES.get(model_type, model_type) not in FAMILIES:
        raise unknown_name("model_type", model_type, FAMILIES, where=where, field="architecture")
    notes = ("random weights of the plain number format: quantization_config is left out",) if "quantization_config" in config else ()
    return model_type, {key: value for key, value in config.items() if key not in _NOT_SHAPE}, notes


def _as_neox(shape: ModelShape) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """GPT-NeoX fields of a shape whose layers GPT-NeoX builds."""
    odd = [name for name, value in _NEOX_LAYER.items() if getattr(shape, name) != value]
    if shape.num_key_value_heads != shape.num_attention_heads or shape.head_dim * shape.num_attention_heads != shape.hidden_size:
        odd.append("num_key_value_heads")
    if odd or shape.position_embedding not in ("learned", "rotary"):
        fault = f"{odd[0]} is {shown(getattr(shape, odd[0]))}" if odd else f"position_embedding is {shape.position_embedding}"
        raise InputError(f"{shape.name} has no Hugging Face config, and GPT-NeoX does not build its layers ({fault})",
                         hint="give a config.json, or measure the layer with source reference", field="model")  # fmt: skip
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "hidden_act")
    values: dict[str, Any] = {name: getattr(shape, name) for name in names}
    values |= {"use_parallel_residual": shape.is_parallel, "tie_word_embeddings": shape.tie_word_embeddings}
    values |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, "max_position_embeddings": shape.max_position_embeddings or 2048}
    is_learned = shape.position_embedding == "learned"
    values["rotary_pct"] = 0.25 if is_learned else shape.num_rotary_dims / shape.head_dim
    notes = ("built as gpt_neox without dropout" + (", rotary positions in place of learned ones" if is_learned else ""),)
    return "gpt_neox", values, notes


def _read(name: str, model_type: str, values: Mapping[str, Any], notes: tuple[str, ...]) -> Recipe:
    shape = shape_from_hf({"model_type": model_type, **values}, name=name, where=name).shape
    return Recipe(model_type=model_type, values=values, shape=shape, notes=notes)


def _overridden(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Shape fields written under the config's own keys: those asked for and those that the config states, then what else moved along
    (most of it follows from the first); read back to be sure."""
    if not changes:
        return recipe
    wanted, notes = apply_overrides(recipe.shape, changes)
    stated = [name for name in _moved(recipe, wanted) if _key(recipe, name) in recipe.values]
    recipe = _written(recipe, wanted, changes, (*changes, *stated))
    recipe = _written(recipe, wanted, changes, _moved(recipe, wanted))
    if wrong := _moved(recipe, wanted):
        raise InputError(f"{wrong[0]} of {recipe.model_type} cannot be {shown(getattr(wanted, wrong[0]))}",
                         hint="change a key of its config, or measure the layer with source reference", field=wrong[0])  # fmt: skip
    return replace(recipe, notes=(*recipe.notes, *notes))


def _written(recipe: Recipe, wanted: ModelShape, changes: Mapping[str, Any], names: Sequence[str]) -> Recipe:
    values = {_key(recipe, name): getattr(wanted, name) if hasattr(wanted, name) else changes[name] for name in names}
    if wanted.embedding_size is None and "embedding_size" in names:
        values[_key(recipe, "embedding_size")] = wanted.hidden_size  # a table as wide as the model is no part of its own
    return _read(recipe.shape.name, recipe.model_type, {**recipe.values, **values}, recipe.notes)


def _moved(recipe: Recipe, wanted: ModelShape) -> list[str]:
    """Fields in which the recipe is not yet what is wanted."""
    names = (each.name for each in fields(ModelShape))
    return [name for name in names if name not in _LABELS and getattr(recipe.shape, name) != getattr(wanted, name)]


def _key(recipe: Recipe, name: str) -> str:
    """The config's key for a field, as the config spells it already or else as transformers does."""
    spellings = recipe.family.keys.get(name, (name,))
    return next((key for key in spellings if key in recipe.values), spellings[0])
