"""Parts that several families share, from transformers' and torch's modules to those of `decode.layers`.

A module of another class than the expected one, or whose class runs a forward from elsewhere, is `Unsupported`.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import activations
from transformers.pytorch_utils import Conv1D

from shapewright.decode.layers import Linear, Norm, Unsupported

Activation = Literal["silu", "relu", "gelu", "gelu_tanh"]
ACTIVATIONS: dict[type, Activation] = {
    nn.SiLU: "silu",
    activations.SiLUActivation: "silu",
    nn.ReLU: "relu",
    activations.GELUActivation: "gelu",
    # Four spellings of the same tanh formula.
    activations.GELUTanh: "gelu_tanh",
    activations.NewGELUActivation: "gelu_tanh",
    activations.FastGELUActivation: "gelu_tanh",
    activations.AccurateGELUActivation: "gelu_tanh",
}


def plain(module: Any, cls: type[nn.Module]) -> Any:
    """`module`, whose class has to be exactly `cls`, with the forward that torch or transformers wrote for it."""
    found = type(module)
    if found is not cls:
        name = found.__name__ if found.__name__ != cls.__name__ else f"{found.__module__}.{found.__name__}"
        raise Unsupported(f"it has {name} where a plain {cls.__name__} is expected")
    if found.__module__.split(".")[0] not in ("torch", "transformers"):
        raise Unsupported(f"its {cls.__name__} was replaced by one of {found.__module__}")
    if found.forward.__module__ != found.__module__:
        raise Unsupported(f"the forward of its {cls.__name__} was replaced by one of {found.forward.__module__}")
    return module


def read_linear(module: Any) -> Linear:
    """Weight `[n, k]`, and a bias `[n]` or none."""
    plain(module, nn.Linear)
    return Linear(weight=module.weight, bias=module.bias)


def read_conv1d(module: Any) -> Linear:
    """Weight `[k, n]` and bias `[n]`, as GPT-2 stores them."""
    plain(module, Conv1D)
    return Linear(weight=module.weight, bias=module.bias, transposed=True)


def read_embedding(module: Any) -> Tensor:
    """`[rows, hidden_size]`."""
    return plain(module, nn.Embedding).weight


def read_layer_norm(module: Any) -> Norm:
    """Weight `[size]`, and a bias or none."""
    plain(module, nn.LayerNorm)
    if module.weight is None:
        raise Unsupported("its norms have no weights")
    return Norm(kind="layer", weight=module.weight, bias=module.bias, eps=module.eps)


def read_activation(module: Any) -> Activation:
    """One of the four that the kernels apply."""
    if type(module) not in ACTIVATIONS:
        raise Unsupported(f"its activation is {type(module).__name__}, not one of {', '.join(dict.fromkeys(ACTIVATIONS.values()))}")
    plain(module, type(module))
    return ACTIVATIONS[type(module)]


def read_rotary(module: Any, cls: type[nn.Module]) -> tuple[int, Callable[[int], tuple[Tensor, Tensor]]]:
    """How many dimensions turn, and the model's own cosines and sines of positions 0 to count - 1, `[count, rotary_dim]` in fp32."""
    plain(module, cls)
    if "dynamic" in module.rope_type or module.rope_type == "longrope":
        raise Unsupported(f'its rotary embedding changes with the length of the text (rope_type "{module.rope_type}")')

    def tables(count: int) -> tuple[Tensor, Tensor]:
        place = {"device": module.inv_freq.device}
        cos, sin = module(torch.empty(0, dtype=torch.float32, **place), torch.arange(count, **place)[None])
        return cos[0].contiguous(), sin[0].contiguous()

    return 2 * module.inv_freq.numel(), tables


def check_number(attention: Any, index: int) -> None:
    """A layer writes to the cache under its own number, which stays when layers before it are taken out."""
    if attention.layer_idx != index:
        raise Unsupported(f"its layers are not numbered from 0 on (layer {index} calls itself {attention.layer_idx})")
