"""What `lower` emits: the paper's FLOPs, layouts, counts, phases, and what each feature of a model or workload adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.operators import FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Operator, lower, memory_use
from shapewright.operators.moe import active_experts
from shapewright.shape import MixtureOfExperts, ModelShape
from shapewright.workload import Workload
from unit.operators.operator_shapes import ALTERNATING, LATENT, LLAMA_2_7B, MIXTRAL, gpt2_style


def by_name(shape: ModelShape, dtype: str = "bf16", **workload: object) -> dict[str, Operator]:
    """Operators by (unique) name, of the forward pass or, for names with a suffix, of the others."""
    operators = lower(shape, Workload(**workload), dtype)  # type: ignore[arg-type]
    return {operator.name: operator for operator in operators if operator.part != "recompute"}


@settings(max_examples=60, deadline=None)
@given(heads=st.integers(1, 24), head_dim=st.integers(1, 160), batch=st.integers(1, 8), sequence=st.integers(1, 4096))
def test_layer_flops_are_the_papers(heads: int, head_dim: int, batch: int, sequence: int) -> None:
    """Section III-C: a layer's forward pass is 24 b s h^2 (1 + s / 6h) = 24 b s h^2 + 4 b s^2 h FLOPs; the backward pass is twice that."""
    shape = gpt2_style(heads=heads, head_dim=head_dim)
    h = shape.hidden_size
    expected = 24 * batch * sequence * h**2 + 4 * batch * sequence**2 * h
    for attention in ("unfused", "flash"):
        workload = Workload(micro_batch=batch, sequence=sequence, attention=attention)  # type: ignore[arg-type]
        layer = [operator for operator in lower(shape, workload, "fp16") if operator.layer == "full+dense"]
        assert sum(operator.flops for operator in layer if operator.part == "forward") == expected
        assert sum(operator.flops for operator in layer if operator.part == "backward") == 2 * expected


@st.composite
def any_shape(draw: st.DrawFn) -> ModelShape:
    """A small model with any mix of features."""
    kv_heads, group, head_dim = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 8)) * 2
    flag = st.booleans()
    moe = MixtureOfExperts(
        num_experts=draw(st.integers(2, 9)), num_experts_per_tok=draw(st.integers(1, 2)), moe_intermediate_size=draw(st.integers(1, 40)),
        shared_expert_intermediate_size=draw(st.integers(0, 30)), first_k_dense=draw(st.integers(0, 3)),
        layer_step=draw(st.integers(1, 2)), has_router_bias=draw(flag), has_expert_bias=draw(flag), has_shared_expert_gate=draw(flag),
    )  # fmt: skip
    is_latent, is_gated = draw(flag), draw(flag)
    return replace(
        LATENT, hidden_size=draw(st.integers(1, 90)), num_hidden_layers=draw(st.integers(1, 7)), num_attention_heads=kv_heads * group,
        num_key_value_heads=kv_heads, head_dim=head_dim, intermediate_size=draw(st.integers(1, 99)), vocab_size=draw(st.integers(1, 300)),
        max_position_embeddings=64, position_embedding=draw(st.sampled_from(["learned", "rotary", "alibi", "none"])),
        rotary_dim=draw(st.sampled_from([None, 0, 2])), norm=draw(st.sampled_from(["layernorm", "rmsnorm", "nonparametric"])),
        norm_placement=draw(st.sampled_from(["pre", "post", "sandwich"])), has_final_norm=draw(flag), has_embedding_norm=draw(flag),
        qk_norm=None if is_latent else draw(st.sampled_from([None, "head", "full"])), is_parallel=draw(flag),
        num_parallel_norms=draw(st.integers(1, 2)), hidden_act=draw(st.sampled_from(["silu", "gelu_new", "relu", "linear"])),
        is_gated=is_gated, is_qkv_fused=draw(flag), is_gate_up_fused=draw(flag), is_weight_transposed=draw(flag), has_qkv_bias=draw(flag),
        has_attention_output_bias=draw(flag), has_mlp_bias=draw(flag), has_lm_head=draw(flag), has_lm_head_bias=draw(flag),
        has_lm_head_transform=draw(flag), tie_word_embeddings=draw(flag), embedding_size=draw(st.sampled_from([None, 12])),
        num_token_types=draw(st.integers(0, 2)), has_attention_sinks=draw(flag), has_fused_gqa=draw(flag),
        attention_dropout=draw(st.sampled_from([0.0, 0.1])), hidden_dropout=draw(st.sampled_from([0.0, 0.1])), sliding_window=5,
        attention_pattern=draw(st.sampled_from([("full",), ("sliding", "full")])),
        latent_attention=LATENT.latent_attention if is_latent else None, moe=draw(st.sampled_from([None, moe])),
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(shape=any_shape(), attention=st.sampled_from(["flash", "unfused"]), runtime=st.sampled_from(["eager", "compiled"]))
def test_any_model_adds_up(shape: ModelShape, attention: str, runtime: str) -> None:
    """Parameters belong to forward operators and add up; each product has two of its FLOPs behind it, save the rotary table."""
    workload = Workload(micro_batch=2, sequence=9, attention=attention, runtime=runtime)  # type: ignore[arg-type]
    operators = lower(shape, workload, "bf16")
    assert sum(op.num_params * op.count for op in operators) == shape.num_params
    flops = {part: sum(op.flops * op.count for op in operators if op.part == part) for part in ("forward", "backward")}
    table = sum(op.flops * op.count for op in operators if op.name == "rotary_table")
    assert flops["backward"] == 2 * (flops["forward"] - table)
    assert all(op.bytes > 0 and op.count > 0 for op in operators)
    assert memory_use(shape, workload).parameters == 2 * shape.num_params


def test_weight_products_have_the_layouts_of_their_weights() -> None:
    linear = by_name(LLAMA_2_7B, micro_batch=2, sequence=16)
    assert linear["mlp_up"].work == Gemm(m=32, n=11008, k=4096, layout="NT")
    assert linear["mlp_up_dgrad"].work == Gemm(m=32, n=4096, k=11008, layout="NN")
    assert linear["mlp_up_wgrad"].work == Gemm(m=11008, n=4096, k=32, layout="TN")
    conv1d = by_name(gpt2_style(heads=4, head_dim=16), micro_batch=2, sequence=16)
    assert conv1d["qkv"].work == Gemm(m=32, n=192, k=64, layout="NN")
    assert conv1d["qkv_dgrad"].work == Gemm(m=32, n=64, k=192, layout="NT")
    assert conv1d["qkv_wgrad"].work == Gemm(m=64, n=192, k=32, layout="TN")
    assert conv1d["logits"].work == Gemm(m=32, n=640, k=64, layout="NT")


def test_unfused_attention_products() -> None:
    found = by_name(LLAMA_2_7B, micro_batch=2, sequence=48, attention="unfused")
    assert found["attention_score"].work == Gemm(batch=64, m=48, n=48, k=128, layout="NT")
    assert found["attention_score_dgrad"].work == Gemm(batch=64, m=48, n=128, k=48, layout="NN")
    assert found["attention_score_wgrad"].work == Gemm(batch=64, m=48, n=128, k=48, layout="TN")
    assert found["attention_over_value"].work == Gemm(batch=64, m=48, n=128, k=48, layout="NN")
    assert found["attention_over_value_dgrad"].work == Gemm(batch=64, m=48, n=48, k=128, layout="NT")
    assert found["attention_over_value_wgrad"].work == Gemm(batch=64, m=48, n=128, k=48, layout="TN")
    scores = 2 * 32 * 48 * 48
    assert (found["softmax"].bytes, found["softmax_backward"].bytes) == (4 * scores, 6 * scores)
    assert "attention_dropout" not in found
    dropped = by_name(replace(LLAMA_2_7B, attention_dropout=0.1), micro_batch=2, sequence=48, attention="unfused")
    assert dropped["attention_dropout"].bytes == 5 * scores


def test_dropout_runs_in_training_mode_only() -> None:
    shape = gpt2_style(heads=4, head_dim=16, dropout=0.1)
    for phase, expected in (("train", True), ("forward", True), ("prefill", False), ("decode", False)):
        kinds = {operator.kind for operator in by_name(shape, phase=phase, sequence=32).values()}
        assert ("dropout" in kinds) is expected


def test_phases() -> None:
    prefill = by_name(LLAMA_2_7B, phase="prefill", micro_batch=3, sequence=100)
    assert prefill["logits"].work == Gemm(m=3, n=32000, k=4096)
    assert prefill["mlp_down"].work == Gemm(m=300, n=4096, k=11008)
    decode = by_name(LLAMA_2_7B, phase="decode", micro_batch=3, context=100)
    assert decode["logits"].work == Gemm(m=3, n=32000, k=4096)
    flash = decode["flash_attention"].work
    assert isinstance(flash, FlashAttention)
    assert (flash.query_len, flash.kv_len, flash.batch) == (1, 101, 3)
    assert decode["cache_append"].bytes == 2 * (3 * 2 * 4096 * 2)
    unfused = by_name(LLAMA_2_7B, phase="decode", micro_batch=3, context=100, attention="unfused")
    assert unfused["attention_score"].work == Gemm(batch=96, m=1, n=101, k=128)
    assert unfused["attention_over_value"].work == Gemm(batch=96, m=1, n=128, k=101, layout="NN")
    forward = by_name(LLAMA_2_7B, phase="forward", micro_batch=3, sequence=100)
    assert "loss" not in forward and "cache_append" not in forward and "adam" not in forward
    assert forward["logits"].work == Gemm(m=300, n=32000, k=4096)


def test_sliding_layers_cache_their_window() -> None:
    operators = lower(ALTERNATING, Workload(phase="decode", micro_batch=1, context=99), "bf16")
    lengths = {op.layer: op.work.kv_len for op in operators if isinstance(op.work, FlashAttention)}
    assert lengths == {"sliding+dense": 16, "full+dense": 100}
    counts = {op.layer: op.count for op in operators if op.name == "flash_attention"}
    assert counts == {"sliding+dense": 3, "full+dense": 2}


def test_softcaps_and_sandwich_norms() -> None:
    found = by_name(ALTERNATING, micro_batch=1, sequence=8, attention="unfused")
    assert {"attention_softcap", "logits_softcap", "norm1", "post_norm1", "norm2", "post_norm2"} <= set(found)
    assert "attention_softcap" not in by_name(ALTERNATING, micro_batch=1, sequence=8)


def test_latent_attention_expands_the_context_in_decode() -> None:
    decode = by_name(LATENT, phase="decode", micro_batch=2, context=49)
    assert decode["kv_up"].work == Gemm(m=100, n=16 * 128, k=128)
    assert "not absorbed" in decode["kv_up"].note
    assert decode["query_up"].work == Gemm(m=2, n=16 * 96, k=256)
    train = by_name(LATENT, micro_batch=2, sequence=10)
    assert train["kv_down"].work == Gemm(m=20, n=160, k=1024)
    assert train["attention_output"].work == Gemm(m=20, n=1024, k=1024)
    flash = train["flash_attention"].work
    assert isinstance(flash, FlashAttention)
    assert (flash.qk_head_dim, flash.v_head_dim) == (96, 64)


def test_experts() -> None:
    found = by_name(MIXTRAL, micro_batch=1, sequence=64)
    up = found["experts_gate_up"].work
    assert isinstance(up, GroupedGemm)
    assert (up.num_rows, up.num_groups, up.n, up.k, up.is_loop) == (128, 8, 28672, 4096, False)
    wgrad = found["experts_gate_up_wgrad"].work
    assert isinstance(wgrad, GroupedGemm)
    assert wgrad.layout == "TN" and wgrad.flops == up.flops
    decode = by_name(MIXTRAL, phase="decode", micro_batch=1)["experts_down"]
    assert isinstance(decode.work, GroupedGemm)
    assert decode.work.num_active_groups == pytest.approx(2) and "2 of 8 experts" in decode.note


def test_active_experts_are_those_of_a_simulation() -> None:
    """One token visits exactly k experts; two tokens visit k + k (1 - k/E) on average; many visit all."""
    assert active_experts(64, 6, 1) == pytest.approx(6)
    assert active_experts(64, 6, 2) == pytest.approx(6 + 6 * (1 - 6 / 64))
    assert active_experts(64, 6, 10_000) == pytest.approx(64)


def test_first_dense_layers_of_a_mixture_are_their_own_kind() -> None:
    moe = MixtureOfExperts(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=128, shared_expert_intermediate_size=64, first_k_dense=1
    )
    operators = lower(replace(LATENT, moe=moe), Workload(sequence=16), "bf16")
    counts = {op.name: op.count for op in operators if op.part == "forward"}
    assert (counts["mlp_gate"], counts["experts_gate_up"], counts["shared_gate"]) == (1, 3, 3)


def test_full_recomputation_repeats_each_layer_and_selective_the_scores() -> None:
    base = lower(LLAMA_2_7B, Workload(attention="unfused"), "bf16")
    forward = [op.name for op in base if op.part == "forward" and op.layer == "full+dense"]
    full = lower(LLAMA_2_7B, Workload(attention="unfused", recompute="full"), "bf16")
    assert [op.name for op in full if op.part == "recompute"] == forward
    selective = lower(LLAMA_2_7B, Workload(attention="unfused", recompute="selective"), "bf16")
    assert [op.name for op in selective if op.part == "recompute"] == ["attention_score", "softmax", "attention_over_value"]
    flash = lower(LLAMA_2_7B, Workload(recompute="selective"), "bf16")
    assert not [op for op in flash if op.part == "recompute"]


def test_compiled_norms_take_the_residual_sums() -> None:
    tokens_bytes = 2 * 4 * 2048 * 4096
    eager, compiled = by_name(LLAMA_2_7B), by_name(LLAMA_2_7B, runtime="compiled")
    assert eager["attention_residual"].bytes == 3 * tokens_bytes
    assert not any(operator.kind == "residual" and operator.part == "forward" for operator in compiled.values())
    assert compiled["norm2"].bytes == 4 * tokens_bytes
    assert compiled["final_norm"].bytes == 2 * tokens_bytes
    assert isinstance(compiled["mlp_activation"].work, MemoryPass)
    assert compiled["mlp_activation"].bytes == 3 * 2 * 4 * 2048 * 11008


def test_graph_and_eager_run_the_same_kernels() -> None:
    for attention in ("flash", "unfused"):
        graph, eager = (Workload(runtime=runtime, attention=attention) for runtime in ("graph", "eager"))  # type: ignore[arg-type]
        assert lower(MIXTRAL, graph, "bf16") == lower(MIXTRAL, eager, "bf16")


def test_kernel_counts_of_a_llama_layer() -> None:
    """A profile of transformers 5.17's Llama on an H200 (PyTorch 2.11, bf16): RMSNorm 8, rotary 10, gated SiLU 2, a sum 1."""
    found = by_name(LLAMA_2_7B)

    def kernels(name: str) -> int:
        work = found[name].work
        assert isinstance(work, MemoryPass | MemoryChain)
        return work.num_kernels

    assert [kernels(name) for name in ("norm1", "rotary", "mlp_activation", "mlp_residual")] == [8, 10, 2, 1]
    assert [kernels(f"{name}_backward") for name in ("norm1", "rotary", "mlp_activation", "mlp_residual")] == [16, 18, 3, 1]


def test_gradients_accumulate_over_micro_batches() -> None:
    assert "gradient_accumulation" not in by_name(LLAMA_2_7B)
    found = by_name(LLAMA_2_7B, global_batch=16)["gradient_accumulation"]
    assert found.bytes == pytest.approx(3 * 2 * LLAMA_2_7B.num_params * 3 / 4)


def test_adam_moves_28_bytes_a_parameter() -> None:
    assert by_name(LLAMA_2_7B)["adam"].bytes == 28 * LLAMA_2_7B.num_params
    assert by_name(LLAMA_2_7B, dtype="fp32")["adam"].bytes == 28 * LLAMA_2_7B.num_params
    assert by_name(LLAMA_2_7B, zero=1, data_parallel=4)["adam"].bytes == 7 * LLAMA_2_7B.num_params


def test_work_does_not_grow_with_layers() -> None:
    """The number of operators, hence the work, depends on the kinds of layer only."""
    deep = replace(LLAMA_2_7B, num_hidden_layers=4096)
    assert len(lower(deep, Workload(), "bf16")) == len(lower(LLAMA_2_7B, Workload(), "bf16"))


@pytest.mark.parametrize("change", [lambda s: s, lambda s: replace(s, is_parallel=True), lambda s: replace(s, norm_placement="post")])
def test_names_are_unique_within_a_layer_and_part(change: Callable[[ModelShape], ModelShape]) -> None:
    for shape in (LLAMA_2_7B, MIXTRAL, LATENT, ALTERNATING):
        workload = Workload(
            attention="unfused", recompute="full", tensor_parallel=2, pipeline_parallel=2, data_parallel=4, expert_parallel=2, zero=1,
            sequence_parallel=True, global_batch=32,
        )  # fmt: skip
        keys = [(op.layer, op.part, op.name) for op in lower(change(shape), workload, "bf16")]
        assert len(keys) == len(set(keys))
