"""Multi-head latent attention (DeepSeek-V2, section 2.1) as transformers 5.17 runs it: not absorbed.

Queries (through a rank, or straight) and keys/values are projected down to their ranks, normed, and up to full heads; the rotary part
of the key is one head that all share. The cache keeps the latent and that key, so a decode step expands the whole context again:
`kv_up` has b x (context + 1) rows. The down projections are not split by tensor parallelism.
"""

from __future__ import annotations

from .linear import linear
from .norms import norm
from .pointwise import gradient_sum
from .positions import rotary
from .scope import Scope, Unit, chain, chains


def latent_projections(scope: Scope) -> tuple[Unit, ...]:
    """Queries, keys and values of full heads."""
    shape, tokens = scope.shape, scope.tokens
    assert shape.latent_attention is not None
    fork = gradient_sum(scope, "qkv_gradient_sum", num_elements=tokens * shape.hidden_size, num_terms=2)
    return (fork, *_queries(scope), *_compressed(scope), *rotary(scope, key_heads=1), *_expanded(scope))


def _queries(scope: Scope) -> tuple[Unit, ...]:
    shape, tokens = scope.shape, scope.tokens
    latent = shape.latent_attention
    assert latent is not None
    width, note = scope.heads * shape.qk_head_dim, scope.split_note(shape.num_attention_heads, "attention heads")
    rank = latent.q_lora_rank
    if rank is None:
        return (linear(scope, "query", m=tokens, n=width, k=shape.hidden_size, kept_rows=scope.residual_tokens, note=note),)
    return (
        linear(scope, "query_down", m=tokens, n=rank, k=shape.hidden_size, has_bias=shape.has_qkv_bias, kept_rows=scope.residual_tokens),
        norm(scope, "query_down_norm", rows=tokens, width=rank, norm_kind="rmsnorm"),
        linear(scope, "query_up", m=tokens, n=width, k=rank, note=note),
    )


def _compressed(scope: Scope) -> tuple[Unit, ...]:
    shape, tokens = scope.shape, scope.tokens
    latent = shape.latent_attention
    assert latent is not None
    width = latent.kv_lora_rank + latent.qk_rope_head_dim
    return (
        linear(scope, "kv_down", m=tokens, n=width, k=shape.hidden_size, has_bias=shape.has_qkv_bias, kept_rows=0),
        norm(scope, "kv_down_norm", rows=tokens, width=latent.kv_lora_rank, norm_kind="rmsnorm"),
    )


def _expanded(scope: Scope) -> tuple[Unit, ...]:
    """Keys and values of every head from the latent, and the rotary parts joined to queries and keys."""
    shape, size, is_decode = scope.shape, scope.size, scope.workload.phase == "decode"
    latent = shape.latent_attention
    assert latent is not None
    rows = scope.batch * scope.kv_len
    note = "not absorbed: each decode step expands the latent of the whole context" if is_decode else ""
    width = scope.heads * (latent.qk_nope_head_dim + latent.v_head_dim)
    up = linear(scope, "kv_up", m=rows, n=width, k=latent.kv_lora_rank, note=note)
    queries = chain(scope.tokens * scope.heads * shape.qk_head_dim, ("concat", size, size))
    keys = chain(rows * scope.heads * shape.qk_head_dim, ("strided", size, size))
    joined = chains(queries, keys)
    return up, scope.unit("join_heads", "copy", joined, joined, note="rotary and plain parts of queries and keys")
