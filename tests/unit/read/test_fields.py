"""Shapes from flags alone, and overrides on top of a shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.read import catalogue
from shapewright.read.fields import OVERRIDABLE, apply_overrides, shape_from_fields

FOUR = {"hidden_size": 2560, "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 50257}


@given(head_dim=st.integers(1, 256), heads=st.integers(1, 64), layers=st.integers(1, 100), v=st.integers(1, 10**6))
def test_the_papers_parameter_count_holds(head_dim: int, heads: int, layers: int, v: int) -> None:
    h, s = head_dim * heads, 2048
    shape = shape_from_fields(hidden_size=h, num_attention_heads=heads, num_hidden_layers=layers, vocab_size=v).shape
    assert shape.num_params == 12 * h * h * layers + 13 * h * layers + (v + s) * h + 2 * h


def test_four_flags_make_the_catalogues_gpt3() -> None:
    made, listed = shape_from_fields(**FOUR).shape, catalogue.load("gpt3-2.7b").shape
    assert replace(made, name=listed.name, architecture=listed.architecture) == listed


def test_what_was_taken_for_granted_is_said() -> None:
    (note,) = shape_from_fields(**FOUR, max_position_embeddings=1024).notes
    assert "head_dim 80, intermediate_size 10240" in note
    assert "tie_word_embeddings True" in note
    assert "max_position_embeddings" not in note


def test_given_fields_win() -> None:
    shape = shape_from_fields(
        **FOUR, num_key_value_heads=8, head_dim=128, is_gated=True, intermediate_size=6912, position_embedding="rotary", norm="rmsnorm"
    ).shape
    assert (shape.num_key_value_heads, shape.head_dim, shape.intermediate_size, shape.hidden_act) == (8, 128, 6912, "silu")
    assert (shape.position_embedding, shape.max_position_embeddings, shape.norm) == ("rotary", None, "rmsnorm")


def test_experts_latent_attention_and_windows_from_flags() -> None:
    shape = shape_from_fields(**FOUR, num_experts=8, num_experts_per_tok=2, first_k_dense=1, sliding_window=512).shape
    assert shape.moe is not None
    assert (shape.moe.moe_intermediate_size, shape.moe.first_k_dense, shape.attention_pattern) == (10240, 1, ("sliding",))
    latent = shape_from_fields(**FOUR, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128).shape
    assert (latent.head_dim, latent.num_key_value_heads) == (192, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": None}, "vocab_size is absent; give --vocab-size"),
        ({"vocab_size": None, "hidden_size": None}, "hidden_size and vocab_size are absent; give --hidden-size --vocab-size"),
        ({"is_gated": True}, "intermediate_size is absent; a gated MLP has no default width, give --intermediate-size"),
        ({"num_attention_heads": 33}, "num_attention_heads 33 does not divide hidden_size 2560; choose a divisor or give --head-dim too"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0; expected at least 1"),
        ({"hidden_size": 2560.5}, "hidden_size is 2560.5; expected a positive integer"),
        ({"num_layers": 3}, "unknown model field 'num_layers'; did you mean num_hidden_layers"),
        ({"num_experts_per_tok": 2}, "num_experts_per_tok is given, but the model has no mixture of experts; give --num-experts too"),
    ],
)
def test_what_is_missing_or_impossible_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        shape_from_fields(**(FOUR | changes))
    assert str(caught.value).startswith(message)


def test_every_scalar_field_has_a_flag_type() -> None:
    assert {OVERRIDABLE[name] for name in OVERRIDABLE} == {int, bool, str, float}
    assert OVERRIDABLE["max_position_embeddings"] is int
    assert OVERRIDABLE["norm"] is str
    assert OVERRIDABLE["final_softcap"] is float
    assert OVERRIDABLE["kv_lora_rank"] is int and OVERRIDABLE["has_expert_bias"] is bool
    assert OVERRIDABLE["attention_pattern"] is str  # written as sliding,full
    assert not {"name", "moe", "latent_attention"} & OVERRIDABLE.keys()


def test_overrides_reach_experts_and_latent_attention() -> None:
    deepseek = catalogue.load("deepseek-v2-lite").shape
    assert deepseek.moe is not None and deepseek.latent_attention is not None
    changed, notes = apply_overrides(deepseek, {"num_experts": 32, "qk_rope_head_dim": 32, "hidden_size": None})
    assert changed.moe is not None and changed.latent_attention is not None
    assert (changed.moe.num_experts, changed.moe.moe_intermediate_size) == (32, deepseek.moe.moe_intermediate_size)
    assert (changed.latent_attention.qk_rope_head_dim, changed.head_dim) == (32, deepseek.head_dim - 32)
    assert notes == ()


def test_overrides_add_experts_and_windows_to_a_dense_model() -> None:
    dense = catalogue.load("llama-2-7b").shape
    changed, notes = apply_overrides(dense, {"num_experts": 8, "num_experts_per_tok": 2, "sliding_window": 4096})
    assert changed.moe is not None and changed.moe.moe_intermediate_size == dense.intermediate_size
    assert changed.attention_pattern == ("sliding",)
    assert notes == ("all layers become sliding (the model had no sliding layer)",)
    with pytest.raises(InputError, match="moe_intermediate_size is given, but the model has no mixture of experts"):
        apply_overrides(dense, {"moe_intermediate_size": 64})


def test_a_pattern_is_written_as_text() -> None:
    dense = catalogue.load("llama-2-7b").shape
    changed, notes = apply_overrides(dense, {"attention_pattern": "sliding, full", "sliding_window": 512})
    assert (changed.attention_pattern, changed.sliding_window, notes) == (("sliding", "full"), 512, ())
    assert shape_from_fields(**FOUR, attention_pattern=["full", "sliding"], sliding_window=9).shape.attention_pattern == ("full", "sliding")
    with pytest.raises(InputError, match="attention_pattern holds 'global'; expected full and sliding") as caught:
        apply_overrides(dense, {"attention_pattern": "global,full"})
    assert caught.value.field == "attention_pattern"


def test_the_width_of_a_model_of_experts_alone_is_theirs() -> None:
    mixtral = catalogue.load("mixtral-8x7b").shape
    changed, notes = apply_overrides(mixtral, {"intermediate_size": 7168})
    assert changed.moe is not None and changed.moe.moe_intermediate_size == 7168
    assert changed.num_params < 0.6 * mixtral.num_params
    assert notes == ("intermediate_size sets the experts' moe_intermediate_size too: every layer is routed",)
    for changes in ({"intermediate_size": 7168, "moe_intermediate_size": 64}, {"intermediate_size": 7168}):
        model = mixtral if len(changes) == 2 else catalogue.load("qwen3-30b-a3b").shape
        with pytest.raises(InputError, match="the model has none; give --moe-intermediate-size alone"):
            apply_overrides(model, changes)
    # Where dense layers are left, the width is theirs.
    deepseek, notes = apply_overrides(catalogue.load("deepseek-v2-lite").shape, {"intermediate_size": 8192})
    assert (deepseek.intermediate_size, deepseek.moe and deepseek.moe.moe_intermediate_size, notes) == (8192, 1408, ())


def test_a_head_of_latent_attention_is_set_by_its_parts() -> None:
    with pytest.raises(InputError, match="is qk_nope_head_dim \\+ qk_rope_head_dim; give --qk-nope-head-dim"):
        apply_overrides(catalogue.load("deepseek-v2-lite").shape, {"head_dim": 100})


@pytest.mark.parametrize(
    ("model", "changes", "note"),
    [
        ("deepseek-v2-lite", {"num_key_value_heads": 2}, "num_key_value_heads 2 does not apply: latent attention has no such part"),
        ("llama-2-7b", {"has_fused_gqa": False}, "has_fused_gqa False does not apply: no key head is shared"),
        ("gpt2", {"rotary_dim": 8}, "rotary_dim 8 does not apply: positions are not rotary"),
        ("gpt2", {"is_gate_up_fused": True}, "is_gate_up_fused True does not apply: the MLP has no gate"),
        ("gpt2", {"vocab_size": 50257}, "vocab_size 50257 changes nothing: the model has it already"),
        ("mixtral-8x7b", {"num_experts": 8}, "num_experts 8 changes nothing: the model has it already"),
        ("llama-2-7b", {"num_parallel_norms": 2}, "num_parallel_norms 2 does not apply: attention and MLP are not parallel"),
    ],
)
def test_overrides_without_effect_are_said(model: str, changes: dict[str, Any], note: str) -> None:
    before = catalogue.load(model).shape
    changed, notes = apply_overrides(before, changes)
    assert (changed.num_params, notes) == (before.num_params, (note,))


def test_fields_that_do_not_apply_to_a_model_of_flags_are_said() -> None:
    assert shape_from_fields(**FOUR, rotary_dim=8).notes[-1] == "rotary_dim 8 does not apply: positions are not rotary"


def test_overrides_say_what_they_move() -> None:
    _, notes = apply_overrides(catalogue.load("gpt3-2.7b").shape, {"num_attention_heads": 20})
    assert "head_dim 80 -> 128 (hidden_size / num_attention_heads)" in notes
