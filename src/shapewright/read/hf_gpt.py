"""Decoders of the GPT line (LayerNorm, plain MLPs) and encoders of the BERT line. One `Family` a `model_type`.

Keys and defaults are those of the config classes of transformers 5.17, fixed fields those of its modelling code. Encoders are described
as their masked-language model (`BertForMaskedLM` and kin).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import hf_parts as parts
from .hf_config import Family, HfConfig, ShapeFields, json_shown
from .hf_llama import ATTENTION_BIAS, PLAIN, ROTARY_FACTOR

_ALL_BIASES = {"has_qkv_bias": True, "has_attention_output_bias": True, "has_mlp_bias": True}
_PLAIN_GPT: Mapping[str, Any] = {"norm": "layernorm", "is_gated": False}
_GPT = {**_PLAIN_GPT, **_ALL_BIASES}
_LEARNED = {**_GPT, "position_embedding": "learned"}

_GPT2_KEYS = {
    "hidden_size": ("n_embd", "hidden_size"), "num_hidden_layers": ("n_layer", "num_hidden_layers"),
    "num_attention_heads": ("n_head", "num_attention_heads"), "max_position_embeddings": ("n_positions", "max_position_embeddings"),
    "intermediate_size": ("n_inner",), "vocab_size": ("vocab_size",), "hidden_act": ("activation_function",),
    "tie_word_embeddings": ("tie_word_embeddings",), "attention_dropout": ("attn_pdrop",), "hidden_dropout": ("resid_pdrop",),
}  # fmt: skip
_GPT2: Mapping[str, Any] = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None,
    "activation_function": "gelu_new", "resid_pdrop": 0.1, "attn_pdrop": 0.1, "tie_word_embeddings": True, "add_cross_attention": False,
}  # fmt: skip
_BERT_KEYS = PLAIN | {"hidden_dropout": ("hidden_dropout_prob",), "attention_dropout": ("attention_probs_dropout_prob",)}
_BERT: Mapping[str, Any] = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 512,
    "type_vocab_size": 2, "is_decoder": False, "add_cross_attention": False, "tie_word_embeddings": True, "pad_token_id": 0,
}  # fmt: skip
_BERT_FIXED = {
    **_LEARNED, "norm_placement": "post", "has_final_norm": False, "has_embedding_norm": True, "has_lm_head_bias": True,
    "has_lm_head_transform": True,
}  # fmt: skip


def _gptj(config: HfConfig) -> ShapeFields:
    """`rotary_dim` elements of each head are rotated; null rotates all."""
    rotated, width = config.optional_size("rotary_dim"), parts.head_dim(config)
    if rotated is not None and rotated > width:
        config.refuse("rotary_dim", f"at most the head size {width}")
    return {"rotary_dim": None if rotated == width else rotated}


def _gpt_neo(config: HfConfig) -> ShapeFields:
    """`attention_types` lists groups of kinds and how often each group is repeated; `attention_layers` may spell them out."""
    kinds: list[object] = []
    limit = config.size("num_hidden_layers")
    for group in config.entries("attention_types") or [[["global", "local"], 12]]:
        is_pair = isinstance(group, list | tuple) and len(group) == 2 and isinstance(group[0], list | tuple)
        is_count = is_pair and isinstance(group[1], int) and not isinstance(group[1], bool)
        if not is_count or group[1] < 0 or len(group[0]) * group[1] > limit:
            config.refuse("attention_types", f"a list such as [[['global', 'local'], 12]] that describes {limit} layers")
        kinds.extend(list(group[0]) * group[1])
    layers = parts.named_layers(config, "attention_types", kinds)
    if "sliding" not in layers:
        return {}
    return {"sliding_window": config.size("sliding_window"), "attention_pattern": parts.shortest_pattern(layers)}


def _gpt_neox(config: HfConfig) -> ShapeFields:
    return {"num_parallel_norms": 2 if config.flag("is_parallel") else 1}


def _opt(config: HfConfig) -> ShapeFields:
    """OPT-350M alone normalises after each block and embeds tokens in a narrower space."""
    is_pre = config.flag("do_layer_norm_before")
    width = config.optional_size("embedding_size")
    has_weights = config.flag("layer_norm_elementwise_affine")
    return {
        "norm": "layernorm" if has_weights else "nonparametric",
        "norm_placement": "pre" if is_pre else "post",
        "has_final_norm": is_pre and not config.flag("_remove_final_layer_norm"),
        "embedding_size": None if width == config.size("hidden_size") else width,
    }


def _mpt(config: HfConfig) -> ShapeFields:
    """MPT as transformers builds it: always ALiBi, always 4h, one dropout for attention and residuals, no query or key norm."""
    if config.raw("expansion_ratio") not in (4, None):
        config.notes.append("transformers builds MPT's MLP 4 x d_model wide whatever expansion_ratio says")
    dropout = config.within("attn_config").dropout("attn_pdrop")
    return {"attention_dropout": dropout, "hidden_dropout": dropout}


def _falcon(config: HfConfig) -> ShapeFields:
    """Falcon's three generations: multi-query and parallel (7B), grouped with two norms (40B), multi-head with ALiBi (RW).

    transformers 5.17 repeats the keys of the second for every query head, but hands the first's one key head to SDPA as it is.
    """
    is_new, heads = config.flag("new_decoder_architecture"), config.size("num_attention_heads")
    grouped = config.optional_size("num_kv_heads") or heads
    is_parallel = is_new or config.flag("parallel_attn")
    num_norms = config.optional_size("num_ln_in_parallel_attn") or (2 if is_new else 1)
    if num_norms > 2:
        config.refuse("num_ln_in_parallel_attn", "1 or 2")
    return {
        "num_key_value_heads": grouped if is_new else 1 if config.flag("multi_query") else heads,
        "has_fused_gqa": is_new or not config.flag("multi_query"),
        "is_parallel": is_parallel,
        "num_parallel_norms": num_norms if is_parallel else 1,
        "position_embedding": "alibi" if config.flag("alibi") else "rotary",
    }


def _gpt_bigcode(config: HfConfig) -> ShapeFields:
    return {"num_key_value_heads": 1 if config.flag("multi_query") else config.size("num_attention_heads")}


def _bert(config: HfConfig) -> ShapeFields:
    if not config.flag("tie_word_embeddings"):
        config.notes.append("an untied masked-language head keeps a second copy of its bias, which is not counted")
    return {"kind": "decoder" if config.flag("is_decoder") else "encoder"}


def _roberta(config: HfConfig) -> ShapeFields:
    """The position table counts from the padding token on, so its first rows (two, with pad_token_id 1) serve no position."""
    unused, rows = (config.optional_size("pad_token_id", low=0) or 0) + 1, config.size("max_position_embeddings")
    if rows <= unused:
        config.refuse("max_position_embeddings", f"more than pad_token_id + 1 = {unused}")
    return {**_bert(config), "max_position_embeddings": rows - unused, "num_extra_positions": unused}


def _electra(config: HfConfig) -> ShapeFields:
    """The generator; its embeddings must be as wide as its layers, since a narrow position table has no field in `ModelShape`."""
    if config.size("embedding_width") != config.size("hidden_size"):
        value = json_shown(config.raw("embedding_width"))
        hidden = config.size("hidden_size")
        config.fail("embedding_width", f"embedding_size is {value}, hidden_size {hidden}", "ELECTRA is covered only where they are equal")
    return _bert(config)


_ROBERTA_KEYS = _BERT_KEYS | {"num_token_types": ("type_vocab_size",)}
_ROBERTA = Family(keys=_ROBERTA_KEYS, defaults={**_BERT, "vocab_size": 50265, "pad_token_id": 1}, fixed=_BERT_FIXED, parts=(_roberta,))

GPT_FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(keys=_GPT2_KEYS, defaults=_GPT2, fixed={**_LEARNED, "is_qkv_fused": True, "is_weight_transposed": True}),
    "gpt_bigcode": Family(
        keys=_GPT2_KEYS,
        defaults={**_GPT2, "activation_function": "gelu_pytorch_tanh", "multi_query": True},
        fixed={**_LEARNED, "is_qkv_fused": True},
        parts=(_gpt_bigcode,),
    ),
    "gpt_neo": Family(
        keys=PLAIN | {
            "num_hidden_layers": ("num_layers", "num_hidden_layers"), "num_attention_heads": ("num_heads", "num_attention_heads"),
            "hidden_act": ("activation_function",), "hidden_dropout": ("resid_dropout",), "sliding_window": ("window_size",),
        },
        defaults={"vocab_size": 50257, "hidden_size": 2048, "num_layers": 24, "num_heads": 16, "intermediate_size": None,
                  "max_position_embeddings": 2048, "window_size": 256, "activation_function": "gelu_new", "resid_dropout": 0.0,
                  "attention_dropout": 0.0, "tie_word_embeddings": True},
        fixed={**_LEARNED, "has_qkv_bias": False},
        parts=(_gpt_neo,),
    ),
    "gptj": Family(
        keys=_GPT2_KEYS,
        defaults={**{key: value for key, value in _GPT2.items() if key != "add_cross_attention"}, "vocab_size": 50400,
                  "n_positions": 2048, "n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64, "resid_pdrop": 0.0,
                  "attn_pdrop": 0.0, "tie_word_embeddings": False},
        fixed={**_PLAIN_GPT, "has_mlp_bias": True, "has_lm_head_bias": True, "is_parallel": True},
        parts=(_gptj,),
    ),
    "gpt_neox": Family(
        keys=PLAIN | ATTENTION_BIAS | {
            "hidden_dropout": ("hidden_dropout",), "is_parallel": ("use_parallel_residual",), "rotary_factor": ("rotary_pct",),
        },
        defaults={"vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64, "intermediate_size": 24576,
                  "hidden_act": "gelu", "attention_dropout": 0.0, "hidden_dropout": 0.0, "max_position_embeddings": 2048,
                  "tie_word_embeddings": False, "use_parallel_residual": True, "attention_bias": True, "rotary_pct": 0.25},
        fixed={**_PLAIN_GPT, "has_mlp_bias": True, "is_qkv_fused": True},
        parts=(parts.partial_rotary, _gpt_neox),
    ),
    "opt": Family(
        keys=PLAIN | {
            "intermediate_size": ("ffn_dim", "intermediate_size"), "hidden_act": ("activation_function",), "hidden_dropout": ("dropout",),
            "has_qkv_bias": ("enable_bias",), "has_attention_output_bias": ("enable_bias",), "has_mlp_bias": ("enable_bias",),
            "embedding_size": ("word_embed_proj_dim",),
        },
        defaults={"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "ffn_dim": 3072,
                  "max_position_embeddings": 2048, "activation_function": "relu", "dropout": 0.1, "attention_dropout": 0.0,
                  "enable_bias": True, "do_layer_norm_before": True, "_remove_final_layer_norm": False, "word_embed_proj_dim": None,
                  "layer_norm_elementwise_affine": True, "tie_word_embeddings": True},
        fixed={"position_embedding": "learned", "num_extra_positions": 2, "is_gated": False},
        parts=(_opt,),
    ),
    "bloom": Family(
        keys={
            "hidden_size": ("hidden_size", "n_embed"), "num_hidden_layers": ("n_layer", "num_hidden_layers"),
            "num_attention_heads": ("n_head", "num_attention_heads"), "vocab_size": ("vocab_size",),
            "tie_word_embeddings": ("tie_word_embeddings",), "attention_dropout": ("attention_dropout",),
            "hidden_dropout": ("hidden_dropout",),
        },
        defaults={"vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8, "attention_dropout": 0.0, "hidden_dropout": 0.0,
                  "tie_word_embeddings": True},
        fixed={**_GPT, "is_qkv_fused": True, "position_embedding": "alibi", "has_embedding_norm": True, "hidden_act": "gelu_fast"},
    ),
    "mpt": Family(
        keys={
            "hidden_size": ("d_model", "hidden_size"), "num_hidden_layers": ("n_layers", "num_hidden_layers"),
            "num_attention_heads": ("n_heads", "num_attention_heads"), "vocab_size": ("vocab_size",),
            "max_position_embeddings": ("max_seq_len",), "tie_word_embeddings": ("tie_word_embeddings",),
        },
        defaults={"vocab_size": 50368, "d_model": 2048, "n_layers": 24, "n_heads": 16, "max_seq_len": 2048, "expansion_ratio": 4,
                  "tie_word_embeddings": True},
        fixed={"norm": "layernorm_no_bias", "is_gated": False, "position_embedding": "alibi", "is_qkv_fused": True, "hidden_act": "gelu"},
        parts=(_mpt,),
    ),
    "falcon": Family(
        keys=PLAIN | {
            "hidden_size": ("hidden_size", "n_embed"), "num_hidden_layers": ("num_hidden_layers", "n_layer"),
            "num_attention_heads": ("num_attention_heads", "n_head"), "num_kv_heads": ("num_kv_heads", "n_head_kv"),
            "intermediate_size": ("ffn_hidden_size",), "hidden_act": ("activation",), "hidden_dropout": ("hidden_dropout",),
            "has_qkv_bias": ("bias",), "has_attention_output_bias": ("bias",), "has_mlp_bias": ("bias",),
        },
        defaults={"vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "num_kv_heads": None,
                  "ffn_hidden_size": None, "max_position_embeddings": 2048, "activation": "gelu", "hidden_dropout": 0.0,
                  "attention_dropout": 0.0, "bias": False, "alibi": False, "new_decoder_architecture": False, "multi_query": True,
                  "parallel_attn": True, "num_ln_in_parallel_attn": None, "tie_word_embeddings": True},
        fixed={**_PLAIN_GPT, "is_qkv_fused": True},
        parts=(_falcon,),
    ),
    "persimmon": Family(
        keys=PLAIN | ROTARY_FACTOR | {"hidden_dropout": ("hidden_dropout",), "qk_norm": ("qk_layernorm",)},
        defaults={"vocab_size": 262144, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 36,
                  "num_attention_heads": 64, "hidden_act": "relu2", "max_position_embeddings": 16384, "tie_word_embeddings": False,
                  "qk_layernorm": True, "hidden_dropout": 0.0, "attention_dropout": 0.0, "partial_rotary_factor": 0.5},
        fixed={**_GPT, "is_qkv_fused": True},
        parts=(parts.partial_rotary, parts.qk_norm("head")),
    ),
    "bert": Family(keys=_ROBERTA_KEYS, defaults=_BERT, fixed=_BERT_FIXED, parts=(_bert,)),
    "roberta": _ROBERTA,
    "camembert": Family(
        keys=_ROBERTA_KEYS, defaults={**_BERT, "pad_token_id": 1}, fixed=_BERT_FIXED, parts=(_roberta,),
    ),
    "xlm-roberta": Family(
        keys=_ROBERTA_KEYS, defaults={**_BERT, "pad_token_id": 1}, fixed=_BERT_FIXED, parts=(_roberta,),
    ),
    "electra": Family(
        keys=_ROBERTA_KEYS | {"embedding_width": ("embedding_size",)},
        defaults={**_BERT, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4, "embedding_size": 128},
        fixed=_BERT_FIXED,
        parts=(_electra,),
    ),
    "distilbert": Family(
        keys={
            "hidden_size": ("dim", "hidden_size"), "num_hidden_layers": ("n_layers", "num_hidden_layers"),
            "num_attention_heads": ("n_heads", "num_attention_heads"), "intermediate_size": ("hidden_dim",), "vocab_size": ("vocab_size",),
            "max_position_embeddings": ("max_position_embeddings",), "hidden_act": ("activation",), "hidden_dropout": ("dropout",),
            "attention_dropout": ("attention_dropout",), "tie_word_embeddings": ("tie_word_embeddings",),
        },
        defaults={"vocab_size": 30522, "max_position_embeddings": 512, "n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072,
                  "activation": "gelu", "dropout": 0.1, "attention_dropout": 0.1, "tie_word_embeddings": True},
        fixed={**_BERT_FIXED, "kind": "encoder"},
    ),
}  # fmt: skip
