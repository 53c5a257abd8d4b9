"""The weights of a model, tensor by tensor, and what they add up to.

`weights(shape)` lists every tensor with the operator that reads it; `count_parameters` and `count_active_parameters` add them up.
The work is proportional to the kinds of layer, not to the layers. For GPT-2-style shapes (plain MLP of 4h, biases, two LayerNorms,
learned positions, tied embeddings) the sum is the paper's P = 12 h^2 L + 13 h L + (v + s) h (section III-C) plus the final norm's 2h,
which the paper leaves out.

Operators, by the layer they stand in:

- embedding: `embedding`, `position_embedding`, `token_type_embedding`, `embedding_projection`, `embedding_norm`
- a layer's attention: `norm1`, `qkv` or `query`, `key`, `value`; latent: `query` or `query_down`, `query_down_norm`, `query_up`,
  and `kv_down`, `kv_down_norm`, `kv_up`; then `query_norm`, `key_norm`, `attention` (sinks), `attention_output`, `post_norm1`
- a layer's MLP: `norm2`, `mlp_gate_up` or `mlp_gate`, `mlp_up`; `mlp_down`; routed: `router`, the same with `expert_` and `shared_`
  for `mlp_`, `shared_expert_gate`; then `post_norm2`
- head: `final_norm`, `head_transform`, `head_transform_norm`, `head_projection`, `logits` (only its bias where embeddings are tied)

Buffers that are not trained (rotary frequencies, DeepSeek-V3's expert load correction) are no parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .shape import LayerKind, MixtureOfExperts, ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """`count` tensors of `rows` x `columns` elements; a matrix maps `columns` inputs to `rows` outputs, a vector has one column.

    `operator` reads the tensor; it stands in `layer`, a `LayerKind.name`, "embedding" or "head". `copies` are the tensors that one call of
    the operator reads (the experts of one layer, else 1), so `count` / `copies` is the number of layers.
    """

    name: str
    operator: str
    layer: str
    rows: int
    columns: int
    copies: int
    count: int
    is_expert: bool

    @property
    def num_params(self) -> int:
        """Elements of all `count` tensors."""
        return self.rows * self.columns * self.count

    @property
    def num_params_per_call(self) -> int:
        """Elements that one call of the operator can read."""
        return self.rows * self.columns * self.copies


#: A tensor of one layer before it is counted: operator, suffix of the name, rows, columns, copies.
_Part = tuple[str, str, int, int, int]


def weights(shape: ModelShape) -> tuple[Weight, ...]:
    """Every weight tensor of the model in the order data passes them; tied tensors appear once, as the embedding."""
    return tuple(
        Weight(
            name=operator + suffix,
            operator=operator,
            layer=layer,
            rows=rows,
            columns=columns,
            copies=copies,
            count=copies * num_layers,
            is_expert=_is_expert(operator),
        )
        for layer, num_layers, (operator, suffix, rows, columns, copies) in _parts(shape)
    )


def count_parameters(shape: ModelShape) -> int:
    """Elements of all weights, each tied tensor once."""
    return sum(num_layers * rows * columns * copies for _, num_layers, (_, _, rows, columns, copies) in _parts(shape))


def count_active_parameters(shape: ModelShape) -> int:
    """Elements of the weights that one token can touch: of the routed experts, `num_experts_per_tok`; the whole embedding table."""
    visited = shape.moe.num_experts_per_tok if shape.moe else 0
    return sum(
        num_layers * rows * columns * (visited if _is_expert(operator) else copies)
        for _, num_layers, (operator, _, rows, columns, copies) in _parts(shape)
    )


def params_per_call(shape: ModelShape) -> dict[tuple[str, str], int]:
    """(layer, operator) -> elements that one call of that operator holds as weights; each is called once a layer of its kind."""
    sums: dict[tuple[str, str], int] = {}
    for weight in weights(shape):
        key = weight.layer, weight.operator
        sums[key] = sums.get(key, 0) + weight.num_params_per_call
    return sums


def _is_expert(operator: str) -> bool:
    return operator.startswith("expert_")


def _parts(shape: ModelShape) -> Iterator[tuple[str, int, _Part]]:
    """(layer, number of such layers, tensor) of all tensors."""
    yield from (("embedding", 1, part) for part in _embedding(shape))
    for kind in shape.layer_kinds:
        yield from ((kind.name, kind.count, part) for part in _layer(shape, kind))
    yield from (("head", 1, part) for part in _head(shape))


def _linear(operator: str, rows: int, columns: int, *, bias: bool = False, copies: int = 1) -> Iterator[_Part]:
    """A linear layer from `columns` inputs to `rows` outputs."""
    yield operator, "", rows, columns, copies
    if bias:
        yield operator, ".bias", rows, 1, copies


def _norm(shape: ModelShape, operator: str, size: int) -> Iterator[_Part]:
    """Scale, and with LayerNorm shift, of a norm over `size` elements."""
    if shape.norm != "nonparametric":
        yield operator, "", size, 1, 1
    if shape.norm == "layernorm":
        yield operator, ".bias", size, 1, 1


def _embedding(shape: ModelShape) -> Iterator[_Part]:
    h = shape.hidden_size
    yield "embedding", "", shape.vocab_size, shape.table_size, 1
    if shape.position_embedding == "learned":
        assert shape.max_position_embeddings is not None
        yield "position_embedding", "", shape.max_position_embeddings + shape.num_extra_positions, h, 1
    if shape.num_token_types:
        yield "token_type_embedding", "", shape.num_token_types, h, 1
    if shape.table_size != h:
        yield from _linear("embedding_projection", h, shape.table_size)
    if shape.has_embedding_norm:
        yield from _norm(shape, "embedding_norm", h)


def _layer(shape: ModelShape, kind: LayerKind) -> Iterator[_Part]:
    """One layer. A parallel layer has one or two norms on its input; a sandwich adds one after each half."""
    h, is_sandwich = shape.hidden_size, shape.norm_placement == "sandwich"
    yield from _norm(shape, "norm1", h)
    yield from _latent_projections(shape) if shape.latent_attention else _projections(shape)
    if shape.has_attention_sinks:
        yield "attention", ".sinks", shape.num_attention_heads, 1, 1
    heads_size = shape.num_attention_heads * shape.v_head_dim
    yield from _linear("attention_output", h, heads_size, bias=shape.has_attention_output_bias)
    if is_sandwich:
        yield from _norm(shape, "post_norm1", h)
    if not shape.is_parallel or shape.num_parallel_norms == 2:
        yield from _norm(shape, "norm2", h)
    if kind.mlp == "moe" and shape.moe:
        yield from _mixture(shape, shape.moe)
    else:
        yield from _mlp(shape, "mlp", shape.intermediate_size, bias=shape.has_mlp_bias)
    if is_sandwich:
        yield from _norm(shape, "post_norm2", h)


def _projections(shape: ModelShape) -> Iterator[_Part]:
    """Queries, keys and values, and the norms on queries and keys."""
    h, bias = shape.hidden_size, shape.has_qkv_bias
    if shape.is_qkv_fused:
        yield from _linear("qkv", shape.q_size + 2 * shape.kv_size, h, bias=bias)
    else:
        yield from _linear("query", shape.q_size, h, bias=bias)
        yield from _linear("key", shape.kv_size, h, bias=bias)
        yield from _linear("value", shape.kv_size, h, bias=bias)
    if shape.qk_norm == "each_head":
        yield "query_norm", "", shape.q_size, 1, 1
        yield "key_norm", "", shape.kv_size, 1, 1
    elif shape.qk_norm:
        is_full = shape.qk_norm == "full"
        yield from _norm(shape, "query_norm", shape.q_size if is_full else shape.head_dim)
        yield from _norm(shape, "key_norm", shape.kv_size if is_full else shape.head_dim)


def _latent_projections(shape: ModelShape) -> Iterator[_Part]:
    """DeepSeek-V2, section 2.1: down to the ranks, an RMSNorm on each, up to the heads; the rotary key bypasses its rank."""
    latent = shape.latent_attention
    assert latent is not None
    h, heads = shape.hidden_size, shape.num_attention_heads
    if latent.q_lora_rank is None:
        yield from _linear("query", shape.q_size, h)
    else:
        yield from _linear("query_down", latent.q_lora_rank, h, bias=shape.has_qkv_bias)
        yield "query_down_norm", "", latent.q_lora_rank, 1, 1
        yield from _linear("query_up", shape.q_size, latent.q_lora_rank)
    yield from _linear("kv_down", latent.kv_lora_rank + latent.qk_rope_head_dim, h, bias=shape.has_qkv_bias)
    yield "kv_down_norm", "", latent.kv_lora_rank, 1, 1
    yield from _linear("kv_up", heads * (latent.qk_nope_head_dim + latent.v_head_dim), latent.kv_lora_rank)


def _mlp(shape: ModelShape, prefix: str, width: int, *, bias: bool, copies: int = 1) -> Iterator[_Part]:
    """Two matrices, or three where it is gated, of inner width `width`."""
    h = shape.hidden_size
    if shape.is_gated and shape.is_gate_up_fused:
        yield from _linear(f"{prefix}_gate_up", 2 * width, h, bias=bias, copies=copies)
    else:
        if shape.is_gated:
            yield from _linear(f"{prefix}_gate", width, h, bias=bias, copies=copies)
        yield from _linear(f"{prefix}_up", width, h, bias=bias, copies=copies)
    yield from _linear(f"{prefix}_down", h, width, bias=bias, copies=copies)


def _mixture(shape: ModelShape, moe: MixtureOfExperts) -> Iterator[_Part]:
    """The router, the routed experts, and the shared expert with its gate."""
    yield from _linear("router", moe.num_experts, shape.hidden_size, bias=moe.has_router_bias)
    yield from _mlp(shape, "expert", moe.moe_intermediate_size, bias=moe.has_expert_bias, copies=moe.num_experts)
    if moe.shared_expert_intermediate_size:
        yield from _mlp(shape, "shared", moe.shared_expert_intermediate_size, bias=shape.has_mlp_bias)
        if moe.has_shared_expert_gate:
            yield from _linear("shared_expert_gate", 1, shape.hidden_size)


def _head(shape: ModelShape) -> Iterator[_Part]:
    h = shape.hidden_size
    if shape.has_final_norm:
        yield from _norm(shape, "final_norm", h)
    if not shape.has_lm_head:
        return
    if shape.has_lm_head_transform:
        yield from _linear("head_transform", h, h, bias=True)
        yield from _norm(shape, "head_transform_norm", h)
    if shape.table_size != h:
        yield from _linear("head_projection", shape.table_size, h)
    if not shape.tie_word_embeddings:
        yield "logits", "", shape.vocab_size, shape.table_size, 1
    if shape.has_lm_head_bias:
        yield "logits", ".bias", shape.vocab_size, 1, 1
