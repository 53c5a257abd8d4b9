"""A decoder of one small layer, and steps over it, for kernels that a step launches itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.layers import Attention, Decoder, Layer, Linear, Mlp, Norm
from shapewright.decode.products import Product
from shapewright.decode.step import Step
from shapewright.decode.tile import AttentionTile, Tile
from unit.decode.kernels.plain import drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One tile for all products and one for attention, in place of a dispatch table."""

    tile: Tile = field(default_factory=lambda: Tile(kernel="library"))
    attention_tile: AttentionTile = field(default_factory=lambda: AttentionTile(splits=2, block_s=8))
    overlaps: bool = False

    def product(self, product: Product, rows: int) -> Tile:
        return self.tile

    def attention(self, attention: Attention, batch: int) -> AttentionTile:
        return self.attention_tile


def attention_of(hidden_size: int = 6, dtype: torch.dtype = torch.float32, **fields: Any) -> Attention:
    """`heads` over `kv_heads` of `head_dim`; the rest as `Attention` has it."""
    heads, kv_heads, width = fields.pop("heads", 2), fields.pop("kv_heads", 2), fields.pop("head_dim", 8)
    sizes = [heads * width, kv_heads * width, kv_heads * width]
    if fields.get("layout") == "interleaved":
        sizes = [sum(sizes)]
    parts = tuple(Linear(weight=drawn(size, hidden_size, seed=20 + index, dtype=dtype)) for index, size in enumerate(sizes))
    given = {"scale": width**-0.5, "out": Linear(weight=drawn(hidden_size, heads * width, seed=29, dtype=dtype))} | fields
    return Attention(parts=parts, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=width, **given)


def decoder_of(attention: Attention, vocab_size: int = 11, **fields: Any) -> Decoder:
    """One layer around `attention`."""
    hidden_size, dtype = attention.parts[0].k, attention.parts[0].weight.dtype
    norm = Norm(kind="rms", weight=torch.ones(hidden_size, dtype=dtype), eps=1e-5)
    up, down = (Linear(weight=drawn(hidden_size, hidden_size, seed=seed, dtype=dtype)) for seed in (30, 31))
    layer = Layer(attention_norm=norm, attention=attention, mlp_norm=norm, mlp=Mlp(up=up, down=down, activation="relu"))
    embedding = drawn(vocab_size, hidden_size, seed=32, dtype=dtype)
    given = {"rotary": (lambda count: cos_and_sin(count, attention.rotary_dim)) if attention.rotary_dim else None} | fields
    head = Linear(weight=drawn(vocab_size, hidden_size, seed=33, dtype=dtype))
    return Decoder(family="small", embedding=embedding, layers=(layer,), final_norm=norm, head=head, **given)


def cos_and_sin(count: int, rotary_dim: int) -> tuple[Tensor, Tensor]:
    """`[count, rotary_dim]` each, the second half of the angles as the first."""
    angle = torch.arange(count)[:, None] * 100.0 ** (-torch.arange(0, rotary_dim, 2) / rotary_dim)
    both = torch.cat([angle, angle], 1)
    return both.cos(), both.sin()


def step_of(decoder: Decoder, batch: int, capacity: int, choices: Fixed | None = None) -> Step:
    """A step over buffers whose cache is NaN wherever nothing is stored."""
    buffers = Buffers(decoder, batch, capacity)
    buffers.cache.fill_(float("nan"))
    return Step(decoder, buffers, choices or Fixed())
