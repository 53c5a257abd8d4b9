"""One layer: norm, attention, norm, MLP, as the shape has them.

Shapes: B sequences, S tokens, E hidden size, H query heads, G key/value heads, D elements a head, F intermediate size.
Sequential: x = x + Attn(N(x)); x = x + MLP(N(x)). Parallel: x = x + Attn(N1(x)) + MLP(N2(x)), where N2 may be N1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ...shape import ModelShape
from .positions import rotated
from .softmax import causal_softmax_

NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """What all layers of one pass share: rotary tables (S, R), and a bias on the scores (B, H, S, S), whose leading dimensions may be 1."""

    cos: Tensor | None = None
    sin: Tensor | None = None
    bias: Tensor | None = None


class TransposedLinear(nn.Module):
    """y = x w + bias with w stored inputs x outputs (GPT-2's Conv1D)."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = flat @ self.weight if self.bias is None else torch.addmm(self.bias, flat, self.weight)
        return y.view(*x.shape[:-1], -1)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) x weight, in fp32 at least; the separate kernels of Llama's eager norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + NORM_EPSILON)
        return self.weight * scaled.to(x.dtype)


def norm_of(shape: ModelShape) -> nn.Module:
    """The shape's norm over E elements."""
    if shape.norm == "rmsnorm":
        return RmsNorm(shape.hidden_size)
    has_weight = shape.norm != "nonparametric"
    return nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON, elementwise_affine=has_weight, bias=shape.norm == "layernorm")


def linear_of(shape: ModelShape, inputs: int, outputs: int, *, bias: bool) -> nn.Module:
    """A linear layer that stores its weight as the shape's family does."""
    return TransposedLinear(inputs, outputs, bias=bias) if shape.is_weight_transposed else nn.Linear(inputs, outputs, bias=bias)


def activation(name: str, x: Tensor) -> Tensor:
    """The activation as eager transformers runs it: GPT-2's and Bloom's GELU are chains of kernels."""
    if name in ("gelu_new", "gelu_fast"):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))
    if name == "relu2":
        return torch.square(functional.relu(x))
    if name == "gelu_pytorch_tanh":
        return functional.gelu(x, approximate="tanh")
    return {"gelu": functional.gelu, "silu": functional.silu, "relu": functional.relu}[name](x)


class Attention(nn.Module):
    """Queries, keys and values by one product (their widths side by side) or three; causal attention; the output product."""

    def __init__(self, shape: ModelShape, *, attention: str) -> None:
        super().__init__()
        self.shape, self.kernels = shape, attention
        self.sizes = (shape.q_size, shape.kv_size, shape.kv_size)
        widths = (sum(self.sizes),) if shape.is_qkv_fused else self.sizes
        self.qkv = nn.ModuleList(linear_of(shape, shape.hidden_size, width, bias=shape.has_qkv_bias) for width in widths)
        self.output = linear_of(shape, shape.q_size, shape.hidden_size, bias=shape.has_attention_output_bias)

    def forward(self, x_BSE: Tensor, positions: Positions) -> Tensor:
        parts = self.qkv[0](x_BSE).split(self.sizes, dim=-1) if len(self.qkv) == 1 else [each(x_BSE) for each in self.qkv]
        q_BHSD, k_BGSD, v_BGSD = (part.unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2) for part in parts)
        if positions.cos is not None and positions.sin is not None:
            q_BHSD = rotated(q_BHSD, positions.cos, positions.sin)
            k_BGSD = rotated(k_BGSD, positions.cos, positions.sin)
        attend = {"sdpa": self._fused, "eager": self._separate, "unfused": self._unfused}[self.kernels]
        y_BHSD = attend(q_BHSD, k_BGSD, v_BGSD, positions.bias)
        return self.output(y_BHSD.transpose(1, 2).flatten(2))

    @property
    def _dropout(self) -> float:
        return self.shape.attention_dropout if self.training else 0.0

    def _fused(self, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, bias_BHSS: Tensor | None) -> Tensor:
        is_grouped = q_BHSD.shape[1] != k_BGSD.shape[1]
        return functional.scaled_dot_product_attention(
            q_BHSD, k_BGSD, v_BGSD, attn_mask=bias_BHSS, dropout_p=self._dropout, is_causal=bias_BHSS is None, enable_gqa=is_grouped
        )  # fmt: skip

    def _separate(self, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, bias_BHSS: Tensor | None) -> Tensor:
        """Every operation its own kernel, as transformers' eager attention has them."""
        assert bias_BHSS is not None  # the model gives the causal mask to eager layers
        k_BGSD, v_BGSD = _repeated(q_BHSD, k_BGSD, v_BGSD)
        scores_BHSS = q_BHSD @ k_BGSD.transpose(2, 3) * q_BHSD.shape[-1] ** -0.5 + bias_BHSS
        weights_BHSS = scores_BHSS.softmax(-1, dtype=torch.promote_types(scores_BHSS.dtype, torch.float32)).to(q_BHSD.dtype)
        return functional.dropout(weights_BHSS, self._dropout, self.training) @ v_BGSD

    def _unfused(self, q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, bias_BHSS: Tensor | None) -> Tensor:
        """Two products, the first with the scale, and one kernel of mask and softmax between them, as Megatron-LM runs them; forward."""
        if bias_BHSS is not None or torch.is_grad_enabled():
            raise InputError("unfused reference attention has no bias on its scores and no backward pass", hint="use attention eager")
        k_BGSD, v_BGSD = _repeated(q_BHSD, k_BGSD, v_BGSD)
        q_NSD, k_NSD, v_NSD = (each.flatten(0, 1) for each in (q_BHSD, k_BGSD, v_BGSD))
        empty_NSS = q_NSD.new_empty(1, 1, 1)
        scores_NSS = torch.baddbmm(empty_NSS, q_NSD, k_NSD.transpose(1, 2), beta=0.0, alpha=q_NSD.shape[-1] ** -0.5)
        weights_NSS = functional.dropout(causal_softmax_(scores_NSS), self._dropout, self.training)
        return torch.bmm(weights_NSS, v_NSD).unflatten(0, q_BHSD.shape[:2])


def _repeated(q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values once for each query head."""
    repeats = q_BHSD.shape[1] // k_BGSD.shape[1]
    if repeats == 1:
        return k_BGSD, v_BGSD
    return k_BGSD.repeat_interleave(repeats, dim=1), v_BGSD.repeat_interleave(repeats, dim=1)


class Mlp(nn.Module):
    """down(act(up(x))), or gated: down(act(gate(x)) x up(x)), gate and up by one product or two."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape, bias = shape, shape.has_mlp_bias
        width, parts = shape.intermediate_size, (1 + shape.is_gated)
        widths = [parts * width] if shape.is_gated and shape.is_gate_up_fused else [width] * parts
        self.up = nn.ModuleList(linear_of(shape, shape.hidden_size, each, bias=bias) for each in widths)
        self.down = linear_of(shape, width, shape.hidden_size, bias=bias)

    def forward(self, x_BSE: Tensor) -> Tensor:
        made = [each(x_BSE) for each in self.up]
        if not self.shape.is_gated:
            return self.down(activation(self.shape.hidden_act, made[0]))
        gate_BSF, up_BSF = made if len(made) == 2 else made[0].chunk(2, dim=-1)
        return self.down(activation(self.shape.hidden_act, gate_BSF) * up_BSF)


class Layer(nn.Module):
    """Attention and MLP with their norms and residuals."""

    def __init__(self, shape: ModelShape, *, attention: str) -> None:
        super().__init__()
        self.shape = shape
        has_second = not shape.is_parallel or shape.num_parallel_norms == 2
        self.norm1, self.norm2 = norm_of(shape), norm_of(shape) if has_second else None
        self.attention, self.mlp = Attention(shape, attention=attention), Mlp(shape)

    def forward(self, x_BSE: Tensor, positions: Positions) -> Tensor:
        normed_BSE = self.norm1(x_BSE)
        attended_BSE = self._dropped(self.attention(normed_BSE, positions))
        if not self.shape.is_parallel:
            x_BSE = x_BSE + attended_BSE
            assert self.norm2 is not None
            return x_BSE + self._dropped(self.mlp(self.norm2(x_BSE)))
        if self.norm2 is not None:
            normed_BSE = self.norm2(x_BSE)
        return x_BSE + attended_BSE + self._dropped(self.mlp(normed_BSE))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.shape.hidden_dropout, self.training) if self.shape.hidden_dropout else x
