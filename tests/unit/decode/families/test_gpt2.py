"""GPT-2: every option gives Hugging Face's logits in float64; cross-attention is refused."""

import pytest

from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Unsupported
from unit.decode.families.agreement import assert_agrees
from unit.decode.tiny import tiny_gpt2

OPTIONS = {
    "as published": {},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "scores not scaled": {"scale_attn_weights": False},
    "scores scaled by the layer": {"scale_attn_by_inverse_layer_idx": True},
    "inner size by default": {"n_inner": None},
    "a head of its own": {"tie_word_embeddings": False},
    "large epsilon": {"layer_norm_epsilon": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_gpt2(options: dict) -> None:
    assert_agrees(tiny_gpt2(**options).double())
    assert_agrees(tiny_gpt2(**options))


def test_scores_in_fp32() -> None:
    # Hugging Face's own upcast path is for fp32 sums of lower dtypes; float64 fails there.
    assert_agrees(tiny_gpt2(reorder_and_upcast_attn=True, attn_implementation="eager"))


def test_weights_are_read_as_they_are_stored() -> None:
    model = tiny_gpt2()
    decoder = read_decoder(model)
    joined = decoder.layers[0].attention.parts[0]
    assert joined.weight is model.transformer.h[0].attn.c_attn.weight
    assert (joined.transposed, joined.n, joined.k) == (True, 135, 45)
    assert (decoder.head.transposed, decoder.vocab_size, decoder.max_positions, decoder.position_offset) == (False, 101, 64, 0)


def test_cross_attention_is_refused() -> None:
    with pytest.raises(Unsupported, match="also attend to an encoder"):
        read_decoder(tiny_gpt2(add_cross_attention=True))
