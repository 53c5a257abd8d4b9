"""The foundation: `ModelShape`, its kinds of layer, its bounds and messages, and `override` with what it moves along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.errors import InputError, shown
from shapewright.shape import LatentAttention, MixtureOfExperts, ModelShape, override


def shape(**changes: Any) -> ModelShape:
    """A small Llama-like model with `changes`."""
    fields: dict[str, Any] = {
        "name": "small", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4,
        "head_dim": 16, "intermediate_size": 172, "vocab_size": 1000,
    }  # fmt: skip
    return ModelShape(**(fields | changes))


def experts(**changes: Any) -> MixtureOfExperts:
    return MixtureOfExperts(**({"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32} | changes))


@given(
    num_layers=st.integers(1, 80),
    pattern=st.lists(st.sampled_from(["full", "sliding"]), min_size=1, max_size=7),
    first=st.integers(0, 90),
    step=st.integers(1, 9),
    offset=st.integers(0, 9),
)
def test_layer_kinds_add_up_to_the_layers(num_layers: int, pattern: list[str], first: int, step: int, offset: int) -> None:
    moe = experts(first_k_dense=first, layer_step=step, layer_offset=offset)
    model = shape(num_hidden_layers=num_layers, attention_pattern=tuple(pattern), sliding_window=128, moe=moe)
    kinds = model.layer_kinds
    assert sum(kind.count for kind in kinds) == num_layers
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert [kind.count for kind in kinds] == sorted((kind.count for kind in kinds), reverse=True)
    for kind in kinds:
        alike = [
            layer for layer in range(num_layers)
            if model.layer_attention(layer) == kind.attention and moe.is_routed(layer) == (kind.mlp == "moe")
        ]  # fmt: skip
        assert (kind.count, kind.first) == (len(alike), alike[0])


def test_layer_kinds_of_a_mixed_model() -> None:
    model = shape(attention_pattern=("sliding", "sliding", "full"), sliding_window=8, moe=experts(first_k_dense=1))
    assert [(kind.name, kind.count, kind.first) for kind in model.layer_kinds] == [
        ("sliding+moe", 3, 1), ("full+moe", 2, 2), ("sliding+dense", 1, 0),
    ]  # fmt: skip


def test_layer_offset_chooses_the_first_layer_of_each_step() -> None:
    last, first = experts(layer_step=3), experts(layer_step=3, layer_offset=2)
    assert [layer for layer in range(9) if last.is_routed(layer)] == [2, 5, 8]
    assert [layer for layer in range(9) if first.is_routed(layer)] == [0, 3, 6]


def test_new_heads_move_head_dim_and_the_key_value_heads_of_mha() -> None:
    changed, notes = override(shape(), num_attention_heads=8)
    assert (changed.num_key_value_heads, changed.head_dim) == (8, 8)
    assert notes == (
        "head_dim 16 -> 8 (hidden_size / num_attention_heads)",
        "num_key_value_heads 4 -> 8 (the model has as many key/value heads as heads)",
    )


def test_grouped_heads_stay_while_they_divide_and_else_take_the_largest_divisor() -> None:
    grouped = shape(num_attention_heads=8, num_key_value_heads=4, head_dim=8)
    assert override(grouped, num_attention_heads=16)[0].num_key_value_heads == 4
    changed, notes = override(grouped, hidden_size=60, num_attention_heads=6)
    assert changed.num_key_value_heads == 3
    assert "num_key_value_heads 4 -> 3 (must divide num_attention_heads)" in notes


def test_what_the_user_sets_himself_is_left_alone() -> None:
    changed, notes = override(shape(), num_attention_heads=8, num_key_value_heads=2, head_dim=24)
    assert (changed.num_key_value_heads, changed.head_dim, notes) == (2, 24, ())


def test_a_head_dim_of_its_own_does_not_follow_the_width() -> None:
    free = shape(head_dim=32)
    assert override(free, hidden_size=128) == (replace(free, hidden_size=128), ())


def test_plain_mlp_of_4h_follows_the_width_and_a_gated_one_does_not() -> None:
    plain = shape(is_gated=False, intermediate_size=256)
    changed, notes = override(plain, hidden_size=128)
    assert (changed.intermediate_size, changed.head_dim) == (512, 32)
    assert "intermediate_size 256 -> 512 (4 x hidden_size)" in notes
    assert override(shape(intermediate_size=256), hidden_size=128)[0].intermediate_size == 256


def test_partial_rotation_keeps_its_share_of_the_head() -> None:
    assert override(shape(rotary_dim=4), num_attention_heads=2)[0].rotary_dim == 8
    assert override(shape(rotary_dim=4), head_dim=64)[0].rotary_dim == 16


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads", "num_attention_heads 5 does not divide hidden_size 64"),
        ({"num_attention_heads": 0}, "num_attention_heads", "num_attention_heads is 0; expected at least 1"),
        ({"hidden_size": "64"}, "hidden_size", "hidden_size is '64'; expected a positive integer"),
        ({"num_layers": 3}, None, "unknown model field 'num_layers'; did you mean num_hidden_layers"),
    ],
)
def test_override_refuses_what_cannot_be(changes: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        override(shape(), **changes)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": -1}, "hidden_size is -1; expected at least 1"),
        ({"hidden_size": 10**18}, "hidden_size is 1000000000000000000; expected at most 16777216"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True; expected a positive integer"),
        ({"vocab_size": 50257.5}, "vocab_size is 50257.5; expected a positive integer"),
        ({"rotary_dim": 17}, "rotary_dim 17 exceeds head_dim 16"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide num_attention_heads 4"),
        ({"position_embedding": "learned"}, "learned positions need max_position_embeddings"),
        ({"position_embedding": "rotery"}, "unknown position_embedding 'rotery'; did you mean rotary?"),
        ({"norm": ["rmsnorm"]}, "unknown norm ['rmsnorm']"),
        ({"attention_pattern": ("sliding",)}, "sliding layers need a sliding_window"),
        ({"attention_pattern": (["full"],)}, "attention_pattern is (['full'],)"),
        ({"attention_pattern": ["full"]}, "attention_pattern is ['full']; expected a tuple"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0; expected a number from 0 to below 1"),
        ({"hidden_dropout": "0.1"}, "hidden_dropout is '0.1'; expected a number from 0 to below 1"),
        ({"attention_dropout": float("nan")}, "attention_dropout is nan"),
        ({"final_softcap": -30.0}, "final_softcap is -30.0; expected a positive number"),
        ({"is_gated": 1}, "is_gated is 1; expected true or false"),
        ({"moe": {"num_experts": 8}}, "moe is {'num_experts': 8}; expected a MixtureOfExperts"),
    ],
)
def test_impossible_shapes_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        shape(**changes)
    assert str(caught.value).startswith(message)
    assert caught.value.field in (*changes, "num_key_value_heads", "sliding_window", "max_position_embeddings", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts_per_tok": 9}, "num_experts_per_tok 9 exceeds num_experts 8"),
        ({"layer_step": 0}, "layer_step is 0; expected at least 1"),
        ({"shared_expert_intermediate_size": -1}, "shared_expert_intermediate_size is -1; expected at least 0"),
    ],
)
def test_impossible_experts_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        experts(**changes)


def test_latent_attention_has_its_own_head_widths() -> None:
    latent = LatentAttention(q_lora_rank=None, kv_lora_rank=8, qk_nope_head_dim=16, qk_rope_head_dim=4, v_head_dim=12)
    model = shape(latent_attention=latent, head_dim=20)
    assert (model.qk_head_dim, model.v_head_dim, model.num_rotary_dims, model.q_size) == (20, 12, 4, 80)


def test_widths_of_grouped_partly_rotated_heads() -> None:
    model = shape(num_key_value_heads=2, rotary_dim=8, sliding_window=5, attention_pattern=("full", "sliding"))
    assert (model.q_size, model.kv_size, model.num_rotary_dims) == (64, 32, 8)
    assert (model.window("full"), model.window("sliding"), model.layer_attention(3)) == (None, 5, "sliding")
    assert shape(position_embedding="none").num_rotary_dims == 0


def test_values_that_cannot_be_printed_are_still_shown() -> None:
    assert shown(16**5000) == "a int that cannot be printed"
    assert len(shown("x" * 1000)) == 60


def test_a_place_is_one_short_line_that_keeps_its_end() -> None:
    error = InputError("what", where="/a\nb/" + "d/" * 300 + "config.json:14")
    assert str(error).startswith("...")
    assert str(error).endswith("/config.json:14: what")
    assert len(str(error)) < 130
    assert str(InputError("what", where="a\nb")) == "a\\nb: what"


def test_a_message_is_cut_where_its_hint_would_never_end() -> None:
    message = str(InputError("what", hint=", ".join(f"name{number}" for number in range(200))))
    assert message.startswith("what; name0, name1")
    assert message.endswith("...") and len(message) == 390
