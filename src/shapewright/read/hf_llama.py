"""Decoders of the Llama line: RMSNorm (or a kin), rotary positions, mostly gated MLPs. One `Family` a `model_type`.

Keys and defaults are those of the config classes of transformers 5.17, fixed fields those of its modelling code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import hf_parts as parts
from .hf_config import Family, HfConfig, ShapeFields

#: Keys that nearly every decoder shares. num_key_value_heads and head_dim are listed only where the modelling code reads them.
PLAIN = {
    name: (name,)
    for name in (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings",
        "hidden_act", "tie_word_embeddings", "attention_dropout",
    )
}  # fmt: skip
GROUPED = PLAIN | {"num_key_value_heads": ("num_key_value_heads",), "head_dim": ("head_dim",)}
ATTENTION_BIAS = {"has_qkv_bias": ("attention_bias",), "has_attention_output_bias": ("attention_bias",)}
MLP_BIAS = {"has_mlp_bias": ("mlp_bias",)}
RESIDUAL_DROPOUT = {"hidden_dropout": ("resid_pdrop",)}
ROTARY_FACTOR = {"rotary_factor": ("partial_rotary_factor",)}
LOCAL_EXPERTS = {"num_experts": ("num_local_experts", "num_experts")}

_LLAMA: Mapping[str, Any] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": None, "max_position_embeddings": 2048, "hidden_act": "silu", "tie_word_embeddings": False,
    "attention_bias": False, "attention_dropout": 0.0,
}  # fmt: skip
_MISTRAL: Mapping[str, Any] = {
    **{key: value for key, value in _LLAMA.items() if key != "attention_bias"},
    "intermediate_size": 14336, "num_key_value_heads": 8, "head_dim": None, "max_position_embeddings": 131072, "sliding_window": 4096,
}  # fmt: skip
_QWEN: Mapping[str, Any] = {
    "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "max_position_embeddings": 32768, "hidden_act": "silu", "tie_word_embeddings": False,
    "attention_dropout": 0.0, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28, "layer_types": None,
}  # fmt: skip
_QWEN_MOE: Mapping[str, Any] = {
    **_QWEN, "hidden_size": 2048, "num_hidden_layers": 24, "decoder_sparse_step": 1, "mlp_only_layers": None,
}  # fmt: skip
_GEMMA: Mapping[str, Any] = {
    "vocab_size": 256000, "num_hidden_layers": 26, "hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True, "attention_bias": False, "attention_dropout": 0.0, "sliding_window": 4096, "layer_types": None,
    "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "use_bidirectional_attention": None,
}  # fmt: skip
_GEMMA_KEYS = {
    **GROUPED, **ATTENTION_BIAS, "hidden_act": ("hidden_activation",), "attention_softcap": ("attn_logit_softcapping",),
    "final_softcap": ("final_logit_softcapping",),
}  # fmt: skip
_DEEPSEEK_KEYS = {
    **PLAIN, **ATTENTION_BIAS, "num_experts": ("n_routed_experts", "num_experts", "num_local_experts"),
    "num_nextn_predict_layers": ("num_nextn_predict_layers", "num_mtp_layers"),
}  # fmt: skip
_DEEPSEEK: Mapping[str, Any] = {
    **{key: value for key, value in _LLAMA.items() if key != "num_key_value_heads"},
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip
_PHI: Mapping[str, Any] = {
    "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "num_key_value_heads": None, "resid_pdrop": 0.0, "attention_dropout": 0.0, "hidden_act": "gelu_new",
    "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip


def _smollm3(config: HfConfig) -> ShapeFields:
    """Layers without rotary positions slide where `use_sliding_window` is set."""
    num_layers, interval = config.size("num_hidden_layers"), config.size("no_rope_layer_interval")
    rotated = config.entries("no_rope_layers") or [int((layer + 1) % interval != 0) for layer in range(num_layers)]
    if len(rotated) != num_layers or any(flag not in (0, 1) for flag in rotated):
        config.refuse("no_rope_layers", f"a list of {num_layers} zeros and ones")
    window = config.optional_size("sliding_window") if config.flag("use_sliding_window") else None
    num_bare = rotated.count(0)
    if num_bare:
        config.notes.append(f"{num_bare} of {num_layers} layers skip rotary positions; they are described with them")
    return parts.layered(config, [window is not None and not flag for flag in rotated], window)


def _cohere_norm(config: HfConfig) -> ShapeFields:
    """Command-R+ normalises each head with weights of its own."""
    return {"qk_norm": "each_head"} if config.flag("use_qk_norm") else {}


def _stablelm(config: HfConfig) -> ShapeFields:
    """One norm feeds both branches of a parallel layer. Query and key norms have weights for each head and no bias."""
    return {"qk_norm": "each_head"} if config.flag("qk_layernorm") else {}


LLAMA = Family(keys=GROUPED | ATTENTION_BIAS | MLP_BIAS, defaults={**_LLAMA, "mlp_bias": False, "head_dim": None})
_MISTRAL_FAMILY = Family(keys=GROUPED, defaults=_MISTRAL, parts=(parts.sliding_everywhere,))
_QWEN2 = Family(keys=GROUPED, defaults=_QWEN, fixed={"has_qkv_bias": True}, parts=(parts.sliding_upper_layers,))
_GEMMA3 = Family(
    keys=_GEMMA_KEYS,
    defaults={**_GEMMA, "vocab_size": 262208, "max_position_embeddings": 131072, "final_logit_softcapping": None,
              "attn_logit_softcapping": None, "use_bidirectional_attention": False},
    fixed={"norm_placement": "sandwich", "qk_norm": "head"},
    parts=(parts.sliding_but_every(6), parts.bidirectional),
)  # fmt: skip

LLAMA_FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "granite": Family(keys=LLAMA.keys, defaults={**_LLAMA, "mlp_bias": False}),
    "smollm3": Family(
        keys=LLAMA.keys,
        defaults={**_LLAMA, "mlp_bias": False, "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 36,
                  "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 32768, "tie_word_embeddings": True,
                  "use_sliding_window": False, "sliding_window": None, "no_rope_layers": None, "no_rope_layer_interval": 4,
                  "layer_types": None},
        parts=(_smollm3,),
    ),
    "olmo": Family(
        keys=GROUPED | ATTENTION_BIAS, defaults={**_LLAMA, "vocab_size": 50304}, fixed={"norm": "nonparametric"},
    ),
    "olmo2": Family(
        keys=GROUPED | ATTENTION_BIAS, defaults={**_LLAMA, "vocab_size": 50304}, fixed={"norm_placement": "post", "qk_norm": "full"},
    ),
    "olmoe": Family(
        keys=GROUPED | ATTENTION_BIAS | {"num_experts": ("num_experts", "num_local_experts")},
        defaults={**_LLAMA, "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16,
                  "num_attention_heads": 16, "max_position_embeddings": 4096, "num_experts_per_tok": 8, "num_experts": 64},
        fixed={"qk_norm": "full"},
        parts=(parts.experts_everywhere,),
    ),
    "mistral": _MISTRAL_FAMILY,
    "mixtral": Family(
        keys=GROUPED | LOCAL_EXPERTS,
        defaults={**_MISTRAL, "sliding_window": None, "num_experts_per_tok": 2, "num_local_experts": 8},
        parts=(parts.sliding_everywhere, parts.experts_everywhere),
    ),
    "phimoe": Family(
        keys=GROUPED | ATTENTION_BIAS | LOCAL_EXPERTS | {"has_lm_head_bias": ("lm_head_bias",)},
        defaults={**_LLAMA, "vocab_size": 32064, "intermediate_size": 6400, "num_key_value_heads": 8, "max_position_embeddings": 131072,
                  "sliding_window": None, "num_experts_per_tok": 2, "num_local_experts": 16, "lm_head_bias": False},
        fixed={"norm": "layernorm"},
        parts=(parts.sliding_everywhere, parts.experts_everywhere),
    ),
    "qwen2": _QWEN2,
    "qwen2_moe": Family(
        keys=GROUPED | {"has_qkv_bias": ("qkv_bias",)},
        defaults={**_QWEN_MOE, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 60,
                  "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "qkv_bias": True},
        parts=(parts.sliding_alternate_lower_layers, parts.experts_by_step),
    ),
    "qwen3": Family(
        keys=GROUPED | ATTENTION_BIAS,
        defaults={**_QWEN, "head_dim": 128, "attention_bias": False},
        fixed={"qk_norm": "head"},
        parts=(parts.sliding_upper_layers,),
    ),
    "qwen3_moe": Family(
        keys=GROUPED | ATTENTION_BIAS | {"num_experts": ("num_experts", "num_local_experts")},
        defaults={**{key: value for key, value in _QWEN_MOE.items() if key not in ("layer_types", "max_window_layers")},
                  "intermediate_size": 6144, "num_key_value_heads": 4, "attention_bias": False, "num_experts": 128,
                  "num_experts_per_tok": 8, "moe_intermediate_size": 768},
        fixed={"qk_norm": "head"},
        parts=(parts.sliding_if_used, parts.experts_by_step),
    ),
    "gemma": Family(
        keys=GROUPED | ATTENTION_BIAS,
        defaults={"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
                  "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192,
                  "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False, "attention_dropout": 0.0,
                  "use_bidirectional_attention": None},
        parts=(parts.bidirectional,),
    ),
    "gemma2": Family(
        keys=_GEMMA_KEYS, defaults=_GEMMA, fixed={"norm_placement": "sandwich"}, parts=(parts.sliding_but_every(2), parts.bidirectional),
    ),
    "gemma3_text": _GEMMA3,
    "gpt_oss": Family(
        keys=GROUPED | ATTENTION_BIAS | LOCAL_EXPERTS,
        defaults={"vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64,
                  "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072, "hidden_act": "silu",
                  "tie_word_embeddings": False, "attention_bias": True, "attention_dropout": 0.0, "sliding_window": 128,
                  "layer_types": None, "num_local_experts": 128, "num_experts_per_tok": 4},
        fixed={"has_attention_sinks": True},
        parts=(parts.sliding_but_every(2), parts.experts_gpt_oss),
    ),
    "deepseek_v2": Family(
        keys=_DEEPSEEK_KEYS | MLP_BIAS,
        defaults={**_DEEPSEEK, "vocab_size": 102400, "mlp_bias": False, "first_k_dense_replace": 0, "n_routed_experts": 64,
                  "n_shared_experts": 2, "moe_intermediate_size": 1407, "num_experts_per_tok": None},
        parts=(parts.latent_attention, parts.experts_deepseek),
    ),
    "deepseek_v3": Family(
        keys=_DEEPSEEK_KEYS,
        defaults={**_DEEPSEEK, "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
                  "num_attention_heads": 128, "max_position_embeddings": 4096, "first_k_dense_replace": 3, "n_routed_experts": 256,
                  "n_shared_experts": 1, "moe_intermediate_size": 2048, "num_experts_per_tok": 8},
        parts=(parts.latent_attention, parts.experts_deepseek),
    ),
    "phi": Family(
        keys=GROUPED | RESIDUAL_DROPOUT | ROTARY_FACTOR | {"qk_norm": ("qk_layernorm",)},
        defaults={**_PHI, "partial_rotary_factor": 0.5, "qk_layernorm": False},
        fixed={"norm": "layernorm", "is_gated": False, "is_parallel": True, "has_qkv_bias": True, "has_attention_output_bias": True,
               "has_mlp_bias": True, "has_lm_head_bias": True},
        parts=(parts.partial_rotary, parts.qk_norm("head")),
    ),
    "phi3": Family(
        keys=GROUPED | RESIDUAL_DROPOUT | ROTARY_FACTOR,
        defaults={**_PHI, "vocab_size": 32064, "hidden_size": 3072, "num_hidden_layers": 32, "hidden_act": "silu",
                  "max_position_embeddings": 4096, "sliding_window": None, "partial_rotary_factor": 1.0},
        fixed={"is_qkv_fused": True, "is_gate_up_fused": True},
        parts=(parts.partial_rotary, parts.sliding_everywhere),
    ),
    "stablelm": Family(
        keys=PLAIN | ROTARY_FACTOR | {
            "num_key_value_heads": ("num_key_value_heads",), "hidden_dropout": ("hidden_dropout",), "has_qkv_bias": ("use_qkv_bias",),
            "is_parallel": ("use_parallel_residual",),
        },
        defaults={"vocab_size": 50304, "hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 32, "num_attention_heads": 32,
                  "num_key_value_heads": 32, "max_position_embeddings": 4096, "hidden_act": "silu", "tie_word_embeddings": False,
                  "attention_dropout": 0.0, "hidden_dropout": 0.0, "use_qkv_bias": False, "use_parallel_residual": False,
                  "qk_layernorm": False, "partial_rotary_factor": 0.25},
        fixed={"norm": "layernorm"},
        parts=(parts.partial_rotary, _stablelm),
    ),
    "starcoder2": Family(
        keys=GROUPED | {
            "has_qkv_bias": ("use_bias",), "has_attention_output_bias": ("use_bias",), "has_mlp_bias": ("use_bias",),
            "hidden_dropout": ("residual_dropout",),
        },
        defaults={"vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30, "num_attention_heads": 24,
                  "num_key_value_heads": 2, "max_position_embeddings": 4096, "hidden_act": "gelu_pytorch_tanh",
                  "tie_word_embeddings": True, "attention_dropout": 0.0, "residual_dropout": 0.0, "use_bias": True,
                  "sliding_window": None},
        fixed={"norm": "layernorm", "is_gated": False},
        parts=(parts.sliding_everywhere,),
    ),
    "cohere": Family(
        keys=GROUPED | ATTENTION_BIAS,
        defaults={**_LLAMA, "vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40,
                  "num_attention_heads": 64, "max_position_embeddings": 8192, "tie_word_embeddings": True, "use_qk_norm": False},
        fixed={"norm": "layernorm_no_bias", "is_parallel": True},
        parts=(_cohere_norm,),
    ),
}  # fmt: skip
