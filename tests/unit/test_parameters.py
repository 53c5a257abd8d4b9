"""The inventory of weights: it adds up, and every part of a model adds what its formula says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.parameters import count_active_parameters, count_parameters, params_per_call, weights
from shapewright.shape import LatentAttention, MixtureOfExperts, ModelShape

H, L, HEADS, KV, D, F, V, S = 48, 7, 6, 3, 8, 100, 211, 64
#: A pre-norm decoder with RMSNorm, gated MLP, grouped heads, rotary positions, no biases and untied embeddings.
PLAIN = ModelShape(
    name="plain", hidden_size=H, num_hidden_layers=L, num_attention_heads=HEADS, num_key_value_heads=KV, head_dim=D, intermediate_size=F,
    vocab_size=V, max_position_embeddings=S,
)  # fmt: skip
Q, K = HEADS * D, KV * D
PLAIN_COUNT = 2 * V * H + L * (H * (Q + 2 * K) + Q * H + 3 * H * F + 2 * H) + H
MOE = MixtureOfExperts(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=20)
EXPERT, DENSE = 3 * H * 20, 3 * H * F
LATENT = LatentAttention(q_lora_rank=28, kv_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=6, v_head_dim=10)
LATENT_LAYER = H * 28 + 28 + 28 * HEADS * 18 + H * (20 + 6) + 20 + 20 * HEADS * (12 + 10) + HEADS * 10 * H


def test_plain_decoder_by_hand() -> None:
    assert PLAIN.num_params == PLAIN_COUNT
    assert PLAIN.num_active_params == PLAIN_COUNT


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"tie_word_embeddings": True}, -V * H),
        ({"is_gated": False}, -L * H * F),
        ({"is_qkv_fused": True}, 0),
        ({"is_gate_up_fused": True}, 0),
        ({"is_weight_transposed": True}, 0),
        ({"has_qkv_bias": True}, L * (Q + 2 * K)),
        ({"has_qkv_bias": True, "is_qkv_fused": True}, L * (Q + 2 * K)),
        ({"has_attention_output_bias": True}, L * H),
        ({"has_mlp_bias": True}, L * (2 * F + H)),
        ({"norm": "layernorm"}, (2 * L + 1) * H),
        ({"norm": "layernorm_no_bias"}, 0),
        ({"norm": "nonparametric"}, -(2 * L + 1) * H),
        ({"norm_placement": "post"}, 0),
        ({"norm_placement": "sandwich"}, 2 * L * H),
        ({"has_final_norm": False}, -H),
        ({"has_embedding_norm": True}, H),
        ({"qk_norm": "head"}, L * 2 * D),
        ({"qk_norm": "full"}, L * (Q + K)),
        ({"is_parallel": True}, -L * H),
        ({"is_parallel": True, "num_parallel_norms": 2}, 0),
        ({"position_embedding": "learned"}, S * H),
        ({"position_embedding": "learned", "num_extra_positions": 2}, (S + 2) * H),
        ({"position_embedding": "alibi"}, 0),
        ({"num_token_types": 2}, 2 * H),
        ({"embedding_size": 16}, 2 * V * (16 - H) + 2 * 16 * H),
        ({"embedding_size": 16, "tie_word_embeddings": True}, V * 16 - 2 * V * H + 2 * 16 * H),
        ({"has_lm_head": False}, -V * H),
        ({"has_lm_head_bias": True}, V),
        ({"has_lm_head_bias": True, "tie_word_embeddings": True}, V - V * H),
        ({"has_lm_head_transform": True}, H * H + H + H),
        ({"has_attention_sinks": True}, L * HEADS),
        ({"attention_pattern": ("sliding", "full"), "sliding_window": 4}, 0),
        ({"latent_attention": LATENT}, L * (LATENT_LAYER - H * (Q + 2 * K) - Q * H)),
        ({"latent_attention": replace(LATENT, q_lora_rank=None)},
         L * (LATENT_LAYER - H * 28 - 28 - 28 * HEADS * 18 + H * HEADS * 18 - H * (Q + 2 * K) - Q * H)),
        ({"latent_attention": LATENT, "has_qkv_bias": True}, L * (28 + 26 + LATENT_LAYER - H * (Q + 2 * K) - Q * H)),
        ({"moe": MOE}, L * (8 * EXPERT + 8 * H - DENSE)),
        ({"moe": replace(MOE, has_router_bias=True)}, L * (8 * EXPERT + 8 * H + 8 - DENSE)),
        ({"moe": replace(MOE, has_expert_bias=True)}, L * (8 * (EXPERT + 2 * 20 + H) + 8 * H - DENSE)),
        ({"moe": replace(MOE, first_k_dense=2)}, (L - 2) * (8 * EXPERT + 8 * H - DENSE)),
        ({"moe": replace(MOE, layer_step=2)}, 3 * (8 * EXPERT + 8 * H - DENSE)),
        ({"moe": replace(MOE, shared_expert_intermediate_size=30)}, L * (8 * EXPERT + 8 * H + 3 * H * 30 - DENSE)),
        ({"moe": replace(MOE, shared_expert_intermediate_size=30, has_shared_expert_gate=True)},
         L * (8 * EXPERT + 8 * H + 3 * H * 30 + H - DENSE)),
    ],
    ids=str,
)  # fmt: skip
def test_each_part_adds_its_formula(changes: dict[str, Any], added: int) -> None:
    assert replace(PLAIN, **changes).num_params == PLAIN_COUNT + added


def test_active_parameters_leave_out_the_experts_not_visited() -> None:
    shape = replace(PLAIN, moe=replace(MOE, first_k_dense=1, shared_expert_intermediate_size=30))
    assert shape.num_params - shape.num_active_params == (L - 1) * 6 * EXPERT


def test_a_call_of_an_expert_product_holds_all_experts_of_one_layer() -> None:
    shape = replace(PLAIN, moe=MOE)
    assert params_per_call(shape)["full+moe", "expert_down"] == 8 * H * 20
    [down] = [weight for weight in weights(shape) if weight.operator == "expert_down"]
    assert (down.rows, down.columns, down.copies, down.count, down.is_expert) == (H, 20, 8, 8 * L, True)


def test_bias_belongs_to_the_operator_of_its_matrix() -> None:
    shape = replace(PLAIN, has_qkv_bias=True, is_qkv_fused=True)
    assert params_per_call(shape)["full+dense", "qkv"] == (H + 1) * (Q + 2 * K)
    assert [weight.name for weight in weights(shape) if weight.operator == "qkv"] == ["qkv", "qkv.bias"]


SHAPES = st.builds(
    ModelShape,
    name=st.just("any"),
    hidden_size=st.integers(1, 96),
    num_hidden_layers=st.integers(1, 40),
    num_attention_heads=st.just(12),
    num_key_value_heads=st.sampled_from([1, 2, 3, 4, 6, 12]),
    head_dim=st.integers(1, 32),
    intermediate_size=st.integers(1, 300),
    vocab_size=st.integers(1, 1000),
    max_position_embeddings=st.integers(1, 100),
    position_embedding=st.sampled_from(["learned", "rotary", "alibi", "none"]),
    norm=st.sampled_from(["layernorm", "layernorm_no_bias", "rmsnorm", "nonparametric"]),
    norm_placement=st.sampled_from(["pre", "post", "sandwich"]),
    qk_norm=st.sampled_from([None, "head", "full"]),
    is_parallel=st.booleans(),
    is_gated=st.booleans(),
    is_qkv_fused=st.booleans(),
    is_gate_up_fused=st.booleans(),
    has_qkv_bias=st.booleans(),
    has_mlp_bias=st.booleans(),
    has_lm_head_bias=st.booleans(),
    tie_word_embeddings=st.booleans(),
    embedding_size=st.none() | st.integers(1, 32),
    sliding_window=st.just(8),
    attention_pattern=st.lists(st.sampled_from(["full", "sliding"]), min_size=1, max_size=7).map(tuple),
    moe=st.none()
    | st.builds(
        MixtureOfExperts,
        num_experts=st.integers(4, 16),
        num_experts_per_tok=st.integers(1, 4),
        moe_intermediate_size=st.integers(1, 64),
        shared_expert_intermediate_size=st.integers(0, 64),
        first_k_dense=st.integers(0, 45),
        layer_step=st.integers(1, 5),
        has_expert_bias=st.booleans(),
        has_shared_expert_gate=st.booleans(),
    ),
)


@given(shape=SHAPES)
def test_the_inventory_adds_up(shape: ModelShape) -> None:
    inventory = weights(shape)
    total = sum(weight.num_params for weight in inventory)
    assert total == count_parameters(shape)
    calls = {"embedding": 1, "head": 1} | {kind.name: kind.count for kind in shape.layer_kinds}
    assert sum(calls[layer] * size for (layer, _), size in params_per_call(shape).items()) == total
    assert all(weight.count == weight.copies * calls[weight.layer] for weight in inventory)
    names = [(weight.layer, weight.name) for weight in inventory]
    assert len(set(names)) == len(names)


@given(shape=SHAPES)
def test_active_parameters_are_the_model_with_only_the_visited_experts(shape: ModelShape) -> None:
    if shape.moe is None:
        assert count_active_parameters(shape) == count_parameters(shape)
        return
    routed = sum(kind.count for kind in shape.layer_kinds if kind.mlp == "moe")
    visited = replace(shape.moe, num_experts=shape.moe.num_experts_per_tok)
    router = routed * shape.hidden_size * (shape.moe.num_experts - shape.moe.num_experts_per_tok)
    assert count_active_parameters(shape) == count_parameters(replace(shape, moe=visited)) + router


@given(shape=SHAPES)
def test_layer_kinds_are_those_of_the_layers_one_by_one(shape: ModelShape) -> None:
    layers = [
        f"{shape.layer_attention(layer)}+{'moe' if shape.moe and shape.moe.is_routed(layer) else 'dense'}"
        for layer in range(shape.num_hidden_layers)
    ]
    assert {kind.name: kind.count for kind in shape.layer_kinds} == Counter(layers)
    assert {kind.name: kind.first for kind in shape.layer_kinds} == {name: layers.index(name) for name in layers}
