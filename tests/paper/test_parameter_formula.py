"""The paper's parameter counts, section III-C: P = 12 h^2 L + 13 h L + (v + s) h, and its approximation 12 h^2 L."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.parameters import count_parameters, weights
from shapewright.read import catalogue
from shapewright.shape import ModelShape


def paper_parameters(h: int, num_layers: int, v: int, s: int) -> int:
    """P of section III-C."""
    return 12 * h**2 * num_layers + 13 * h * num_layers + (v + s) * h


def gpt2_style(h: int, num_layers: int, a: int, v: int, s: int) -> ModelShape:
    """A decoder as the paper describes it: fused QKV, plain MLP of 4h, biases, learned positions, tied embeddings."""
    return ModelShape(
        name="gpt2-style", hidden_size=h, num_hidden_layers=num_layers, num_attention_heads=a, num_key_value_heads=a, head_dim=h // a,
        intermediate_size=4 * h, vocab_size=v, max_position_embeddings=s, position_embedding="learned", norm="layernorm",
        hidden_act="gelu", is_gated=False, is_qkv_fused=True, has_qkv_bias=True, has_attention_output_bias=True, has_mlp_bias=True,
        tie_word_embeddings=True,
    )  # fmt: skip


@given(
    a=st.integers(1, 128), head_dim=st.integers(1, 256), num_layers=st.integers(1, 200), v=st.integers(1, 300_000), s=st.integers(1, 10**6)
)
def test_formula_is_exact_up_to_the_final_norm(a: int, head_dim: int, num_layers: int, v: int, s: int) -> None:
    h = a * head_dim
    assert count_parameters(gpt2_style(h, num_layers, a, v, s)) == paper_parameters(h, num_layers, v, s) + 2 * h


def test_the_final_norm_is_all_that_the_formula_leaves_out() -> None:
    shape = gpt2_style(2560, 32, 32, 50257, 2048)
    left_out = [weight for weight in weights(shape) if weight.operator == "final_norm"]
    assert shape.num_params - sum(weight.num_params for weight in left_out) == paper_parameters(2560, 32, 50257, 2048)


@pytest.mark.parametrize(
    ("name", "printed"),
    [("gpt3-2.7b", 2_651_548_160), ("gpt3-6.7b", 6_658_396_160)],
    ids=["claim 32: GPT-3 2.7B", "claim 72: h = 4096"],
)
def test_worked_numbers(name: str, printed: int) -> None:
    shape = catalogue.load(name).shape
    h = shape.hidden_size
    assert paper_parameters(h, shape.num_hidden_layers, shape.vocab_size, shape.max_position_embeddings or 0) == printed
    assert shape.num_params == printed + 2 * h


def test_the_wider_alternative_is_two_and_a_half_times_as_large() -> None:
    """Section VI-B says that h = 4096 doubles the parameters; it is 2.51 times."""
    ratio = catalogue.load("gpt3-6.7b").shape.num_params / catalogue.load("gpt3-2.7b").shape.num_params
    assert ratio == pytest.approx(2.51, abs=0.005)


def test_approximation_is_5_percent_low_at_2_7b() -> None:
    shape = catalogue.load("gpt3-2.7b").shape
    assert 1 - 12 * shape.hidden_size**2 * shape.num_hidden_layers / shape.num_params == pytest.approx(0.051, abs=0.0005)


def test_the_shapes_of_figure_1_have_equal_parameters() -> None:
    counts = {catalogue.load(name).shape.num_params for name in ("gpt3-2.7b", "c1", "c2", "ours-1", "ours-2")}
    assert len(counts) == 1
