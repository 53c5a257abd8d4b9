"""Shapes from single fields: a whole model from a few numbers, and overrides on top of a model that was read.

A model of numbers alone is GPT-2's architecture (pre-LayerNorm, biases, learned positions, plain GELU MLP, tied embeddings), for
which the parameter count of the paper's section III-C holds, plus its final norm: P = 12 h^2 L + 13 h L + (v + s) h + 2 h.

Errors: `InputError` for an absent, unknown or impossible field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import InputError, shown, unknown_name
from ..shape import (
    MAX_WIDTH,
    LatentAttention,
    LayerAttention,
    MixtureOfExperts,
    ModelShape,
    override,
    require_integer,
    whole_head_dim,
)
from .effects import idle_notes, redirected, repeated_notes
from .source import LoadedShape

REQUIRED = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
DEFAULT_POSITIONS = 2048
_NOT_SCALAR = ("name", "latent_attention", "moe")
_WRITTEN: Mapping[str, type] = MappingProxyType({"attention_pattern": str})
"""Fields that a flag writes as text though they hold something else."""
_GPT2: Mapping[str, Any] = MappingProxyType({
    "position_embedding": "learned", "norm": "layernorm", "hidden_act": "gelu", "is_gated": False, "is_qkv_fused": True,
    "has_qkv_bias": True, "has_attention_output_bias": True, "has_mlp_bias": True, "tie_word_embeddings": True,
    "attention_dropout": 0.1, "hidden_dropout": 0.1,
})  # fmt: skip


def _scalar(hint: Any) -> type:
    """The plain type behind `int | None` or `Literal[...]`."""
    arguments = [argument for argument in get_args(hint) if argument is not NoneType]
    if get_origin(hint) is Literal:
        return str
    return _scalar(arguments[0]) if arguments else hint


def _scalars(owner: type) -> dict[str, type]:
    hints = get_type_hints(owner)
    names = [field.name for field in fields(owner) if field.name not in _NOT_SCALAR]
    return {name: _WRITTEN.get(name) or _scalar(hints[name]) for name in names}


_PARTS: Mapping[str, type] = {"moe": MixtureOfExperts, "latent_attention": LatentAttention}
_FIELDS_OF_PART: Mapping[str, Mapping[str, type]] = {name: _scalars(part) for name, part in _PARTS.items()}
_FIELDS_OF_SHAPE: Mapping[str, type] = _scalars(ModelShape)
#: Every field that a flag may set, with the type of its value: those of `ModelShape`, of its experts and of its latent attention.
OVERRIDABLE: Mapping[str, type] = MappingProxyType({**_FIELDS_OF_SHAPE, **_FIELDS_OF_PART["moe"], **_FIELDS_OF_PART["latent_attention"]})


def require_known(changes: Mapping[str, Any]) -> None:
    """Refuse names that are no field, with the nearest one."""
    for name in changes:
        if name not in OVERRIDABLE:
            raise unknown_name("model field", name, OVERRIDABLE)


def _parsed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `given` that are set, known names all, with an attention pattern such as "sliding,full" as a tuple."""
    given = {field: value for field, value in given.items() if value is not None}
    require_known(given)
    pattern = given.get("attention_pattern")
    if isinstance(pattern, list):
        given["attention_pattern"] = tuple(pattern)
    if isinstance(pattern, str):
        words = tuple(word.strip() for word in pattern.split(","))
        if wrong := [word for word in words if word not in get_args(LayerAttention)]:
            raise InputError(f"attention_pattern holds {shown(wrong[0])}", hint="expected full and sliding, such as sliding,full",
                             field="attention_pattern")  # fmt: skip
        given["attention_pattern"] = words
    return given


def shape_from_fields(name: str = "custom", **given: Any) -> LoadedShape:
    """A model from `given` fields alone; what is absent is GPT-2's, and `notes` say what was taken.

    hidden_size, num_attention_heads, num_hidden_layers and vocab_size must be given, and intermediate_size too for a gated MLP: there
    is no one default width of it.
    """
    given = _parsed(given)
    absent = [field for field in REQUIRED if field not in given]
    if absent:
        raise InputError(f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} absent",
                         hint=f"give {' '.join('--' + field.replace('_', '-') for field in absent)}", field=absent[0])  # fmt: skip
    taken = _defaults(given)
    values = taken | {field: value for field, value in given.items() if field in _FIELDS_OF_SHAPE} | _windows(("full",), given)
    for part in _PARTS:
        values[part] = _new_part(part, given, values)
    if values["latent_attention"] and "head_dim" not in given:
        values["head_dim"] = values["latent_attention"].qk_nope_head_dim + values["latent_attention"].qk_rope_head_dim
    shape = ModelShape(name=name, **values)
    listed = ", ".join(f"{field} {getattr(shape, field)}" for field in taken if field not in given)
    notes = (f"not given, as in GPT-2: {listed}",) if listed else ()
    return LoadedShape(shape=shape, origin="flags", notes=(*notes, *idle_notes(shape, given)))


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of GPT-2's architecture that `given` leaves out."""
    hidden, heads = given["hidden_size"], given["num_attention_heads"]
    for field in ("hidden_size", "num_attention_heads"):
        require_integer(field, given[field], 1, MAX_WIDTH)
    taken: dict[str, Any] = {"num_key_value_heads": heads}
    if "head_dim" not in given and "kv_lora_rank" not in given:
        taken["head_dim"] = whole_head_dim(hidden, heads)
    if "intermediate_size" not in given:
        if given.get("is_gated"):
            raise InputError("intermediate_size is absent", hint="a gated MLP has no default width, give --intermediate-size",
                             field="intermediate_size")  # fmt: skip
        taken["intermediate_size"] = 4 * hidden
    if given.get("position_embedding", "learned") == "learned":
        taken["max_position_embeddings"] = DEFAULT_POSITIONS
    taken |= _GPT2
    if given.get("is_gated"):
        taken["hidden_act"] = "silu"
    return {field: value for field, value in taken.items() if field not in given}


def _new_part(part: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """The experts or the latent attention that `given` describes; None if it names none of their fields."""
    own = {field: value for field, value in given.items() if field in _FIELDS_OF_PART[part]}
    if not own:
        return None
    if part == "moe":
        own.setdefault("moe_intermediate_size", values["intermediate_size"])
    else:
        own.setdefault("q_lora_rank", None)
    needed = [field.name for field in fields(_PARTS[part]) if field.name not in own and field.default is MISSING]
    if needed:
        what = "mixture of experts" if part == "moe" else "latent attention"
        raise InputError(f"{next(iter(own))} is given, but the model has no {what}",
                         hint=f"give {' '.join('--' + name.replace('_', '-') for name in needed)} too", field=needed[0])  # fmt: skip
    return _PARTS[part](**own)


def _windows(pattern: tuple[str, ...], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A window for a model without sliding layers makes all of its layers sliding, unless the pattern is given too."""
    is_alone = "sliding_window" in changes and "attention_pattern" not in changes
    return {"attention_pattern": ("sliding",)} if is_alone and "sliding" not in pattern else {}


def apply_overrides(shape: ModelShape, changes: Mapping[str, Any], *, stand_ins: Sequence[str] = ()) -> tuple[ModelShape, tuple[str, ...]]:
    """`shape` with scalar fields, and fields of its experts and latent attention, changed; and a note for each field moved along.

    A value of None leaves its field alone. `stand_ins` are fields of `changes` that `shape` has from them already. What
    would be without effect is refused where another field is meant, else noted.
    """
    changes, redirections = redirected(shape, _parsed(changes))
    own: dict[str, Any] = {name: value for name, value in changes.items() if name in _FIELDS_OF_SHAPE}
    for part in _PARTS:
        inner = {name: value for name, value in changes.items() if name in _FIELDS_OF_PART[part]}
        old = getattr(shape, part)
        if inner and old is None:
            own[part] = _new_part(part, inner, {"intermediate_size": own.get("intermediate_size", shape.intermediate_size)})
        elif inner:
            own[part] = replace(old, **inner)
    new_latent = own.get("latent_attention")
    if new_latent:
        own.setdefault("head_dim", new_latent.qk_nope_head_dim + new_latent.qk_rope_head_dim)
        own.setdefault("num_key_value_heads", own.get("num_attention_heads", shape.num_attention_heads))
    windows = _windows(shape.attention_pattern, changes)
    changed, notes = override(shape, **own, **windows)
    repeated = {name: value for name, value in changes.items() if name not in stand_ins}
    widened = ("all layers become sliding (the model had no sliding layer)" for _ in windows)
    return changed, (*redirections, *notes, *widened, *idle_notes(changed, changes), *repeated_notes(shape, repeated))
