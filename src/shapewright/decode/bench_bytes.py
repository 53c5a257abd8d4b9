"""Bytes that one decode step must read: weights once, and the keys and values of every row of the batch.

- weights: all parameters but tables of which a step gathers single rows: token embeddings (read whole where they make the logits too),
  learned positions and token types. For Llama-2-7B in bf16 6 607 343 616 x 2 bytes.
- cache: batch x tokens x layers x (key width + value width); a sliding layer keeps its window. Activations are left out: 0.1 % at batch 1.

Bytes. Source: `shapewright.parameters`, whose weights carry the operator that reads them.
Errors: a mixture of experts is an `InputError`: what it reads hangs on the tokens.
"""

from __future__ import annotations

from ..errors import InputError
from ..parameters import weights
from ..shape import ModelShape

#: Operators that gather rows of their table.
_GATHERED = ("position_embedding", "token_type_embedding")


def read_weight_bytes(shape: ModelShape, element_bytes: int) -> int:
    """Bytes of the weights that one step reads, whatever the batch."""
    if shape.moe:
        raise InputError(f"{shape.name} is a mixture of experts", hint="what its steps read hangs on the tokens; measure a dense model")
    gathered = _GATHERED if shape.tie_word_embeddings else ("embedding", *_GATHERED)
    return element_bytes * sum(weight.num_params for weight in weights(shape) if weight.operator not in gathered)


def read_cache_bytes(shape: ModelShape, element_bytes: int, *, batch: int, tokens: float) -> int:
    """Bytes of keys and values that a step over `tokens` tokens a row reads, the new one's among them."""
    width = shape.num_key_value_heads * (shape.qk_head_dim + shape.v_head_dim)
    seen = sum(kind.count * min(tokens, shape.window(kind.attention) or tokens) for kind in shape.layer_kinds)
    return round(batch * seen * width * element_bytes)


def mean_tokens(context: int, *, warmup_tokens: int, new_tokens: int) -> float:
    """Tokens that a timed step attends to, mean over the steps.

    The prompt's own pass makes the first token; step j, from 1, attends to context + j. A call for `warmup_tokens` ends with step
    warmup_tokens - 1, the `new_tokens` after it are timed.
    """
    return context + warmup_tokens + (new_tokens - 1) / 2
