"""Rotary and ALiBi positions.

Shapes: B sequences, H heads, S tokens, D elements a head, R rotated elements a head. Rotary positions turn element i and i + R/2 of the
first R by position x base^(-2i/R) (RoFormer, arXiv 2104.09864, in the halves of GPT-NeoX). ALiBi adds slope x key position to the scores
(arXiv 2108.12409): against the relative position it only shifts each row, which the softmax does not see.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROTARY_BASE = 10000.0


def rotary_tables(num_tokens: int, rotary_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos_SR and sin_SR in the number format and on the device of `like`; computed in fp32."""
    powers_R = torch.arange(0, rotary_dim, 2, device=like.device, dtype=torch.float32) / rotary_dim
    positions_S = torch.arange(num_tokens, device=like.device, dtype=torch.float32)
    angles_SR = torch.outer(positions_S, ROTARY_BASE**-powers_R).repeat(1, 2)
    return angles_SR.cos().to(like.dtype), angles_SR.sin().to(like.dtype)


def rotated(x_BHSD: Tensor, cos_SR: Tensor, sin_SR: Tensor) -> Tensor:
    """`x_BHSD` with its first R elements turned by their positions."""
    rotary_dim = cos_SR.shape[-1]
    turned_BHSR, kept = x_BHSD[..., :rotary_dim], x_BHSD[..., rotary_dim:]
    first, second = turned_BHSR.chunk(2, dim=-1)
    swapped_BHSR = torch.cat((-second, first), dim=-1)
    turned_BHSR = turned_BHSR * cos_SR + swapped_BHSR * sin_SR
    return torch.cat((turned_BHSR, kept), dim=-1) if kept.shape[-1] else turned_BHSR


def alibi_slopes(num_heads: int) -> list[float]:
    """2^(-8i/n) for i = 1..n where n is a power of two; else those of the power below, filled up from every other one of the next."""
    floor = 2 ** int(math.log2(num_heads))
    slopes = [2.0 ** (-8 * (i + 1) / floor) for i in range(floor)]
    return slopes + [2.0 ** (-8 * (2 * i + 1) / (2 * floor)) for i in range(num_heads - floor)]


def alibi_bias(num_heads: int, num_tokens: int, like: Tensor) -> Tensor:
    """bias_1H1S on the scores: slope of the head x position of the key."""
    slopes_H = torch.tensor(alibi_slopes(num_heads), device=like.device, dtype=torch.float32)
    positions_S = torch.arange(num_tokens, device=like.device, dtype=torch.float32)
    return (slopes_H[:, None] * positions_S).to(like.dtype)[None, :, None, :]


def causal_mask(num_tokens: int, like: Tensor) -> Tensor:
    """mask_SS: 0 where a token may look, the lowest number elsewhere."""
    lowest = torch.finfo(like.dtype).min
    return torch.full((num_tokens, num_tokens), lowest, device=like.device, dtype=like.dtype).triu(1)
