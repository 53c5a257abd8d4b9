"""FLOPs of `lower` against what PyTorch counts in transformers' own modelling code, exactly, at tiny sizes on the CPU."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from shapewright.operators import lower
from shapewright.read.hf import shape_from_hf_config_object
from shapewright.workload import Workload

BATCH, SEQUENCE = 2, 24
# Widths share no factor that could hide a swapped dimension.
LLAMA = {
    "hidden_size": 60, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 14, "intermediate_size": 88,
    "vocab_size": 131, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {key: value for key, value in LLAMA.items() if key not in ("head_dim", "num_key_value_heads")}
GPT2 = {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 131, "bos_token_id": 1, "eos_token_id": 2}
LATENT = {
    "q_lora_rank": 22, "kv_lora_rank": 18, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 26, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
    "num_key_value_heads": 6, "head_dim": 8,
}  # fmt: skip
#: model class, configuration
MODELS = {
    "gpt2": ("GPT2LMHeadModel", transformers.GPT2Config(**GPT2)),
    "gpt_neox": ("GPTNeoXForCausalLM", transformers.GPTNeoXConfig(**PLAIN, rotary_pct=0.4, use_parallel_residual=True)),
    "gpt_neox_odd": ("GPTNeoXForCausalLM", transformers.GPTNeoXConfig(**PLAIN, rotary_pct=0.5)),  # 5 of 10 elements rotated
    "phi3_odd": ("Phi3ForCausalLM", transformers.Phi3Config(**PLAIN, num_key_value_heads=2, partial_rotary_factor=0.5)),
    "gptj": ("GPTJForCausalLM", transformers.GPTJConfig(**GPT2, rotary_dim=6)),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        transformers.GPTNeoConfig(
            hidden_size=48, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], vocab_size=131,
            max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        ),
    ),
    "opt": (
        "OPTForCausalLM",
        transformers.OPTConfig(
            hidden_size=60, num_hidden_layers=3, num_attention_heads=6, ffn_dim=88, vocab_size=131, max_position_embeddings=64,
            word_embed_proj_dim=34, do_layer_norm_before=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ),
    ),
    "llama": ("LlamaForCausalLM", transformers.LlamaConfig(**LLAMA)),
    "mistral": ("MistralForCausalLM", transformers.MistralConfig(**LLAMA, sliding_window=8)),
    "qwen2": ("Qwen2ForCausalLM", transformers.Qwen2Config(**{**LLAMA, "head_dim": 10}, tie_word_embeddings=True)),
    "qwen3": ("Qwen3ForCausalLM", transformers.Qwen3Config(**LLAMA)),
    "gemma2": ("Gemma2ForCausalLM", transformers.Gemma2Config(**LLAMA, sliding_window=8)),
    "gemma3": ("Gemma3ForCausalLM", transformers.Gemma3TextConfig(**{**LLAMA, "num_hidden_layers": 7}, sliding_window=8)),
    "phi": ("PhiForCausalLM", transformers.PhiConfig(**PLAIN, partial_rotary_factor=0.4)),
    "phi3": ("Phi3ForCausalLM", transformers.Phi3Config(**PLAIN, num_key_value_heads=2)),
    "falcon": ("FalconForCausalLM", transformers.FalconConfig(**{**PLAIN, "ffn_hidden_size": 96})),
    "falcon_sequential": (
        "FalconForCausalLM",
        transformers.FalconConfig(**PLAIN, multi_query=False, parallel_attn=False, bias=True),
    ),
    "falcon_alibi": ("FalconForCausalLM", transformers.FalconConfig(**PLAIN, multi_query=False, parallel_attn=False, alibi=True)),
    "stablelm": (
        "StableLmForCausalLM",
        transformers.StableLmConfig(**PLAIN, num_key_value_heads=2, qk_layernorm=True, partial_rotary_factor=0.4),
    ),
    "mpt": (
        "MptForCausalLM",
        transformers.MptConfig(d_model=48, n_heads=4, n_layers=3, expansion_ratio=4, max_seq_len=64, vocab_size=131),
    ),
    "olmo2": ("Olmo2ForCausalLM", transformers.Olmo2Config(**PLAIN, num_key_value_heads=2)),
    "olmo": ("OlmoForCausalLM", transformers.OlmoConfig(**PLAIN)),
    "mixtral": ("MixtralForCausalLM", transformers.MixtralConfig(**LLAMA, num_local_experts=8, num_experts_per_tok=2)),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        transformers.Qwen2MoeConfig(
            **PLAIN, num_key_value_heads=2, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=26,
            shared_expert_intermediate_size=38,
        ),
    ),
    "deepseek_v3": ("DeepseekV3ForCausalLM", transformers.DeepseekV3Config(**{**LLAMA, **LATENT})),
    "deepseek_v2": ("DeepseekV2ForCausalLM", transformers.DeepseekV2Config(**{**LLAMA, **LATENT, "q_lora_rank": None})),
    "gpt_oss": (
        "GptOssForCausalLM",
        transformers.GptOssConfig(**LLAMA, num_local_experts=8, num_experts_per_tok=2, sliding_window=8, tie_word_embeddings=False),
    ),
    "bert": (
        "BertForMaskedLM",
        transformers.BertConfig(
            hidden_size=60, num_hidden_layers=3, num_attention_heads=6, intermediate_size=88, vocab_size=131, max_position_embeddings=64
        ),
    ),
}  # fmt: skip


#: Architectures whose prefill and decode are counted too: plain, grouped, windowed, routed and latent caches.
GENERATING = ("gpt2", "gpt_neox", "opt", "llama", "gemma2", "mixtral", "deepseek_v3", "gpt_oss")


def _flops_of_products(config: object, phase: str) -> float:
    shape = shape_from_hf_config_object(config).shape
    workload = Workload(phase=phase, micro_batch=BATCH, sequence=SEQUENCE, attention="unfused")  # type: ignore[arg-type]
    operators = lower(shape, workload, "fp32")
    return sum(operator.flops * operator.count for operator in operators)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return _model(request.param)


def _model(name: str) -> torch.nn.Module:
    """A tiny model whose attention and experts are written out as products that FlopCounterMode counts."""
    class_name, config = MODELS[name]
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    return getattr(transformers, class_name)(config).train()


def test_flops_equal_torch(model: torch.nn.Module) -> None:
    tokens = torch.randint(3, 131, (BATCH, SEQUENCE))
    with FlopCounterMode(display=False) as forward:
        output = model(input_ids=tokens, labels=tokens, use_cache=False)
    with FlopCounterMode(display=False) as backward:
        output.loss.backward()
    assert _flops_of_products(model.config, "forward") == forward.get_total_flops()
    assert _flops_of_products(model.config, "train") == forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize("name", GENERATING)
def test_flops_of_generation_equal_torch(name: str) -> None:
    model = _model(name).eval()
    tokens = torch.randint(3, 131, (BATCH, SEQUENCE))
    with torch.no_grad():
        with FlopCounterMode(display=False) as prefill:
            cache = model(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values
        with FlopCounterMode(display=False) as decode:
            model(input_ids=tokens[:, :1], use_cache=True, past_key_values=cache)
    assert _flops_of_products(model.config, "prefill") == prefill.get_total_flops()
    assert _flops_of_products(model.config, "decode") == decode.get_total_flops()


def test_params_belong_to_forward_operators(model: torch.nn.Module) -> None:
    shape = shape_from_hf_config_object(model.config).shape
    for phase in ("forward", "train"):
        operators = lower(shape, Workload(phase=phase, micro_batch=1, sequence=8), "bf16")  # type: ignore[arg-type]
        held = sum(operator.num_params * operator.count for operator in operators if operator.part == "forward")
        assert held == sum(parameter.numel() for parameter in model.parameters())
        assert not any(operator.num_params for operator in operators if operator.part != "forward")
