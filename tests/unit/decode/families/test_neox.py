"""GPT-NeoX and Pythia: every option gives Hugging Face's logits in float64."""

from dataclasses import replace

import pytest

from shapewright.decode.families import read_decoder
from unit.decode.families.agreement import assert_agrees, worst_difference
from unit.decode.tiny import tiny_neox


def rope(**fields: object) -> dict:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, **fields}}


OPTIONS = {
    "parallel": {},
    "sequential": {"use_parallel_residual": False},
    "no attention biases": {"attention_bias": False},
    "tied head": {"tie_word_embeddings": True},
    "all of a head turns": rope(partial_rotary_factor=1.0),
    "half of a head turns": rope(partial_rotary_factor=0.5),
    "an odd part of a head turns": rope(partial_rotary_factor=0.21),
    "linear scaling": rope(rope_type="linear", factor=3.0, partial_rotary_factor=0.25),
    "gelu by tanh": {"hidden_act": "gelu_fast"},
    "large epsilon": {"layer_norm_eps": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_neox(options: dict) -> None:
    assert_agrees(tiny_neox(**options).double())
    assert_agrees(tiny_neox(**options))


@pytest.mark.parametrize("is_parallel", [True, False])
def test_the_residual_is_read_from_the_model(is_parallel: bool) -> None:
    model = tiny_neox(use_parallel_residual=is_parallel)
    decoder = read_decoder(model)
    assert {layer.is_parallel for layer in decoder.layers} == {is_parallel}
    other = replace(decoder, layers=tuple(replace(layer, is_parallel=not is_parallel) for layer in decoder.layers))
    assert worst_difference(model, other) > 0.1


def test_one_linear_holds_the_heads_one_after_another() -> None:
    decoder = read_decoder(tiny_neox())
    attention = decoder.layers[0].attention
    assert (len(attention.parts), attention.layout, attention.parts[0].n) == (1, "interleaved", 216)
    assert (attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim, attention.rotary_dim) == (3, 3, 24, 6)
    assert decoder.rotary(5)[0].shape == (5, 6)
