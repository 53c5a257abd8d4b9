"""Shapes that several tests of this room use."""

from __future__ import annotations

from shapewright.shape import LatentAttention, MixtureOfExperts, ModelShape

LLAMA_2_7B = ModelShape(
    name="llama-2-7b", architecture="llama", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
    head_dim=128, intermediate_size=11008, vocab_size=32000,
)  # fmt: skip
MIXTRAL = ModelShape(
    name="mixtral-8x7b", architecture="mixtral", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
    head_dim=128, intermediate_size=14336, vocab_size=32000,
    moe=MixtureOfExperts(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=14336),
)  # fmt: skip
LATENT = ModelShape(
    name="latent", architecture="deepseek_v3", hidden_size=1024, num_hidden_layers=4, num_attention_heads=16, num_key_value_heads=16,
    head_dim=64, intermediate_size=2048, vocab_size=1000,
    latent_attention=LatentAttention(q_lora_rank=256, kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64),
)  # fmt: skip
ALTERNATING = ModelShape(
    name="alternating", architecture="gemma2", hidden_size=512, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4,
    head_dim=64, intermediate_size=1024, vocab_size=1000, sliding_window=16, attention_pattern=("sliding", "full"),
    norm_placement="sandwich", attention_softcap=50.0, final_softcap=30.0, tie_word_embeddings=True,
)  # fmt: skip


def gpt2_style(*, heads: int, head_dim: int, layers: int = 2, vocab: int = 640, positions: int = 4096, dropout: float = 0.0) -> ModelShape:
    """A GPT-2-style model: plain MLP of 4h, biases, LayerNorm, learned positions, tied embeddings."""
    h = heads * head_dim
    return ModelShape(
        name="gpt2-style", architecture="gpt2", hidden_size=h, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, head_dim=head_dim, intermediate_size=4 * h, vocab_size=vocab, max_position_embeddings=positions,
        position_embedding="learned", norm="layernorm", hidden_act="gelu", is_gated=False, is_qkv_fused=True, is_weight_transposed=True,
        has_qkv_bias=True, has_attention_output_bias=True, has_mlp_bias=True, tie_word_embeddings=True, attention_dropout=dropout,
        hidden_dropout=dropout,
    )  # fmt: skip
