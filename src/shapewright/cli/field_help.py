"""Help of the flags that override a model's fields, and the groups in which `--help` lists them.

The paper's symbol stands in parentheses where there is one (h, L, a, v; s, b and t are the workload's).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Group -> field -> help.
FIELD_HELP: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "Model: sizes": {
        "hidden_size": "Width of the residual stream (h).",
        "num_hidden_layers": "Layers (L).",
        "num_attention_heads": "Query heads (a).",
        "num_key_value_heads": "Key and value heads; (a) unless queries share them (GQA, MQA).",
        "head_dim": "Width of one head; h/a unless set apart.",
        "intermediate_size": "Inner width of the MLP; 4h in GPT-2, near 8h/3 if gated.",
        "vocab_size": "Rows of the embedding table (v).",
        "max_position_embeddings": "Longest sequence that the positions cover.",
        "embedding_size": "Width of the embedding table where it is not h.",
    },
    "Model: attention and positions": {
        "position_embedding": "learned, rotary, alibi or none.",
        "num_extra_positions": "Rows of a learned position table beyond the longest sequence.",
        "rotary_dim": "Leading elements of each head that are rotated.",
        "is_qkv_fused": "One product makes queries, keys and values.",
        "has_qkv_bias": "Biases of queries, keys and values.",
        "has_attention_output_bias": "Bias of the attention's output product.",
        "qk_norm": "Norm on queries and keys: head, each_head (its own weights) or full.",
        "has_attention_sinks": "One learned logit a head joins the softmax.",
        "has_fused_gqa": "Shared key heads reach a fused kernel; else SDPA's fp32 math kernels run.",
        "attention_softcap": "tanh cap on attention scores.",
        "attention_dropout": "Dropout probability of attention weights, 0 to below 1.",
        "attention_pattern": "Kinds of layer in turn, full and sliding: sliding,full alternates.",
        "sliding_window": "Keys that a token of a sliding layer sees.",
        "q_lora_rank": "Latent attention: rank of queries.",
        "kv_lora_rank": "Latent attention: rank of keys and values.",
        "qk_nope_head_dim": "Latent attention: unrotated width of a query or key head.",
        "qk_rope_head_dim": "Latent attention: rotated width of a query or key head.",
        "v_head_dim": "Latent attention: width of a value head.",
    },
    "Model: MLP and experts": {
        "hidden_act": "Activation, for example gelu, relu, silu.",
        "is_gated": "Gated MLP (SwiGLU, GeGLU): three matrices instead of two.",
        "is_gate_up_fused": "One product makes the gate and the up projection.",
        "has_mlp_bias": "Biases of the MLP.",
        "num_experts": "Experts of a routed layer.",
        "num_experts_per_tok": "Experts that each token visits.",
        "moe_intermediate_size": "Inner width of one expert.",
        "shared_expert_intermediate_size": "Inner width of the experts that every token visits; 0: none.",
        "first_k_dense": "Layers before the first routed one.",
        "layer_step": "Every layer_step-th layer is routed.",
        "layer_offset": "0: the last layer of each step is routed; layer_step - 1: the first.",
        "has_router_bias": "Bias of the router.",
        "has_expert_bias": "Biases of the experts.",
        "has_shared_expert_gate": "A gate on the shared experts.",
    },
    "Model: norms, head and the rest": {
        "kind": "decoder or encoder.",
        "architecture": "Label of the family, Hugging Face's model_type.",
        "norm": "layernorm, layernorm_no_bias, rmsnorm or nonparametric.",
        "norm_placement": "Norms before (pre) or after (post) attention and MLP, or both (sandwich).",
        "has_final_norm": "A norm after the last layer.",
        "has_embedding_norm": "A norm after the embedding.",
        "is_parallel": "Attention and MLP both read the layer's input.",
        "num_parallel_norms": "Norms of a parallel layer: 1 shared or 2.",
        "hidden_dropout": "Dropout probability of the residual stream, 0 to below 1.",
        "is_weight_transposed": "Weights stored k x n (GPT-2's Conv1D).",
        "has_lm_head": "Logits over the vocabulary.",
        "has_lm_head_bias": "Bias of the logits.",
        "has_lm_head_transform": "A dense layer, activation and norm before the logits (BERT).",
        "tie_word_embeddings": "Logits use the embedding table's weights.",
        "num_token_types": "Rows of BERT's segment embedding table.",
        "final_softcap": "tanh cap on logits.",
    },
})  # fmt: skip


def described(field: str) -> tuple[str, str]:
    """(group, help) of a field."""
    found = ((group, members[field]) for group, members in FIELD_HELP.items() if field in members)
    return next(found, (tuple(FIELD_HELP)[-1], ""))
