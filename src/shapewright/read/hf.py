"""Hugging Face configs: a `config.json` or a live `transformers` config becomes a `ModelShape`.

The shape describes what transformers 5.17 builds and runs for that config: the language model with its head (`...ForCausalLM`,
`...ForMaskedLM`). Nothing of transformers is imported, no code of a checkpoint runs and nothing is fetched.

Errors: `InputError` for a config that is no decoder-only or encoder-only transformer, whose type is unknown or whose values make no
model; the message names the key as the file does, and its line where that is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from ..errors import InputError, shown
from ..shape import LatentAttention, MixtureOfExperts, ModelShape
from . import hf_parts as parts
from .hf_config import MAX_NAME_CHARACTERS, Family, HfConfig, ShapeFields
from .hf_gpt import GPT_FAMILIES
from .hf_kin import KIN_FAMILIES
from .hf_llama import GROUPED, LLAMA_FAMILIES
from .hf_names import (
    ALIASES,
    ENCODER_DECODERS,
    FOREIGN_KEYS,
    LANGUAGE_MODEL_ENDINGS,
    NOT_COVERED,
    NOT_TRANSFORMERS,
    TEXT_KEYS,
    TEXT_TYPES,
)
from .located import NO_LINES, Lines, Spot, place
from .source import LoadedShape

FAMILIES: Mapping[str, Family] = MappingProxyType({**LLAMA_FAMILIES, **KIN_FAMILIES, **GPT_FAMILIES})
#: Similarity (0 to 1) from which two keys may be one misspelled: num_hidden_layer and num_hidden_layers have 0.97.
NEAR_MISS = 0.9
SCOPE = "shapewright covers decoder-only and encoder-only transformers"

_BEST_KNOWN = (
    "bert", "bloom", "cohere2", "deepseek_v3", "falcon", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "gpt_oss", "llama", "mistral",
    "mixtral", "olmo2", "opt", "phi3", "qwen2", "qwen3", "qwen3_moe", "roberta", "smollm3",
)  # fmt: skip

#: Quantities of a config that are not fields themselves, and the field that they set.
_FIELD_OF: Mapping[str, str] = {
    "layer_types": "attention_pattern", "attention_types": "attention_pattern", "sliding_window_pattern": "attention_pattern",
    "num_kv_heads": "num_key_value_heads", "multi_query": "num_key_value_heads", "alibi": "position_embedding",
    "do_layer_norm_before": "norm_placement", "use_qk_norm": "qk_norm", "qk_layernorm": "qk_norm", "num_experts": "moe",
    "kv_lora_rank": "latent_attention", "new_decoder_architecture": "is_parallel", "parallel_attn": "is_parallel",
}  # fmt: skip
_FIELDS = frozenset(field.name for kind in (ModelShape, MixtureOfExperts, LatentAttention) for field in fields(kind))


def shape_from_hf_config_object(config: Any) -> LoadedShape:
    """The shape of a live transformers config: anything with `model_type` and `to_dict()`."""
    values = config.to_dict()
    if not isinstance(values, Mapping):
        raise InputError(f"to_dict() of {type(config).__name__} returns no mapping", hint="give a transformers config")
    model_type = getattr(config, "model_type", None)
    name = getattr(config, "name_or_path", None) or model_type or type(config).__name__
    return shape_from_hf({"model_type": model_type, **values}, name=str(name), where=type(config).__name__)


def shape_from_hf(config: Mapping[str, Any], *, name: str, where: str = "config.json", lines: Lines | None = None) -> LoadedShape:
    """The shape that a Hugging Face config describes; `lines` are those of `load_json`."""
    spot = Spot(where=where, lines=NO_LINES if lines is None else lines)
    outer = _model_type(config, spot)
    _refuse_kind(config, outer, spot)
    values, model_type, notes = config, outer, []
    key = next((key for key in TEXT_KEYS if isinstance(config.get(key), Mapping)), None)
    if key is not None and outer not in FAMILIES:
        values, spot = {**_outer_defaults(config), **config[key]}, spot.within(key)
        model_type = _text_type(values, outer, spot)
        _refuse_kind(values, model_type, spot)
        notes.append(f"only the text part of {outer} is described ({key}, {model_type})")
    family, family_notes = _family(values, model_type, spot)
    reader = HfConfig(values, family, spot)
    shape = _build(reader, model_type, name)
    notes += [*family_notes, *reader.notes, *_remarks(config, reader, model_type)]
    return LoadedShape(shape=shape, origin=where, lines=MappingProxyType(_field_lines(reader)), notes=tuple(notes))


def _outer_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a multimodal config says for its text part unless that part says it itself."""
    return {key: config[key] for key in ("tie_word_embeddings",) if key in config}


def _model_type(config: Mapping[str, Any], spot: Spot) -> str:
    value, where = config.get("model_type"), spot.place("model_type")
    if value is None or value == "":
        raise InputError("model_type is absent", where=where, hint=f"name the architecture; known: {_known()}", field="architecture")
    if not isinstance(value, str):
        raise InputError(f"model_type is {shown(value)}", where=where, hint="expected a name such as llama", field="architecture")
    return value


def _text_type(values: Mapping[str, Any], outer: str, spot: Spot) -> str:
    """Type of a multimodal model's text part: its own word, else what that kind of model is built on."""
    if not values.get("model_type") and outer in TEXT_TYPES:
        return TEXT_TYPES[outer]
    return _model_type(values, spot)


def _known() -> str:
    """The best-known types, and how many there are: all of them would not fit a line."""
    return f"{', '.join(_BEST_KNOWN)} and {len(FAMILIES) - len(_BEST_KNOWN)} more"


def _refuse_kind(config: Mapping[str, Any], model_type: str, spot: Spot) -> None:
    """Refuse what is no decoder-only or encoder-only transformer, or has layers of different widths."""
    label = shown(model_type).strip("'\"")

    def refuse(key: str, what: str) -> None:
        raise InputError(what, where=spot.place(key), hint=SCOPE, field="architecture")

    if model_type in ENCODER_DECODERS:
        refuse("model_type", f"{label} is an encoder-decoder")
    if config.get("is_encoder_decoder") is True:
        refuse("is_encoder_decoder", f"{label} is an encoder-decoder")
    if config.get("add_cross_attention") is True:
        refuse("add_cross_attention", f"{label} with cross-attention is half of an encoder-decoder")
    if model_type in NOT_TRANSFORMERS:
        refuse("model_type", f"{label} is not a transformer throughout: some of its layers are recurrent, convolutional or linear")
    if config.get("per_layer_config"):
        refuse("per_layer_config", "layers of different widths are not covered")


def _family(values: Mapping[str, Any], model_type: str, spot: Spot) -> tuple[Family, list[str]]:
    """The family of a type; an unknown type with a Llama's keys is read as one, and a note says so."""
    known = FAMILIES.get(ALIASES.get(model_type, model_type))
    if known is not None:
        return known, []
    if model_type not in NOT_COVERED and _is_like_llama(values):
        return _LIKE_LLAMA, [
            f"model_type {shown(model_type)} is unknown: read as a Llama-like decoder (RMSNorm, rotary positions, gated MLP); "
            "its parameter count may differ"
        ]
    fault = "is not covered" if model_type in NOT_COVERED else "is unknown and its keys are not a Llama's"
    near = difflib.get_close_matches(model_type[:MAX_NAME_CHARACTERS], FAMILIES, n=1, cutoff=0.7)
    raise InputError(
        f"model_type {shown(model_type)} {fault}",
        where=spot.place("model_type"),
        hint=(f"did you mean {near[0]}? " if near and model_type not in NOT_COVERED else "") + f"known: {_known()}",
        field="architecture",
    )


def _build(config: HfConfig, model_type: str, name: str) -> ModelShape:
    """Fields that every config sets, then those of the keys, then those that parts compute."""
    values: ShapeFields = {**config.family.fixed, **_sizes(config), **_plain_fields(config)}
    for part in config.family.parts:
        values.update(part(config))
    if "head_dim" not in values:
        values["head_dim"] = parts.head_dim(config)
    _require_dividing_heads(config, values)
    try:
        return ModelShape(name=name, architecture=model_type, **values)
    except InputError as error:
        line = _field_lines(config).get(error.field or "")
        raise error.at(place(config.spot.where, line)) from error


def _sizes(config: HfConfig) -> ShapeFields:
    """Widths and counts. A plain MLP is 4h wide and heads are not grouped unless the config says otherwise."""
    keys, defaults = config.family.keys, config.family.defaults
    sizes: ShapeFields = {name: config.size(name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")}
    inner = None
    if "intermediate_size" in keys:
        is_required = defaults.get(keys["intermediate_size"][0]) is not None or config.family is _LIKE_LLAMA
        inner = config.size("intermediate_size") if is_required else config.optional_size("intermediate_size")
    sizes["intermediate_size"] = inner or 4 * sizes["hidden_size"]
    grouped = config.optional_size("num_key_value_heads") if "num_key_value_heads" in keys else None
    sizes["num_key_value_heads"] = grouped or sizes["num_attention_heads"]
    if "max_position_embeddings" in keys:
        sizes["max_position_embeddings"] = config.optional_size("max_position_embeddings")
    if "num_token_types" in keys:
        sizes["num_token_types"] = config.optional_size("num_token_types", low=0) or 0
    return sizes


def _plain_fields(config: HfConfig) -> ShapeFields:
    """Flags, names and probabilities that a key gives directly."""
    values: ShapeFields = {}
    for name in config.family.keys:
        if name.startswith(("has_", "is_", "tie_")):
            values[name] = config.flag(name)
        elif name in ("attention_dropout", "hidden_dropout"):
            values[name] = config.dropout(name)
        elif name in ("attention_softcap", "final_softcap"):
            values[name] = config.softcap(name)
        elif name == "hidden_act":
            values[name] = config.text(name)
    return values


def _require_dividing_heads(config: HfConfig, values: ShapeFields) -> None:
    """Each key/value head serves a whole number of query heads; said in the file's own words."""
    heads, grouped = values["num_attention_heads"], values["num_key_value_heads"]
    if heads % grouped:
        name = "num_kv_heads" if "num_kv_heads" in config.family.keys else "num_key_value_heads"
        what = f"{config.key(name)} {grouped} does not divide {config.key('num_attention_heads')} {heads}"
        config.fail(name, what, "each key/value head serves a whole number of query heads")


def _field_lines(config: HfConfig) -> dict[str, int]:
    """Lines by field of `ModelShape` (and of its parts), in the order in which keys were read."""
    lines = {_FIELD_OF[name]: line for name, line in config.used.items() if name in _FIELD_OF}
    return lines | {name: line for name, line in config.used.items() if name in _FIELDS}


def _remarks(outer: Mapping[str, Any], config: HfConfig, model_type: str) -> list[str]:
    """What a reader should know: defaults taken, quantisation left out, a head that the checkpoint lacks."""
    notes = []
    sizes = ", ".join(f"{config.key(name)} {value}" for name, value in config.assumed.items() if name in _FIELDS)
    if sizes:
        notes.append(f"not in the config, taken from transformers' defaults for {model_type}: {sizes}")
    notes += _near_misses(config)
    quantization = outer.get("quantization_config") or config.values.get("quantization_config")
    if isinstance(quantization, Mapping):
        method = shown(quantization.get("quant_method", "unnamed")).strip("'\"")
        notes.append(f"quantization_config ({method}) is left out: products are described in the workload's dtype")
    architectures = outer.get("architectures")
    first = architectures[0] if isinstance(architectures, list | tuple) and architectures else None
    if isinstance(first, str) and not first.endswith(LANGUAGE_MODEL_ENDINGS):
        notes.append(f"the checkpoint is a {shown(first).strip(chr(39))}; described is the language model with its head")
    return notes


def _near_misses(config: HfConfig) -> list[str]:
    """Keys that nothing reads though they are nearly spelled like one that is absent, so that a default took its place."""
    absent = [key for key in config.looked_up if key not in config.values]
    notes = []
    for key in config.values:
        if key in config.looked_up or key.startswith("_") or len(key) > MAX_NAME_CHARACTERS:
            continue
        near = difflib.get_close_matches(key, absent, n=1, cutoff=NEAR_MISS)
        if near:
            notes.append(f"{config.spot.place(key)}: {shown(key)} is not read; is {near[0]} meant? its default is taken")
    return notes


def _is_like_llama(values: Mapping[str, Any]) -> bool:
    """Whether a config of unknown type has the sizes and the RMSNorm of a Llama and no sign of experts or recurrence."""
    has_sizes = all(any(key in values for key in _LIKE_LLAMA.keys[name]) for name in _LIKE_SIZES)
    return has_sizes and "rms_norm_eps" in values and not any(values.get(key) for key in FOREIGN_KEYS)


def _like_llama_windows(config: HfConfig) -> ShapeFields:
    if config.entries("layer_types") is not None:
        return parts.layered(config, (), config.optional_size("sliding_window"))
    is_used = not config.has("use_sliding_window") or config.flag("use_sliding_window")
    return parts.sliding_everywhere(config) if is_used else {}


def _like_llama_rotary(config: HfConfig) -> ShapeFields:
    is_partial = config.has("rotary_factor") or "partial_rotary_factor" in config.table("rope_parameters")
    return parts.partial_rotary(config) if is_partial else {}


_LIKE_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LIKE_LLAMA = Family(
    keys=GROUPED | {
        "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
        "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "hidden_dim"),
        "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
        "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv"),
        "max_position_embeddings": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
        "has_qkv_bias": ("attention_bias", "qkv_bias", "bias"), "has_attention_output_bias": ("attention_bias", "bias"),
        "has_mlp_bias": ("mlp_bias",), "rotary_factor": ("partial_rotary_factor", "rotary_pct"),
    },
    defaults={"hidden_act": "silu"},
    parts=(_like_llama_windows, _like_llama_rotary),
)  # fmt: skip
