"""Llama, Mistral, Qwen2 and Qwen3: every option gives Hugging Face's logits, and each of them is really read."""

from dataclasses import replace

import pytest
import torch

from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Decoder, Unsupported
from unit.decode.families.agreement import assert_agrees, worst_difference
from unit.decode.tiny import tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}

OPTIONS = {
    "grouped queries": {},
    "one key head per query head": {"num_key_value_heads": 6},
    "one key head": {"num_key_value_heads": 1},
    "attention biases": {"attention_bias": True},
    "mlp biases": {"mlp_bias": True},
    "tied head": {"tie_word_embeddings": True},
    "wide heads": {"head_dim": 16},
    "another base": {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    "llama3 scaling": {"rope_parameters": LLAMA3},
    "yarn scaling": {"rope_parameters": YARN},
    "linear scaling": {"rope_parameters": LINEAR},
    "large epsilon": {"rms_norm_eps": 0.5},
    "gelu": {"hidden_act": "gelu"},
    "gelu by tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "relu": {"hidden_act": "relu"},
    "eager attention": {"attn_implementation": "eager"},
}


def with_attention(decoder: Decoder, **fields: object) -> Decoder:
    layers = tuple(replace(layer, attention=replace(layer.attention, **fields)) for layer in decoder.layers)
    return replace(decoder, layers=layers)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_llama(options: dict) -> None:
    assert_agrees(tiny_llama(**options))


@pytest.mark.parametrize("window", [None, 1, 3, 7, 100])
def test_mistral_looks_through_its_window_in_every_layer(window: int | None) -> None:
    model = tiny_mistral(sliding_window=window)
    assert [layer.attention.window for layer in read_decoder(model).layers] == [window, window]
    assert_agrees(model)


@pytest.mark.parametrize("make", [tiny_qwen2, tiny_qwen3])
def test_qwen_looks_through_a_window_where_layer_types_say_so(make) -> None:
    model = make(use_sliding_window=True, sliding_window=5, max_window_layers=1)
    assert [layer.attention.window for layer in read_decoder(model).layers] == [None, 5]
    assert_agrees(model)


@pytest.mark.parametrize("make", [tiny_qwen2, tiny_qwen3])
def test_qwen_without_windows(make) -> None:
    model = make(tie_word_embeddings=True)
    assert {layer.attention.window for layer in read_decoder(model).layers} == {None}
    assert_agrees(model)


def test_qwen2_has_biases_before_attention_and_none_after() -> None:
    attention = read_decoder(tiny_qwen2()).layers[0].attention
    assert all(part.bias is not None for part in attention.parts)
    assert attention.out.bias is None


def test_qwen3_takes_norms_over_each_head() -> None:
    model = tiny_qwen3(attention_bias=True)
    decoder = read_decoder(model)
    assert_agrees(model)
    for norm in ("query_norm", "key_norm"):
        assert worst_difference(model, with_attention(decoder, **{norm: None})) > 0.1


def test_a_window_one_too_wide_or_too_narrow_is_seen() -> None:
    model = tiny_mistral()
    decoder = read_decoder(model)
    for window in (6, 8, None):
        assert worst_difference(model, with_attention(decoder, window=window)) > 0.01


def test_the_rotary_tables_are_those_of_the_model_in_fp32() -> None:
    model = tiny_llama(rope_parameters=YARN).bfloat16()
    cos, sin = read_decoder(model).rotary(20)
    expected = model.model.rotary_emb(torch.empty(0), torch.arange(20)[None])
    assert cos.dtype == sin.dtype == torch.float32
    assert cos.shape == sin.shape == (20, 10)
    assert torch.equal(cos, expected[0][0])
    assert torch.equal(sin, expected[1][0])
    # Yarn scales both: at position 0 the cosine is not 1.
    assert cos[0, 0] == pytest.approx(model.model.rotary_emb.attention_scaling)
    assert cos[0, 0] > 1.01


def test_weights_are_the_model_s_own_and_shared_where_it_shares_them() -> None:
    model = tiny_llama(tie_word_embeddings=True)
    decoder = read_decoder(model)
    assert decoder.family == "llama"
    assert decoder.embedding is model.model.embed_tokens.weight
    assert decoder.head.weight is decoder.embedding
    assert [part.weight for part in decoder.layers[1].attention.parts][2] is model.model.layers[1].self_attn.v_proj.weight
    assert (decoder.vocab_size, decoder.hidden_size, decoder.max_positions) == (101, 60, None)


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_rotary_tables_that_change_with_the_length_are_refused(rope_type: str) -> None:
    parameters = {"rope_type": rope_type, "rope_theta": 1000.0, "factor": 2.0, "original_max_position_embeddings": 16}
    if rope_type == "longrope":
        parameters |= {"short_factor": [1.0] * 5, "long_factor": [2.0] * 5}
    with pytest.raises(Unsupported, match=f'changes with the length of the text .rope_type "{rope_type}"'):
        read_decoder(tiny_llama(rope_parameters=parameters))


def test_a_rotary_embedding_of_part_of_a_head_is_refused() -> None:
    model = tiny_llama()
    model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq[:3]
    with pytest.raises(Unsupported, match="turns 6 dimensions of a head, not all"):
        read_decoder(model)


def test_layers_that_the_configuration_leaves_out_are_left_out() -> None:
    model = tiny_llama(num_hidden_layers=3)
    model.config.num_hidden_layers = 2
    assert len(read_decoder(model).layers) == 2
    assert_agrees(model)
