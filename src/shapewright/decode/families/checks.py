"""Why a model has to run plain, whatever its family. Each check passes in silence or raises `Unsupported` with one clause.

The reason ends a sentence about the model: "it is quantised", "its weights lie on several devices (cpu, cuda:0)".
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from shapewright.decode.layers import Attention, Decoder, Mlp, Unsupported

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
HEAD_DIMS = range(8, 257)
# All of these compute the same attention; a name that someone registered may not.
ATTENTION_IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")
HUB_ATTENTION = "kernels-community/"
# transformers leaves these behind after a call that asked for hidden states, and after gradient checkpointing.
IDLE_HOOKS = (
    ("transformers.utils.output_capturing", "output_capturing_hook"),
    ("transformers.modeling_utils", "make_inputs_require_grads"),
)


def check_adapters(model: Any) -> None:
    """PEFT puts its layers in the place of linears, or its own model around the model."""
    if not isinstance(model, nn.Module):
        raise Unsupported(f"it is not a Hugging Face model (its class is {type(model).__name__})")
    adapters = [module for module in model.modules() if type(module).__module__.startswith("peft.")]
    if any(hasattr(module, "base_layer") for module in adapters):
        raise Unsupported("it has unmerged adapters: merge them with merge_and_unload()")
    if adapters:
        raise Unsupported(f"it is wrapped by PEFT ({type(adapters[0]).__name__})")


def check_class(model: Any) -> None:
    """Of transformers, not quantised, not split over processes."""
    if not isinstance(model, PreTrainedModel):
        raise Unsupported(f"it is not a Hugging Face model (its class is {type(model).__name__})")
    config = model.config
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) or getattr(config, "quantization_config", None):
        raise Unsupported("it is quantised")
    if (getattr(model, "_tp_size", None) or 1) > 1:
        raise Unsupported("it is split over several GPUs (tensor parallel)")
    implementation = config._attn_implementation or "eager"
    if implementation not in ATTENTION_IMPLEMENTATIONS and not implementation.startswith(HUB_ATTENTION):
        raise Unsupported(f'its attention runs through "{implementation}", which may compute something else')


def check_placement(model: nn.Module) -> None:
    """All weights are plain tensors, in one piece, on one device."""
    devices = sorted({str(weight.device) for weight in model.parameters()})
    if "meta" in devices:
        raise Unsupported("some of its weights are not loaded (they are on the meta device)")
    if len(devices) > 1:
        raise Unsupported(f"its weights lie on several devices ({', '.join(devices)})")
    for name, weight in model.named_parameters():
        if type(weight) is not nn.Parameter:
            raise Unsupported(f"its weights are not plain tensors ({name} is a {type(weight).__name__})")
        if not weight.is_contiguous():
            raise Unsupported(f"its weights are not contiguous ({name})")


def check_dtype(model: nn.Module) -> None:
    """One dtype for all weights, and one that the kernels take."""
    names = sorted({_name(weight.dtype) for weight in model.parameters()})
    if len(names) > 1:
        raise Unsupported(f"its weights mix dtypes ({', '.join(names)})")
    known = [_name(dtype) for dtype in DTYPES]
    if names[0] not in known:
        raise Unsupported(f"its weights are {names[0]}, not one of {', '.join(known)}")


def check_modules(model: nn.Module) -> None:
    """No hook and no forward of its own on a module inside: the step never calls it. Those of the model itself still run."""
    for name, module in model.named_modules():
        if module is model:
            continue
        if "forward" in vars(module):
            raise Unsupported(f"the forward of its {name} was replaced")
        if any(map(_acts, _hooks(module))):
            raise Unsupported(f"its {name} has a forward hook, which would not run")


def check_heads(decoder: Decoder) -> None:
    """Heads and widths of one kind in all layers, which share buffers, of a size that the kernels are built for, and weights that fit."""
    for attention in (layer.attention for layer in decoder.layers):
        if attention.head_dim not in HEAD_DIMS:
            raise Unsupported(f"its head_dim is {attention.head_dim}, and the kernels take {HEAD_DIMS[0]} to {HEAD_DIMS[-1]}")
        if not _fits(attention):
            raise Unsupported("its attention weights do not fit its heads")
    kinds = {(each.num_attention_heads, each.num_key_value_heads, each.head_dim) for each in (layer.attention for layer in decoder.layers)}
    if len(kinds) != 1:
        raise Unsupported("its layers do not have the same heads" if kinds else "it has no layers")
    if len({layer.mlp.up.n for layer in decoder.layers}) != 1 or not all(_fits_mlp(layer.mlp) for layer in decoder.layers):
        raise Unsupported("its layers do not have the same intermediate_size")
    check_biases(decoder)


def check_biases(decoder: Decoder) -> None:
    """One launch makes the products of all parts: each of them adds a bias, or none does."""
    for layer in decoder.layers:
        gated = () if layer.mlp.gate is None else (layer.mlp.gate, layer.mlp.up)
        for parts in (layer.attention.parts, gated):
            if len({part.bias is None for part in parts}) > 1:
                raise Unsupported("some of its query, key and value (or gate and up) products have a bias and some have none")


def _fits_mlp(mlp: Mlp) -> bool:
    return mlp.down.k == mlp.up.n and (mlp.gate is None or mlp.gate.n == mlp.up.n)


def _fits(attention: Attention) -> bool:
    queries, keys = attention.num_attention_heads, attention.num_key_value_heads
    rows = (queries + 2 * keys) * attention.head_dim
    has_rows = sum(part.n for part in attention.parts) == rows and attention.out.k == queries * attention.head_dim
    return has_rows and keys > 0 and queries % keys == 0 and attention.rotary_dim <= attention.head_dim


def _hooks(module: nn.Module) -> Iterable[Any]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _acts(hook: Any) -> bool:
    """Whether a hook may change a call without gradients that asks for no hidden states."""
    return (getattr(hook, "__module__", ""), getattr(hook, "__name__", "")) not in IDLE_HOOKS


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
