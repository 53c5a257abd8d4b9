"""The proof of the reader: a shape has exactly the parameters of the model that transformers builds for the same config.

`CASES` are tiny configs of every architecture the reader knows, varied where the modelling code branches.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import transformers

from shapewright.read.hf import FAMILIES, shape_from_hf, shape_from_hf_config_object

#: model_type, what sets the case apart, keys.
Case = tuple[str, str, dict[str, Any]]

PLAIN = {
    "vocab_size": 211, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GROUPED = PLAIN | {"num_key_value_heads": 2}
GPT2 = {
    "vocab_size": 211, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
NEO = {key: value for key, value in PLAIN.items() if key not in ("num_hidden_layers", "num_attention_heads", "intermediate_size")}
MPT = {"vocab_size": 211, "d_model": 48, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}
BLOOM = {"vocab_size": 211, "hidden_size": 48, "n_layer": 3, "n_head": 4}
FALCON = {key: value for key, value in PLAIN.items() if key != "intermediate_size"}
LATENT = GROUPED | {
    "num_key_value_heads": 4, "kv_lora_rank": 20, "q_lora_rank": 28, "qk_nope_head_dim": 12, "qk_rope_head_dim": 6, "v_head_dim": 10,
    "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 2, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1,
}  # fmt: skip
QWEN_MOE = GROUPED | {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SLIDING = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
LONG = {"num_hidden_layers": 7}
OPT = {key: value for key, value in PLAIN.items() if key != "intermediate_size"} | {"ffn_dim": 80}
DISTILBERT = {"vocab_size": 211, "dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 80, "max_position_embeddings": 64}

CASES: tuple[Case, ...] = (
    ("gpt2", "plain", GPT2),
    ("gpt2", "inner width and untied", GPT2 | {"n_inner": 100, "tie_word_embeddings": False, "activation_function": "relu"}),
    ("gpt2", "other spellings", {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}),
    ("gpt_bigcode", "multi-query", GPT2),
    ("gpt_bigcode", "multi-head", GPT2 | {"multi_query": False}),
    ("gpt_neo", "alternating", NEO | {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 8}),
    ("gpt_neo", "all global", NEO | {"num_layers": 3, "num_heads": 4, "attention_types": [[["global"], 3]], "intermediate_size": 90}),
    ("gptj", "plain", GPT2 | {"rotary_dim": 8}),
    ("gpt_neox", "parallel", PLAIN | {"rotary_pct": 0.5, "hidden_dropout": 0.1}),
    ("gpt_neox", "sequential without bias", PLAIN | {"use_parallel_residual": False, "attention_bias": False}),
    ("opt", "pre-norm", OPT),
    ("opt", "350m", OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    ("opt", "galactica", OPT | {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    ("bloom", "plain", BLOOM),
    ("mpt", "plain", MPT),
    ("mpt", "expansion is not read", MPT | {"expansion_ratio": 2, "attn_config": {"attn_pdrop": 0}}),
    ("falcon", "7b", FALCON),
    ("falcon", "40b", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", "11b", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    ("falcon", "rw", FALCON | {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True, "ffn_hidden_size": 96}),
    ("llama", "multi-head", PLAIN),
    ("llama", "grouped, biased, tied, own head_dim",
     GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 20}),
    ("mistral", "sliding", GROUPED | {"sliding_window": 16}),
    ("mistral", "full", GROUPED | {"sliding_window": None, "head_dim": 16}),
    ("mixtral", "plain", GROUPED | {"num_local_experts": 5, "num_experts_per_tok": 2}),
    ("phimoe", "biased", GROUPED | {"num_local_experts": 5, "attention_bias": True, "lm_head_bias": True}),
    ("qwen2", "full", GROUPED),
    ("qwen2", "sliding above", GROUPED | SLIDING),
    ("qwen2_moe", "routed", QWEN_MOE | {"shared_expert_intermediate_size": 40}),
    ("qwen2_moe", "step and dense layers",
     QWEN_MOE | LONG | {"shared_expert_intermediate_size": 40, "decoder_sparse_step": 2, "mlp_only_layers": [1]}),
    ("qwen2_moe", "sliding below", QWEN_MOE | LONG | SLIDING | {"max_window_layers": 4, "shared_expert_intermediate_size": 40}),
    ("qwen3", "plain", GROUPED | {"head_dim": 16}),
    ("qwen3", "layer types", GROUPED | SLIDING | {"head_dim": 16, "layer_types": ["full_attention"] + ["sliding_attention"] * 2}),
    ("qwen3_moe", "routed", QWEN_MOE | {"head_dim": 16, "mlp_only_layers": [0]}),
    ("qwen3_moe", "dense", QWEN_MOE | {"head_dim": 16, "mlp_only_layers": [0, 1, 2]}),
    ("gemma", "plain", GROUPED | {"head_dim": 16}),
    ("gemma2", "plain", GROUPED | LONG | {"head_dim": 16, "sliding_window": 16, "final_logit_softcapping": None}),
    ("gemma3_text", "one full in six", GROUPED | {"num_hidden_layers": 13, "head_dim": 16, "sliding_window": 16}),
    ("gemma3_text", "one full in three", GROUPED | LONG | {"head_dim": 16, "sliding_window": 16, "sliding_window_pattern": 3}),
    ("phi", "plain", PLAIN),
    ("phi", "normed", GROUPED | {"qk_layernorm": True, "partial_rotary_factor": 0.4, "resid_pdrop": 0.1}),
    ("phi3", "plain", PLAIN | {"sliding_window": 16}),
    ("phi3", "phi-4-mini", GROUPED | {"partial_rotary_factor": 0.75, "tie_word_embeddings": True}),
    ("olmo", "plain", PLAIN),
    ("olmo2", "grouped", GROUPED),
    ("olmoe", "routed", GROUPED | {"num_experts": 5, "num_experts_per_tok": 2}),
    ("deepseek_v2", "with query rank", LATENT | {"mlp_bias": True}),
    ("deepseek_v2", "lite", LATENT | {"q_lora_rank": None, "first_k_dense_replace": 2}),
    ("deepseek_v3", "biased", LATENT | {"attention_bias": True, "n_shared_experts": 1}),
    ("gpt_oss", "plain", GROUPED | LONG | {"head_dim": 16, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 16}),
    ("smollm3", "plain", GROUPED | {"num_hidden_layers": 4}),
    ("stablelm", "sequential", GROUPED | {"use_qkv_bias": True}),
    ("stablelm", "parallel", GROUPED | {"use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    ("stablelm", "normed", GROUPED | {"qk_layernorm": True}),
    ("starcoder2", "plain", GROUPED | {"sliding_window": 16}),
    ("starcoder2", "without bias", GROUPED | {"use_bias": False}),
    ("cohere", "plain", GROUPED),
    ("cohere", "normed", GROUPED | {"use_qk_norm": True}),
    ("granite", "plain", GROUPED | {"mlp_bias": True}),
    ("olmo3", "plain", GROUPED | {"num_hidden_layers": 4, "sliding_window": 16}),
    ("cohere2", "plain", GROUPED | {"num_hidden_layers": 4, "sliding_window": 16}),
    ("ministral", "plain", GROUPED | {"sliding_window": 16, "head_dim": 16}),
    ("ministral3", "plain", GROUPED | {"head_dim": 16}),
    ("glm4", "plain", GROUPED | {"head_dim": 16}),
    ("seed_oss", "plain", GROUPED | {"head_dim": 16, "attention_out_bias": True, "mlp_bias": True}),
    ("arcee", "plain", GROUPED),
    ("nemotron", "plain", GROUPED),
    ("hunyuan_v1_dense", "plain", GROUPED | {"head_dim": 16}),
    ("ernie4_5", "biased", GROUPED | {"head_dim": 16, "use_bias": True}),
    ("persimmon", "plain", PLAIN),
    ("persimmon", "not normed", PLAIN | {"qk_layernorm": False}),
    ("bert", "plain", PLAIN),
    ("roberta", "plain", PLAIN | {"pad_token_id": 1, "type_vocab_size": 1}),
    ("camembert", "plain", PLAIN | {"pad_token_id": 1}),
    ("xlm-roberta", "plain", PLAIN | {"pad_token_id": 1}),
    ("electra", "equal widths", PLAIN | {"embedding_size": 48}),
    ("distilbert", "plain", DISTILBERT),
)  # fmt: skip
CASE_IDS = [f"{model_type}: {label}" for model_type, label, _ in CASES]
MASKED = ("bert", "roberta", "camembert", "xlm-roberta", "electra", "distilbert")


def num_built_parameters(config: transformers.PretrainedConfig) -> int:
    """Parameters of the model on the meta device, tied ones once."""
    auto = transformers.AutoModelForMaskedLM if config.model_type in MASKED else transformers.AutoModelForCausalLM
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", DeprecationWarning)  # gpt_bigcode's own module still uses torch.jit.script
        model = auto.from_config(config)
    model.tie_weights()
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_parameters_equal_those_of_the_built_model(case):
    model_type, _, keys = case
    config = transformers.AutoConfig.for_model(model_type, **keys)
    shape = shape_from_hf({"model_type": model_type, **keys}, name="tiny").shape
    assert shape.num_params == num_built_parameters(config)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_a_live_config_gives_the_same_shape_as_its_keys(case):
    model_type, _, keys = case
    config = transformers.AutoConfig.for_model(model_type, **keys)
    from_keys = shape_from_hf({"model_type": model_type, **keys}, name=model_type).shape
    assert shape_from_hf_config_object(config).shape == from_keys


def test_every_family_has_a_case():
    assert set(FAMILIES) == {model_type for model_type, _, _ in CASES}
