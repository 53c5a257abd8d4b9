"""Causal softmax of attention scores in one kernel, as Megatron-LM and GPT-NeoX fuse scale, mask and softmax.

    p[r, j] = exp(x[r, j] - max_i x[r, i]) / sum_i exp(x[r, i] - max),   i and j <= r mod S;   0 beyond the diagonal

x: (rows, S), rows a multiple of S, 16- or 32-bit, contiguous; the result takes its place. The sums are fp32. Reads what the mask leaves,
writes everything. Without Triton or off a GPU the same result comes from PyTorch's kernels, one after another.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from .softmax_kernel import launch
except ImportError:  # CPU builds of PyTorch come without Triton
    launch = None


def causal_softmax_(scores: Tensor) -> Tensor:
    """`scores` (..., S, S) replaced by their causal softmax."""
    if launch is None or not scores.is_cuda:
        return scores.copy_(reference(scores))
    launch(scores)
    return scores


def reference(scores: Tensor) -> Tensor:
    """The formula in plain PyTorch."""
    size = scores.shape[-1]
    mask = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill(mask, -float("inf"))
    return wide.softmax(-1).to(scores.dtype)
