"""GPT-NeoX and Pythia: one linear for queries, keys and values, head by head; part of each head turns; parallel or sequential blocks.

Parallel: x + out(attention(ln₁(x))) + mlp(ln₂(x)). Sequential: x + out(attention(ln₁(x))), then x + mlp(ln₂(x)).
Source: transformers/models/gpt_neox/modeling_gpt_neox.py.
"""

from typing import Any

from transformers.models.gpt_neox import modeling_gpt_neox as modeling

from shapewright.decode.families.parts import (
    check_number,
    plain,
    read_activation,
    read_embedding,
    read_layer_norm,
    read_linear,
    read_rotary,
)
from shapewright.decode.layers import Attention, Decoder, Layer, Mlp


def read(model: Any) -> Decoder:
    """`GPTNeoXForCausalLM`."""
    plain(model, modeling.GPTNeoXForCausalLM)
    body = plain(model.gpt_neox, modeling.GPTNeoXModel)
    rotary_dim, tables = read_rotary(body.rotary_emb, modeling.GPTNeoXRotaryEmbedding)
    return Decoder(
        family="gpt_neox",
        embedding=read_embedding(body.embed_in),
        rotary=tables,
        layers=tuple(_layer(layer, index, rotary_dim) for index, layer in enumerate(body.layers)),
        final_norm=read_layer_norm(body.final_layer_norm),
        head=read_linear(model.lm_head),
    )


def _layer(layer: Any, index: int, rotary_dim: int) -> Layer:
    plain(layer, modeling.GPTNeoXLayer)
    check_number(layer.attention, index)
    return Layer(
        attention_norm=read_layer_norm(layer.input_layernorm),
        attention=_attention(layer.attention, rotary_dim),
        mlp_norm=read_layer_norm(layer.post_attention_layernorm),
        mlp=_mlp(layer.mlp),
        is_parallel=layer.use_parallel_residual,
    )


def _attention(attention: Any, rotary_dim: int) -> Attention:
    plain(attention, modeling.GPTNeoXAttention)
    joined = read_linear(attention.query_key_value)
    num_heads = joined.n // (3 * attention.head_size)
    return Attention(
        parts=(joined,),
        layout="interleaved",
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=attention.head_size,
        scale=attention.scaling,
        rotary_dim=rotary_dim,
        out=read_linear(attention.dense),
    )


def _mlp(mlp: Any) -> Mlp:
    plain(mlp, modeling.GPTNeoXMLP)
    return Mlp(up=read_linear(mlp.dense_h_to_4h), down=read_linear(mlp.dense_4h_to_h), activation=read_activation(mlp.act))
