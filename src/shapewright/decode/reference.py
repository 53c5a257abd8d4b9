"""One decode step in plain torch: what every kernel and every family is tested against.

Takes one token a row (`buffers.tokens`, at `buffers.positions`), writes its keys and values into slot `buffers.length` of the cache, and
gives the logits of the next token, `[batch, vocab_size]`. A row sees slots max(starts, length + 1 - window) to length. Shapes carry their
letters: B batch, E hidden_size, H num_attention_heads, K num_key_value_heads, D head_dim, S slots, R rotary_dim, V vocab_size.

Arithmetic is in `dtype`, fp32 unless told: weights are raised to it, and nothing is rounded in between but what the cache stores.
A slot past the cache's end is an IndexError.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from shapewright.decode.buffers import Buffers
from shapewright.decode.layers import Attention, Decoder, Linear, Mlp, Norm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}


@torch.no_grad()
def reference_step(decoder: Decoder, buffers: Buffers, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Logits `[batch, vocab_size]` in `dtype`. Keys and values are written; tokens, positions and length stay as they are."""
    x_BE = _embedded(decoder, buffers, dtype)
    turn = _turn(decoder, buffers, dtype)
    for index, layer in enumerate(decoder.layers):
        q_BHD, k_BKD, v_BKD = _heads(layer.attention, normed(layer.attention_norm, x_BE), turn)
        _store(buffers, index, k_BKD, v_BKD)
        attended_BE = x_BE + linear(layer.attention.out, _attend(layer.attention, q_BHD, buffers, index))
        x_BE = attended_BE + _mlp(layer.mlp, normed(layer.mlp_norm, x_BE if layer.is_parallel else attended_BE))
    return linear(decoder.head, normed(decoder.final_norm, x_BE))


def advance(buffers: Buffers, tokens: Tensor) -> None:
    """Move on by one token a row: `tokens` `[batch]` are fed next, at the next position, into the next slot."""
    buffers.tokens.copy_(tokens)
    buffers.positions += 1
    buffers.length += 1


def linear(layer: Linear, x: Tensor) -> Tensor:
    """`x` `[…, k]` to `[…, n]`."""
    weight = layer.weight.T if layer.transposed else layer.weight
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return functional.linear(x, weight.to(x.dtype), bias)


def normed(norm: Norm, x: Tensor) -> Tensor:
    """`x` normalised over its last dimension."""
    if norm.kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.eps) * norm.weight.to(x.dtype)
    return x if norm.bias is None else x + norm.bias.to(x.dtype)


def split_heads(attention: Attention, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row `[B, (H + 2K) D]`, as `attention.parts` write it, to queries `[B, H, D]`, keys and values `[B, K, D]`."""
    H, K, D = attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim
    if attention.layout == "interleaved":
        q_BHD, k_BKD, v_BKD = parts.view(-1, H, 3, D).unbind(2)
    else:
        q_BHD, k_BKD, v_BKD = parts.view(-1, H + 2 * K, D).split([H, K, K], 1)
    return q_BHD, k_BKD, v_BKD


def rotated(x: Tensor, cos_BR: Tensor, sin_BR: Tensor) -> Tensor:
    """`x` `[B, heads, D]` with its first R dimensions turned, half against half."""
    head, rest = x[..., : cos_BR.shape[-1]], x[..., cos_BR.shape[-1] :]
    low, high = head.chunk(2, -1)
    turned = head * cos_BR[:, None] + torch.cat((-high, low), -1) * sin_BR[:, None]
    return torch.cat((turned, rest), -1)


def _embedded(decoder: Decoder, buffers: Buffers, dtype: torch.dtype) -> Tensor:
    x_BE = decoder.embedding[buffers.tokens].to(dtype)
    if decoder.position_embedding is None:
        return x_BE
    return x_BE + decoder.position_embedding[buffers.positions.long() + decoder.position_offset].to(dtype)


def _turn(decoder: Decoder, buffers: Buffers, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """What turns queries and keys to their positions; as they are, where positions are learned."""
    if decoder.rotary is None:
        return lambda x: x
    positions = buffers.positions.long()
    cos, sin = (table[positions].to(dtype) for table in decoder.rotary(int(positions.max()) + 1))
    return lambda x: rotated(x, cos, sin)


def _heads(attention: Attention, x_BE: Tensor, turn: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    q_BHD, k_BKD, v_BKD = split_heads(attention, torch.cat([linear(part, x_BE) for part in attention.parts], -1))
    if attention.query_norm is not None:
        q_BHD = normed(attention.query_norm, q_BHD)
    if attention.key_norm is not None:
        k_BKD = normed(attention.key_norm, k_BKD)
    return (turn(q_BHD), turn(k_BKD), v_BKD) if attention.rotary_dim else (q_BHD, k_BKD, v_BKD)


def _store(buffers: Buffers, layer: int, k_BKD: Tensor, v_BKD: Tensor) -> None:
    slot = int(buffers.length)
    buffers.keys(layer)[:, :, slot] = k_BKD.to(buffers.cache.dtype)
    buffers.values(layer)[:, :, slot] = v_BKD.to(buffers.cache.dtype)


def _attend(attention: Attention, q_BHD: Tensor, buffers: Buffers, layer: int) -> Tensor:
    """softmax(scale q kᵀ) v over the slots that each row sees, the new one among them: `[B, H D]`."""
    slot = int(buffers.length)
    group = attention.num_attention_heads // attention.num_key_value_heads
    rows = []
    for row, start in enumerate(buffers.starts.tolist()):
        first = start if attention.window is None else max(start, slot + 1 - attention.window)
        # Slots outside of first to slot hold anything, NaN among it: they are left out, not masked.
        k_KSD, v_KSD = (slots[row, :, first : slot + 1].to(q_BHD.dtype) for slots in (buffers.keys(layer), buffers.values(layer)))
        scores_HS = torch.einsum("hd,hsd->hs", q_BHD[row], k_KSD.repeat_interleave(group, 0)) * attention.scale
        rows.append(torch.einsum("hs,hsd->hd", scores_HS.softmax(-1), v_KSD.repeat_interleave(group, 0)).flatten())
    return torch.stack(rows)


def _mlp(mlp: Mlp, x_BE: Tensor) -> Tensor:
    activation = ACTIVATIONS[mlp.activation]
    up = linear(mlp.up, x_BE)
    return linear(mlp.down, activation(up) if mlp.gate is None else activation(linear(mlp.gate, x_BE)) * up)
