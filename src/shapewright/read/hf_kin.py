"""Further decoders close to Llama, each a `Family` that differs from a better-known one in a norm, a bias or a window.

Keys and defaults are those of the config classes of transformers 5.17, fixed fields those of its modelling code.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import hf_parts as parts
from .hf_config import Family, HfConfig, ShapeFields
from .hf_llama import ATTENTION_BIAS, GROUPED, LLAMA, LLAMA_FAMILIES, MLP_BIAS, PLAIN, ROTARY_FACTOR

_LLAMA, _OLMO2, _COHERE, _MISTRAL = (LLAMA_FAMILIES[name].defaults for name in ("llama", "olmo2", "cohere", "mistral"))
_SANS_MLP_BIAS = {key: value for key, value in _LLAMA.items() if key != "mlp_bias"}
_ONE_BIAS = dict.fromkeys(("has_qkv_bias", "has_attention_output_bias", "has_mlp_bias"), ("use_bias",))


def _ministral(config: HfConfig) -> ShapeFields:
    """`layer_types`, else every layer slides where `sliding_window` is set."""
    window = config.optional_size("sliding_window")
    return parts.layered(config, [window is not None] * config.size("num_hidden_layers"), window)


def _cohere2(config: HfConfig) -> ShapeFields:
    """Command R7B: full layers have no rotary positions."""
    config.notes.append("full-attention layers skip rotary positions; they are described with them")
    return parts.sliding_but_every(4)(config)


KIN_FAMILIES: Mapping[str, Family] = {
    "olmo3": Family(
        keys=GROUPED | ATTENTION_BIAS,
        defaults={**_OLMO2, "sliding_window": 4096, "layer_types": None},
        fixed={"norm_placement": "post", "qk_norm": "full"},
        parts=(parts.sliding_but_every(4),),
    ),
    "cohere2": Family(
        keys=PLAIN | ATTENTION_BIAS | {"num_key_value_heads": ("num_key_value_heads",)},
        defaults={**{key: value for key, value in _COHERE.items() if key != "use_qk_norm"}, "sliding_window": 4096, "layer_types": None},
        fixed={"norm": "layernorm_no_bias", "is_parallel": True},
        parts=(_cohere2,),
    ),
    "ministral": Family(keys=GROUPED, defaults={**_MISTRAL, "layer_types": None}, parts=(_ministral,)),
    "ministral3": Family(
        keys=GROUPED,
        defaults={**_MISTRAL, "vocab_size": 131072, "num_hidden_layers": 34, "head_dim": 128, "max_position_embeddings": 262144,
                  "sliding_window": None},
        parts=(parts.sliding_everywhere,),
    ),
    "glm4": Family(
        keys=GROUPED | ROTARY_FACTOR | {"has_qkv_bias": ("attention_bias",)},
        defaults={**_SANS_MLP_BIAS, "vocab_size": 151552, "intermediate_size": 13696, "num_hidden_layers": 40, "num_key_value_heads": 2,
                  "head_dim": 128, "max_position_embeddings": 131072, "attention_bias": True, "partial_rotary_factor": 0.5},
        fixed={"norm_placement": "sandwich", "is_gate_up_fused": True},
        parts=(parts.partial_rotary,),
    ),
    "seed_oss": Family(
        keys=GROUPED | MLP_BIAS | {
            "has_qkv_bias": ("attention_bias",), "has_attention_output_bias": ("attention_out_bias",),
            "hidden_dropout": ("residual_dropout",),
        },
        defaults={**_LLAMA, "vocab_size": 155136, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 80,
                  "num_key_value_heads": 8, "max_position_embeddings": 524288, "head_dim": 128, "attention_bias": True,
                  "attention_out_bias": False, "attention_dropout": 0.1, "residual_dropout": 0.1},
    ),
    "arcee": Family(
        keys=LLAMA.keys,
        defaults={**_LLAMA, "hidden_size": 2560, "intermediate_size": 18432, "hidden_act": "relu2", "max_position_embeddings": 4096},
        fixed={"is_gated": False},
    ),
    "nemotron": Family(
        keys={**LLAMA.keys, **ROTARY_FACTOR},
        defaults={**_LLAMA, "vocab_size": 256000, "hidden_size": 6144, "intermediate_size": 24576, "num_attention_heads": 48,
                  "hidden_act": "relu2", "max_position_embeddings": 4096, "partial_rotary_factor": 0.5},
        fixed={"is_gated": False, "norm": "layernorm"},
        parts=(parts.partial_rotary,),
    ),
    "hunyuan_v1_dense": Family(
        keys=GROUPED | ATTENTION_BIAS,
        defaults={**_SANS_MLP_BIAS, "vocab_size": 290943},
        fixed={"qk_norm": "head"},
    ),
    "ernie4_5": Family(
        keys=GROUPED | _ONE_BIAS,
        defaults={**{key: value for key, value in _LLAMA.items() if not key.endswith("_bias")}, "vocab_size": 103424, "hidden_size": 1024,
                  "intermediate_size": 3072, "num_hidden_layers": 18, "num_attention_heads": 16, "num_key_value_heads": 2,
                  "max_position_embeddings": 131072, "tie_word_embeddings": True, "use_bias": False, "head_dim": 128,
                  "attention_dropout": None},
    ),
}  # fmt: skip
