"""Attention of one new token a row, written out plainly in float64, and the scenes to compare the kernel on.

Slots that a row does not see are NaN in the cache, so that one read too many shows. Shapes as in the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shapewright.decode.layers import Attention
from unit.decode.kernels.plain import drawn, plain_norm
from unit.decode.kernels.small import attention_of, cos_and_sin

NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A launch about to happen: `length` slots are taken, and row i sees them from `starts[i]` on."""

    attention: Attention
    qkv: Tensor
    keys: Tensor
    values: Tensor
    starts: tuple[int, ...]
    length: int

    def first(self, row: int) -> int:
        """The first slot that a row sees."""
        window = self.attention.window
        return self.starts[row] if window is None else max(self.starts[row], self.length + 1 - window)


def scene(length: int = 11, starts: tuple[int, ...] = (0,), capacity: int | None = None, **fields: Any) -> Scene:
    """Random heads and a random cache."""
    dtype = fields.get("dtype", torch.float32)
    attention = attention_of(**fields)
    heads, kv_heads, width = attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim
    qkv = drawn(len(starts), (heads + 2 * kv_heads) * width, seed=50, dtype=dtype)
    shape = (len(starts), kv_heads, capacity or length + 3, width)
    given = Scene(
        attention=attention, qkv=qkv, keys=drawn(*shape, seed=51, dtype=dtype), values=drawn(*shape, seed=52, dtype=dtype),
        starts=starts, length=length,
    )  # fmt: skip
    return hidden(given)


def hidden(given: Scene) -> Scene:
    """NaN in every slot that a row does not see, and past the end."""
    for row in range(len(given.starts)):
        for slots in (given.keys, given.values):
            slots[row, :, : given.first(row)] = NAN
            slots[row, :, given.length :] = NAN
    return given


def split_row(attention: Attention, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One row of QKV to heads `[heads, head_dim]`."""
    heads, kv_heads, width = attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim
    if attention.layout == "interleaved":
        by_head = row.view(heads, 3, width)
        return by_head[:, 0], by_head[:, 1], by_head[:, 2]
    by_head = row.view(heads + 2 * kv_heads, width)
    return by_head[:heads], by_head[heads : heads + kv_heads], by_head[heads + kv_heads :]


def turned(x: Tensor, position: int, rotary_dim: int) -> Tensor:
    """Pair (i, i + rotary_dim / 2) turned by its angle, pair by pair."""
    if rotary_dim == 0:
        return x
    cos, sin = (table[position].double() for table in cos_and_sin(position + 1, rotary_dim))
    half, out = rotary_dim // 2, x.clone()
    for i in range(half):
        low, high = x[:, i], x[:, i + half]
        out[:, i] = low * cos[i] - high * sin[i]
        out[:, i + half] = high * cos[i + half] + low * sin[i + half]
    return out


def expected_of(given: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """What is attended `[batch, heads * head_dim]`, and the new keys and values `[batch, kv_heads, head_dim]`."""
    attention, rows, new_keys, new_values = given.attention, [], [], []
    group = attention.num_attention_heads // attention.num_key_value_heads
    for row, start in enumerate(given.starts):
        q, k, v = split_row(attention, given.qkv[row].double())
        q, k = plain_norm(attention.query_norm, q), plain_norm(attention.key_norm, k)
        q, k = (turned(x, given.length - start, attention.rotary_dim) for x in (q, k))
        # The cache holds the new key in its own dtype, and that is what is attended to.
        k = k.to(given.keys.dtype).double()
        seen = slice(given.first(row), given.length)
        for head in range(attention.num_attention_heads):
            keys = torch.cat([given.keys[row, head // group, seen].double(), k[head // group, None]])
            values = torch.cat([given.values[row, head // group, seen].double(), v[head // group, None]])
            rows.append((keys @ q[head] * attention.scale).softmax(0) @ values)
        new_keys.append(k)
        new_values.append(v)
    return torch.stack(rows).view(len(given.starts), -1), torch.stack(new_keys), torch.stack(new_values)


SCORES = {
    "to 500 either way": lambda length: torch.linspace(-500, 500, length)[
        torch.randperm(length, generator=torch.Generator().manual_seed(3))
    ],
    "all equal": lambda length: torch.full((length,), 1.5),
    "all equal and large": lambda length: torch.full((length,), 500.0),
    "all very negative": lambda length: torch.full((length,), -500.0) + torch.arange(length) % 3,
    "one huge": lambda length: torch.zeros(length).index_fill(0, torch.tensor([length // 2]), 400.0),
    "the last one huge": lambda length: torch.zeros(length).index_fill(0, torch.tensor([length - 1]), 400.0),
    "spread over 40": lambda length: torch.linspace(-20, 20, length).flip(0),
    "about 30": lambda length: torch.linspace(28, 30, length),
    "about -30": lambda length: torch.linspace(-30, -28, length),
}


def scored(scores: Tensor, group: int, dtype: torch.dtype) -> Scene:
    """Every query scores the slots, the new one last, as told."""
    given = scene(len(scores) - 1, heads=group, kv_heads=1, scale=1.0, dtype=dtype)
    queries, key, _ = given.qkv.view(1, group + 2, 8).split([group, 1, 1], 1)
    queries.zero_()
    queries[..., 0] = 1.0
    key[..., 0] = scores[-1]
    given.keys[0, 0, : len(scores) - 1, 0] = scores[:-1]
    return given
