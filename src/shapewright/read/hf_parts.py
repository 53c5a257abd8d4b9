"""The parts of a `ModelShape` that several Hugging Face architectures compute alike: attention patterns, rotary width, experts.

Each part takes an `HfConfig` and returns fields of `ModelShape`. They follow the modelling code of transformers 5.17
(`transformers/models/*/modeling_*.py`), which decides what runs; a key that this code does not read is not read here either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..shape import LatentAttention, LayerAttention, MixtureOfExperts
from .hf_config import HfConfig, ShapeFields, json_shown

Part = Callable[[HfConfig], ShapeFields]

_LAYER_TYPES: dict[str, LayerAttention] = {
    "full_attention": "full", "sliding_attention": "sliding", "attention": "full", "global": "full", "local": "sliding",
}  # fmt: skip


def shortest_pattern(layers: Sequence[LayerAttention]) -> tuple[LayerAttention, ...]:
    """The shortest pattern that, repeated and cut off at the end, gives `layers`."""
    period = next(p for p in range(1, len(layers) + 1) if all(layers[i] == layers[i - p] for i in range(p, len(layers))))
    return tuple(layers[:period])


def head_dim(config: HfConfig) -> int:
    """Width of one head: `head_dim` where the architecture reads it, else hidden_size / num_attention_heads, which must be whole."""
    explicit = config.optional_size("head_dim") if "head_dim" in config.family.keys else None
    if explicit is not None:
        return explicit
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if hidden % heads:
        config.fail(
            "num_attention_heads",
            f"{config.key('num_attention_heads')} {heads} does not divide {config.key('hidden_size')} {hidden}",
            "choose a divisor" + (" or give head_dim" if "head_dim" in config.family.keys else ""),
        )
    return hidden // heads


def sliding_everywhere(config: HfConfig) -> ShapeFields:
    """Mistral: every layer slides where `sliding_window` is set."""
    window = config.optional_size("sliding_window")
    return {} if window is None else {"sliding_window": window, "attention_pattern": ("sliding",)}


def sliding_if_used(config: HfConfig) -> ShapeFields:
    """Qwen3-MoE: as Mistral, once `use_sliding_window` is set."""
    return sliding_everywhere(config) if config.flag("use_sliding_window") else {}


def sliding_upper_layers(config: HfConfig) -> ShapeFields:
    """Qwen2, Qwen3: `layer_types`, else layers from `max_window_layers` on slide once `use_sliding_window` is set."""
    window = config.optional_size("sliding_window") if config.flag("use_sliding_window") else None
    num_layers = config.size("num_hidden_layers")
    num_full = num_layers if window is None else config.optional_size("max_window_layers", low=0) or 0
    is_sliding = [layer >= num_full for layer in range(num_layers)]
    return layered(config, is_sliding, window)


def sliding_alternate_lower_layers(config: HfConfig) -> ShapeFields:
    """Qwen2-MoE: `layer_types`, else even layers below `max_window_layers` slide once `use_sliding_window` is set."""
    is_used = config.flag("use_sliding_window")
    window = config.optional_size("sliding_window") if is_used else None
    num_windowed = (config.optional_size("max_window_layers", low=0) or 0) if is_used else 0
    is_sliding = [layer % 2 == 0 and layer < num_windowed for layer in range(config.size("num_hidden_layers"))]
    return layered(config, is_sliding, window)


def sliding_but_every(period: int) -> Part:
    """Gemma 2 and 3, gpt-oss: `layer_types`, else every `period`-th layer is full (Gemma 3: `sliding_window_pattern`)."""

    def part(config: HfConfig) -> ShapeFields:
        every = config.optional_size("sliding_window_pattern") or period
        is_sliding = [(layer + 1) % every != 0 for layer in range(config.size("num_hidden_layers"))]
        return layered(config, is_sliding, config.optional_size("sliding_window"))

    return part


def layered(config: HfConfig, is_sliding: Sequence[bool], window: int | None) -> ShapeFields:
    """The pattern that `layer_types` gives, or else `is_sliding`; `window` is kept only where a layer slides."""
    entries = config.entries("layer_types")
    if entries is None:
        layers: list[LayerAttention] = ["sliding" if slides else "full" for slides in is_sliding]
    else:
        layers = named_layers(config, "layer_types", entries)
    if "sliding" not in layers:
        return {}
    if window is None:
        config.fail("sliding_window", "sliding layers need a sliding_window", "give it or make every layer full_attention")
    return {"sliding_window": window, "attention_pattern": shortest_pattern(layers)}


def named_layers(config: HfConfig, name: str, entries: Sequence[object]) -> list[LayerAttention]:
    """Kinds of attention by their names, one for each layer."""
    num_layers = config.size("num_hidden_layers")
    for entry in entries:
        if not isinstance(entry, str) or entry not in _LAYER_TYPES:
            config.fail(name, f"{config.key(name)} holds {json_shown(entry)}", "shapewright covers full and sliding attention")
    if len(entries) != num_layers:
        config.fail(name, f"{config.key(name)} describes {len(entries)} layers", f"{config.key('num_hidden_layers')} is {num_layers}")
    return [_LAYER_TYPES[str(entry)] for entry in entries]


def partial_rotary(config: HfConfig) -> ShapeFields:
    """Rotated elements of a head: int(head_dim x factor); the factor stands among the rotary parameters or beside them."""
    rotary = config.within("rope_scaling") if config.table("rope_scaling") else config.within("rope_parameters")
    source = rotary if "partial_rotary_factor" in rotary.values else config
    name = "partial_rotary_factor" if source is rotary else "rotary_factor"
    factor = source.number(name)
    if factor is None or not 0 < factor <= 1:
        source.refuse(name, "a share above 0 and at most 1")
    if name in source.used:
        config.used["rotary_dim"] = source.used[name]
    width = head_dim(config)
    rotated = int(width * factor)
    return {"rotary_dim": None if rotated == width else rotated}


def qk_norm(kind: str) -> Part:
    """Norms on queries and keys where the architecture's flag asks for them."""

    def part(config: HfConfig) -> ShapeFields:
        return {"qk_norm": kind} if config.flag("qk_norm") else {}

    return part


def bidirectional(config: HfConfig) -> ShapeFields:
    """Gemma: `use_bidirectional_attention` drops the causal mask (EmbeddingGemma)."""
    return {"kind": "encoder"} if config.flag("use_bidirectional_attention") else {}


def experts_everywhere(config: HfConfig) -> ShapeFields:
    """Mixtral, OLMoE, Phi-3.5-MoE: every layer is routed, and `intermediate_size` is the width of one expert."""
    return {"moe": _experts(config, moe_intermediate_size=config.size("intermediate_size"))}


def experts_gpt_oss(config: HfConfig) -> ShapeFields:
    """gpt-oss: as Mixtral, with biases on the router and the experts."""
    width = config.size("intermediate_size")
    return {"moe": _experts(config, moe_intermediate_size=width, has_router_bias=True, has_expert_bias=True)}


def experts_by_step(config: HfConfig) -> ShapeFields:
    """Qwen MoE: layer i is routed where (i + 1) % decoder_sparse_step == 0 and i is not in mlp_only_layers."""
    num_layers, step = config.size("num_hidden_layers"), config.size("decoder_sparse_step")
    dense = set(_layer_numbers(config, "mlp_only_layers"))
    routed = [layer for layer in range(num_layers) if (layer + 1) % step == 0 and layer not in dense]
    if config.optional_size("num_experts", low=0) == 0 or not routed:
        return {}
    if any((layer + 1) % step == 0 and layer not in routed for layer in range(routed[0], num_layers)):
        config.refuse("mlp_only_layers", "only layers below the first routed one (others are not covered)")
    has_shared = "shared_expert_intermediate_size" in config.family.defaults
    shared = config.size("shared_expert_intermediate_size") if has_shared else 0
    moe = _experts(
        config,
        moe_intermediate_size=config.size("moe_intermediate_size"),
        shared_expert_intermediate_size=shared,
        has_shared_expert_gate=has_shared,
        layer_step=step,
        first_k_dense=routed[0] if dense else 0,
    )
    return {"moe": moe}


def experts_deepseek(config: HfConfig) -> ShapeFields:
    """DeepSeek: layers from `first_k_dense_replace` on are routed and keep `n_shared_experts` experts for every token."""
    first = config.optional_size("first_k_dense_replace", low=0) or 0
    if first >= config.size("num_hidden_layers"):
        return {}
    width = config.size("moe_intermediate_size")
    num_shared = config.optional_size("n_shared_experts", low=0) or 0
    moe = _experts(config, moe_intermediate_size=width, shared_expert_intermediate_size=num_shared * width, first_k_dense=first)
    return {"moe": moe}


def _experts(config: HfConfig, **fields: Any) -> MixtureOfExperts:
    num_experts, per_token = config.size("num_experts"), config.size("num_experts_per_tok")
    if per_token > num_experts:
        config.refuse("num_experts_per_tok", f"at most {config.key('num_experts')} = {num_experts}")
    return MixtureOfExperts(num_experts=num_experts, num_experts_per_tok=per_token, **fields)


def _layer_numbers(config: HfConfig, name: str) -> list[int]:
    entries = config.entries(name) or []
    if any(isinstance(entry, bool) or not isinstance(entry, int) for entry in entries):
        config.refuse(name, "a list of layer numbers")
    return entries


def latent_attention(config: HfConfig) -> ShapeFields:
    """DeepSeek: low-rank queries and keys/values. Every head has its own key and value, whatever num_key_value_heads says."""
    latent = LatentAttention(
        q_lora_rank=config.optional_size("q_lora_rank"),
        kv_lora_rank=config.size("kv_lora_rank"),
        qk_nope_head_dim=config.size("qk_nope_head_dim"),
        qk_rope_head_dim=config.size("qk_rope_head_dim"),
        v_head_dim=config.size("v_head_dim"),
    )
    if config.raw("num_nextn_predict_layers"):
        config.notes.append("layers that predict further tokens (MTP) are left out, as transformers leaves them out")
    return {
        "latent_attention": latent,
        "head_dim": latent.qk_nope_head_dim + latent.qk_rope_head_dim,
        "num_key_value_heads": config.size("num_attention_heads"),
    }
