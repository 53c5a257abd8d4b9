"""Widths with whole heads: what is offered keeps h = heads x head_dim, multiples of the step, and head_dim where that can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.lint.whole_heads import MAX_CHANGE, best_heads, hidden_changes
from shapewright.read.fields import apply_overrides, shape_from_fields
from shapewright.read.resolve import load
from shapewright.shape import ModelShape


def shape_of(head_dim: int, heads: int) -> ModelShape:
    return shape_from_fields(
        hidden_size=head_dim * heads, num_attention_heads=heads, num_hidden_layers=2, vocab_size=1024, intermediate_size=4096
    ).shape


@given(head_dim=st.integers(8, 256), heads=st.integers(1, 96), parts=st.sampled_from((1, 2, 6, 8)), keeps=st.booleans())
def test_every_change_gives_whole_heads_of_a_nearby_width(head_dim: int, heads: int, parts: int, keeps: bool) -> None:
    shape = shape_of(head_dim, heads)
    for change in hidden_changes(shape, step=64 * parts, parts=parts, keeps_head_dim=keeps):
        changed, _ = apply_overrides(shape, dict(change.model))
        assert changed.hidden_size == changed.num_attention_heads * changed.head_dim
        assert changed.hidden_size % (64 * parts) == 0
        assert abs(changed.hidden_size / shape.hidden_size - 1) <= MAX_CHANGE
        assert changed.head_dim % 8 == 0
        assert changed.head_dim == head_dim or not keeps
        assert changed.num_attention_heads % parts == 0
        assert bool(change.caution) == (changed.num_attention_heads < heads)


def test_nearest_widths_first_and_heads_only_where_they_change() -> None:
    changes = hidden_changes(shape_of(171, 15), step=64)
    assert [change.model for change in changes[:2]] == [
        (("hidden_size", 2560), ("num_attention_heads", 16)),
        (("hidden_size", 2496), ("num_attention_heads", 13)),
    ]
    (kept,) = (change for change in hidden_changes(shape_of(100, 32), step=64) if dict(change.model)["hidden_size"] == 3328)
    assert kept.model == (("hidden_size", 3328),), "32 heads of 104"


def test_falcon_s_width_keeps_its_heads_of_64() -> None:
    changes = hidden_changes(load("falcon-7b").shape, step=64, keeps_head_dim=True)
    assert [change.values for change in changes[:2]] == [
        (("hidden_size", 4480), ("num_attention_heads", 70)),
        (("hidden_size", 4608), ("num_attention_heads", 72)),
    ]


def test_query_heads_stay_multiples_of_the_key_value_heads() -> None:
    llama = load("llama-3-8b").shape
    assert best_heads(llama, 3968) is None, "31 heads of 128 would leave 8 key/value heads over"
    assert best_heads(llama, 5120) == 40


def test_heads_that_are_independent_of_the_width_stay() -> None:
    gemma, _ = apply_overrides(load("gemma-7b").shape, {"hidden_size": 3070})
    assert [change.values for change in hidden_changes(gemma, step=64, most=2)] == [(("hidden_size", 3072),), (("hidden_size", 3008),)]


@pytest.mark.parametrize("head_dim", [4, 7])
def test_heads_smaller_than_a_step_have_no_better_width(head_dim: int) -> None:
    assert hidden_changes(shape_of(head_dim, 64), step=64, keeps_head_dim=True) == ()
