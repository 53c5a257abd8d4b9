"""What a decoder is made of, as its decode step needs it: weights where they lie, and how its blocks are wired.

Tensors are the parameters of the model itself: nothing is fused, moved or copied, so `model.to()`, `save_pretrained` and sharing go on
as before. Shapes: a linear's weight is `[n, k]` (`transposed`: `[k, n]`, as GPT-2 stores it), y = x Wᵀ + b; norms `[hidden_size]`
(of queries and keys `[head_dim]`); embeddings `[rows, hidden_size]`; rotary tables `[positions, rotary_dim]`, fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


class Unsupported(Exception):  # noqa: N818 - not an error: the model runs plain, and this says why
    """Why a model, or a call of it, runs plain: one clause that ends a sentence ("it is quantised")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """`rms`: x / rms(x) · w. `layer`: (x - mean(x)) / std(x) · w + b. `eps` stands under the root."""

    kind: Literal["rms", "layer"]
    weight: Tensor
    bias: Tensor | None = None
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """y = x Wᵀ + b."""

    weight: Tensor
    bias: Tensor | None = None
    transposed: bool = False

    @property
    def n(self) -> int:
        """Outputs."""
        return self.weight.shape[1 if self.transposed else 0]

    @property
    def k(self) -> int:
        """Inputs."""
        return self.weight.shape[0 if self.transposed else 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """`parts` write one row: `concatenated`, all queries, then all keys, then all values; `interleaved`, q, k, v of head 0, of head 1, …

    A `window` is how many positions a query sees, itself among them. `rotary_dim` is how many leading dimensions of a head are turned,
    half against half. `query_norm` and `key_norm` are taken over `head_dim`, before the rotary embedding.
    """

    parts: tuple[Linear, ...]
    layout: Literal["concatenated", "interleaved"] = "concatenated"
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    scale: float
    rotary_dim: int = 0
    window: int | None = None
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    out: Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """down(act(gate x) · up x), or down(act(up x)) without a gate."""

    gate: Linear | None = None
    up: Linear
    down: Linear
    activation: Literal["silu", "relu", "gelu", "gelu_tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """x + attention(norm x), then x + mlp(norm x); `is_parallel`: both read the same x, and both are added to it."""

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: Mlp
    is_parallel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """One model. `rotary(count)` gives the cosines and sines of positions 0 to count - 1, each `[count, rotary_dim]` in fp32.

    `max_positions` is the rows of a learned position table less `position_offset` (OPT's is 2), or None where positions are not learned.
    """

    family: str
    embedding: Tensor
    position_embedding: Tensor | None = None
    position_offset: int = 0
    rotary: Callable[[int], tuple[Tensor, Tensor]] | None = None
    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Linear

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, the cache and the activations."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.embedding.device

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self.embedding.shape[1]

    @property
    def vocab_size(self) -> int:
        """Rows of the output projection."""
        return self.head.n

    @property
    def max_positions(self) -> int | None:
        """How many positions a learned table has."""
        return None if self.position_embedding is None else self.position_embedding.shape[0] - self.position_offset
