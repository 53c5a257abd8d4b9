"""GPT-2: layer norms before attention and MLP, learned positions, weights stored `[k, n]`.

x + c_proj(attention(ln₁(x))), then x + c_proj(act(c_fc(ln₂(x)))). The scale of the scores is 1/√head_dim, or 1 without
`scale_attn_weights`, over the layer's number from 1 on with `scale_attn_by_inverse_layer_idx`. `reorder_and_upcast_attn` asks for scores
in fp32, which the kernels always keep. Source: transformers/models/gpt2/modeling_gpt2.py.
"""

from typing import Any

from transformers.models.gpt2 import modeling_gpt2 as modeling

from shapewright.decode.families.parts import (
    check_number,
    plain,
    read_activation,
    read_conv1d,
    read_embedding,
    read_layer_norm,
    read_linear,
)
from shapewright.decode.layers import Attention, Decoder, Layer, Mlp, Unsupported


def read(model: Any) -> Decoder:
    """`GPT2LMHeadModel`."""
    plain(model, modeling.GPT2LMHeadModel)
    body = plain(model.transformer, modeling.GPT2Model)
    return Decoder(
        family="gpt2",
        embedding=read_embedding(body.wte),
        position_embedding=read_embedding(body.wpe),
        layers=tuple(_layer(layer, index) for index, layer in enumerate(body.h)),
        final_norm=read_layer_norm(body.ln_f),
        head=read_linear(model.lm_head),
    )


def _layer(layer: Any, index: int) -> Layer:
    plain(layer, modeling.GPT2Block)
    check_number(layer.attn, index)
    if hasattr(layer, "crossattention"):
        raise Unsupported("its layers also attend to an encoder (add_cross_attention)")
    return Layer(
        attention_norm=read_layer_norm(layer.ln_1),
        attention=_attention(layer.attn),
        mlp_norm=read_layer_norm(layer.ln_2),
        mlp=_mlp(layer.mlp),
    )


def _attention(attention: Any) -> Attention:
    plain(attention, modeling.GPT2Attention)
    return Attention(
        parts=(read_conv1d(attention.c_attn),),
        num_attention_heads=attention.num_heads,
        num_key_value_heads=attention.num_heads,
        head_dim=attention.head_dim,
        scale=attention.scaling,
        out=read_conv1d(attention.c_proj),
    )


def _mlp(mlp: Any) -> Mlp:
    plain(mlp, modeling.GPT2MLP)
    return Mlp(up=read_conv1d(mlp.c_fc), down=read_conv1d(mlp.c_proj), activation=read_activation(mlp.act))
