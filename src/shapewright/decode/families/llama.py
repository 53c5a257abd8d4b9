"""Llama 2 and 3, TinyLlama, Mistral, Qwen2 and Qwen3: gated blocks with RMS norms and rotary positions.

x + out(attention(rms(x))), then x + down(act(gate r) · up r) with r = rms(x). They differ in biases, in windows (Mistral: all layers;
Qwen: those that `layer_types` names), and in Qwen3's norms over each query and key head.
Source: transformers/models/{llama,mistral,qwen2,qwen3}/modeling_*.py.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from shapewright.decode.families.parts import check_number, plain, read_activation, read_embedding, read_linear, read_rotary
from shapewright.decode.layers import Attention, Decoder, Layer, Mlp, Norm, Unsupported

PREFIXES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}

ClassOf = Callable[[str], type[nn.Module]]


def read(model: Any) -> Decoder:
    """`LlamaForCausalLM` and its like."""
    config = model.config
    of = _classes(config.model_type)
    body = plain(plain(model, of("ForCausalLM")).model, of("Model"))
    rotary_dim, tables = read_rotary(body.rotary_emb, of("RotaryEmbedding"))
    layers = tuple(_layer(layer, index, of, _window(config, index)) for index, layer in enumerate(body.layers[: config.num_hidden_layers]))
    if any(layer.attention.rotary_dim != rotary_dim for layer in layers):
        raise Unsupported(f"its rotary embedding turns {rotary_dim} dimensions of a head, not all")
    return Decoder(
        family=config.model_type,
        embedding=read_embedding(body.embed_tokens),
        rotary=tables,
        layers=layers,
        final_norm=_norm(body.norm, of),
        head=read_linear(model.lm_head),
    )


def _classes(family: str) -> ClassOf:
    modeling = import_module(f"transformers.models.{family}.modeling_{family}")
    return lambda name: getattr(modeling, PREFIXES[family] + name)


def _window(config: Any, index: int) -> int | None:
    """How many positions layer `index` sees; None: all."""
    if config.model_type == "mistral":
        return config.sliding_window
    # Qwen names the kind of every layer; Llama has but one.
    is_sliding = config.model_type != "llama" and config.layer_types[index] == "sliding_attention"
    return config.sliding_window if is_sliding else None


def _layer(layer: Any, index: int, of: ClassOf, window: int | None) -> Layer:
    plain(layer, of("DecoderLayer"))
    check_number(layer.self_attn, index)
    return Layer(
        attention_norm=_norm(layer.input_layernorm, of),
        attention=_attention(layer.self_attn, of, window),
        mlp_norm=_norm(layer.post_attention_layernorm, of),
        mlp=_mlp(layer.mlp, of),
    )


def _attention(attention: Any, of: ClassOf, window: int | None) -> Attention:
    plain(attention, of("Attention"))
    parts = tuple(read_linear(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
    has_norms = hasattr(attention, "q_norm")
    return Attention(
        parts=parts,
        num_attention_heads=parts[0].n // attention.head_dim,
        num_key_value_heads=parts[1].n // attention.head_dim,
        head_dim=attention.head_dim,
        scale=attention.scaling,
        rotary_dim=attention.head_dim,
        window=window,
        query_norm=_norm(attention.q_norm, of) if has_norms else None,
        key_norm=_norm(attention.k_norm, of) if has_norms else None,
        out=read_linear(attention.o_proj),
    )


def _mlp(mlp: Any, of: ClassOf) -> Mlp:
    plain(mlp, of("MLP"))
    return Mlp(
        gate=read_linear(mlp.gate_proj),
        up=read_linear(mlp.up_proj),
        down=read_linear(mlp.down_proj),
        activation=read_activation(mlp.act_fn),
    )


def _norm(norm: Any, of: ClassOf) -> Norm:
    plain(norm, of("RMSNorm"))
    return Norm(kind="rms", weight=norm.weight, eps=norm.variance_epsilon)
