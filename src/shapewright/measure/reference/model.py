"""A decoder of reference layers: embedding, layers, final norm, logits, and the loss of predicting each next token.

Shapes: B sequences, S tokens, E hidden size, V vocabulary. Parameters are those of `ModelShape.num_params`, each tied tensor once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...shape import ModelShape
from .layers import Layer, Positions, norm_of
from .positions import alibi_bias, causal_mask, rotary_tables

#: The label of a token that has no next one.
IGNORED = -100


class Output(NamedTuple):
    """logits_BSV, and the mean loss of one token where labels were given."""

    logits: Tensor
    loss: Tensor | None


class ReferenceModel(nn.Module):
    """The model of a shape that `reference_shape` accepts; `attention` sdpa, eager or unfused."""

    def __init__(self, shape: ModelShape, *, attention: str) -> None:
        super().__init__()
        self.shape, self.is_eager = shape, attention == "eager"
        h = shape.hidden_size
        self.embedding = nn.Embedding(shape.vocab_size, h)
        rows = (shape.max_position_embeddings or 0) + shape.num_extra_positions
        self.positions = nn.Embedding(rows, h) if shape.position_embedding == "learned" else None
        self.embedding_norm = norm_of(shape) if shape.has_embedding_norm else None
        self.layers = nn.ModuleList(Layer(shape, attention=attention) for _ in range(shape.num_hidden_layers))
        self.final_norm = norm_of(shape) if shape.has_final_norm else None
        self.head = nn.Linear(h, shape.vocab_size, bias=False) if shape.has_lm_head and not shape.tie_word_embeddings else None
        self.head_bias = nn.Parameter(torch.empty(shape.vocab_size)) if shape.has_lm_head and shape.has_lm_head_bias else None

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Output:
        x_BSE = self.embedding(input_ids)
        if self.positions is not None:
            positions_S = torch.arange(input_ids.shape[1], device=x_BSE.device) + self.shape.num_extra_positions
            x_BSE = x_BSE + self.positions(positions_S)
        if self.embedding_norm is not None:
            x_BSE = self.embedding_norm(x_BSE)
        if self.shape.hidden_dropout:
            x_BSE = functional.dropout(x_BSE, self.shape.hidden_dropout, self.training)
        shared = self._shared(x_BSE)
        for layer in self.layers:
            x_BSE = layer(x_BSE, shared)
        if self.final_norm is not None:
            x_BSE = self.final_norm(x_BSE)
        weight_VE = self.embedding.weight if self.head is None else self.head.weight
        logits_BSV = functional.linear(x_BSE, weight_VE, self.head_bias)
        return Output(logits=logits_BSV, loss=None if labels is None else next_token_loss(logits_BSV, labels))

    def _shared(self, x_BSE: Tensor) -> Positions:
        """Tables and bias of this pass; fused attention without ALiBi needs no mask."""
        shape, num_tokens = self.shape, x_BSE.shape[1]
        tables = rotary_tables(num_tokens, shape.num_rotary_dims, x_BSE) if shape.num_rotary_dims else (None, None)
        bias = causal_mask(num_tokens, x_BSE)[None, None] if self.is_eager or shape.position_embedding == "alibi" else None
        if shape.position_embedding == "alibi" and bias is not None:
            bias = bias + alibi_bias(shape.num_attention_heads, num_tokens, x_BSE)  # positive: masked scores stay finite
        return Positions(cos=tables[0], sin=tables[1], bias=bias)


def next_token_loss(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """Mean cross entropy of each token from those before it, in fp32 at least.

    Labels are shifted and the last one ignored, as transformers does: logits cut to all but the last token would be copied twice.
    """
    wide = logits_BSV.to(torch.promote_types(logits_BSV.dtype, torch.float32))
    next_BS = functional.pad(labels_BS[:, 1:], (0, 1), value=IGNORED)
    return functional.cross_entropy(wide.flatten(0, 1), next_BS.flatten(), ignore_index=IGNORED)
