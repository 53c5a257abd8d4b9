"""OPT: layer norms before attention and MLP, learned positions from row 2 of their table on, biases, ReLU.

x + out(attention(ln(x))), then x + fc2(act(fc1(ln(x)))). The 350M model normalises after its blocks and projects its embeddings: it is
`Unsupported`. Source: transformers/models/opt/modeling_opt.py.
"""

from typing import Any

from transformers.models.opt import modeling_opt as modeling

from shapewright.decode.families.parts import check_number, plain, read_activation, read_embedding, read_layer_norm, read_linear
from shapewright.decode.layers import Attention, Decoder, Layer, Mlp, Unsupported


def read(model: Any) -> Decoder:
    """`OPTForCausalLM`."""
    plain(model, modeling.OPTForCausalLM)
    body = plain(plain(model.model, modeling.OPTModel).decoder, modeling.OPTDecoder)
    if body.project_in is not None or body.project_out is not None:
        raise Unsupported("its embeddings are projected (word_embed_proj_dim is not hidden_size)")
    layers = tuple(_layer(layer, index) for index, layer in enumerate(body.layers))
    if body.final_layer_norm is None:
        raise Unsupported("it has no final norm")
    positions = plain(body.embed_positions, modeling.OPTLearnedPositionalEmbedding)
    return Decoder(
        family="opt",
        embedding=read_embedding(body.embed_tokens),
        position_embedding=positions.weight,
        position_offset=positions.offset,
        layers=layers,
        final_norm=read_layer_norm(body.final_layer_norm),
        head=read_linear(model.lm_head),
    )


def _layer(layer: Any, index: int) -> Layer:
    plain(layer, modeling.OPTDecoderLayer)
    check_number(layer.self_attn, index)
    if not layer.do_layer_norm_before:
        raise Unsupported("it normalises after its blocks (do_layer_norm_before is false)")
    return Layer(
        attention_norm=read_layer_norm(layer.self_attn_layer_norm),
        attention=_attention(layer.self_attn),
        mlp_norm=read_layer_norm(layer.final_layer_norm),
        mlp=Mlp(up=read_linear(layer.fc1), down=read_linear(layer.fc2), activation=read_activation(layer.activation_fn)),
    )


def _attention(attention: Any) -> Attention:
    plain(attention, modeling.OPTAttention)
    return Attention(
        parts=tuple(read_linear(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)),
        num_attention_heads=attention.num_heads,
        num_key_value_heads=attention.num_heads,
        head_dim=attention.head_dim,
        scale=attention.scaling,
        out=read_linear(attention.out_proj),
    )
