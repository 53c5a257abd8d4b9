"""OPT: every option gives Hugging Face's logits in float64; what its blocks cannot do is refused."""

from dataclasses import replace

import pytest

from shapewright.decode.families import read_decoder
from shapewright.decode.layers import Unsupported
from unit.decode.families.agreement import assert_agrees, worst_difference
from unit.decode.tiny import tiny_opt

OPTIONS = {
    "as published": {},
    "no biases": {"enable_bias": False},
    "a head of its own": {"tie_word_embeddings": False},
    "gelu": {"activation_function": "gelu"},
    "many small heads": {"num_attention_heads": 4, "hidden_size": 32},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_opt(options: dict) -> None:
    assert_agrees(tiny_opt(**options).double())
    assert_agrees(tiny_opt(**options))


def test_positions_start_at_row_2() -> None:
    model = tiny_opt(max_position_embeddings=40)
    decoder = read_decoder(model)
    assert decoder.position_offset == 2
    assert decoder.position_embedding.shape == (42, 52)
    assert decoder.max_positions == 40
    assert worst_difference(model, replace(decoder, position_offset=1)) > 0.1


def test_norms_after_the_blocks_are_refused() -> None:
    with pytest.raises(Unsupported, match="it normalises after its blocks"):
        read_decoder(tiny_opt(do_layer_norm_before=False))


def test_projected_embeddings_are_refused() -> None:
    with pytest.raises(Unsupported, match="its embeddings are projected"):
        read_decoder(tiny_opt(word_embed_proj_dim=26))


def test_a_missing_final_norm_is_refused() -> None:
    with pytest.raises(Unsupported, match="it has no final norm"):
        read_decoder(tiny_opt(_remove_final_layer_norm=True))


def test_norms_without_weights_are_refused() -> None:
    with pytest.raises(Unsupported, match="its norms have no weights"):
        read_decoder(tiny_opt(layer_norm_elementwise_affine=False))
