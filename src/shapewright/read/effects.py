"""Overrides that a model has no use for: what is meant instead, or a note that nothing changes.

Errors: `InputError` where the width that the user names follows from other fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError
from ..shape import ModelShape

#: Field -> whether a shape has no use for it, and why.
_Idle = tuple[Callable[[ModelShape], bool], str]
_LATENT: _Idle = (lambda shape: shape.latent_attention is not None, "latent attention has no such part")
_NOT_LEARNED: _Idle = (lambda shape: shape.position_embedding != "learned", "positions have no table")
_NOT_GATED: _Idle = (lambda shape: not shape.is_gated, "the MLP has no gate")
_NO_HEAD: _Idle = (lambda shape: not shape.has_lm_head, "the model has no logits")
_NO_SHARED: _Idle = (lambda shape: shape.moe is None or not shape.moe.shared_expert_intermediate_size, "the model has no shared expert")
_IDLE: Mapping[str, tuple[_Idle, ...]] = {
    "num_key_value_heads": (_LATENT,),
    "is_qkv_fused": (_LATENT,),
    "qk_norm": (_LATENT,),
    "rotary_dim": (_LATENT, (lambda shape: shape.position_embedding != "rotary", "positions are not rotary")),
    "has_fused_gqa": (_LATENT, (lambda shape: shape.num_key_value_heads == shape.num_attention_heads, "no key head is shared")),
    "num_extra_positions": (_NOT_LEARNED,),
    "num_parallel_norms": ((lambda shape: not shape.is_parallel, "attention and MLP are not parallel"),),
    "is_gate_up_fused": (_NOT_GATED,),
    "has_mlp_bias": ((lambda shape: not has_dense_layer(shape) and _NO_SHARED[0](shape), "every MLP is an expert's"),),
    "has_lm_head_bias": (_NO_HEAD,),
    "has_lm_head_transform": (_NO_HEAD,),
    "final_softcap": (_NO_HEAD,),
    "sliding_window": ((lambda shape: "sliding" not in shape.attention_pattern, "no layer is sliding"),),
    "has_shared_expert_gate": (_NO_SHARED,),
}


def has_dense_layer(shape: ModelShape) -> bool:
    """Whether any layer has the dense MLP that `intermediate_size` is the width of."""
    return any(kind.mlp == "dense" for kind in shape.layer_kinds)


def redirected(shape: ModelShape, changes: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`changes` with an intermediate_size that can only mean the experts' moved to them, and a note; refuses what follows from others.

    Mixtral's own config calls the width of its experts intermediate_size, so the shape holds one number for both.
    """
    if "head_dim" in changes and shape.latent_attention:
        raise InputError(
            "head_dim of latent attention is qk_nope_head_dim + qk_rope_head_dim",
            hint="give --qk-nope-head-dim, --qk-rope-head-dim or --v-head-dim",
            field="head_dim",
        )
    if "intermediate_size" not in changes or shape.moe is None or has_dense_layer(shape) or _moves_routing(changes):
        return changes, ()
    if shape.moe.moe_intermediate_size != shape.intermediate_size or "moe_intermediate_size" in changes:
        raise InputError(
            "intermediate_size is the width of dense layers, and the model has none",
            hint="give --moe-intermediate-size alone",
            field="intermediate_size",
        )
    note = "intermediate_size sets the experts' moe_intermediate_size too: every layer is routed"
    return {**changes, "moe_intermediate_size": changes["intermediate_size"]}, (note,)


def _moves_routing(changes: Mapping[str, Any]) -> bool:
    """Whether dense layers may appear."""
    return not changes.keys().isdisjoint(("first_k_dense", "layer_step", "layer_offset"))


def idle_notes(shape: ModelShape, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """A note for each of `changes` that `shape`, made with them, has no part for."""
    reasons = {name: [why for is_idle, why in _IDLE.get(name, ()) if is_idle(shape)] for name in changes}
    return tuple(f"{name} {changes[name]} does not apply: {why[0]}" for name, why in reasons.items() if why)


def repeated_notes(before: ModelShape, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """A note for each of `changes` that the model says itself."""
    return tuple(
        f"{name} {value} changes nothing: the model has it already" for name, value in changes.items() if _value(before, name) == value
    )


def _value(shape: ModelShape, name: str) -> object:
    """The value of a field of a shape or of its parts; the absent part of a model has none."""
    owners = [owner for owner in (shape, shape.moe, shape.latent_attention) if owner is not None and hasattr(owner, name)]
    return getattr(owners[0], name) if owners else object()
