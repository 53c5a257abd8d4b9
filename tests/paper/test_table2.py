"""Table II of the paper: every row for GPT-3 2.7B, and agreement with what `lower` runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shapewright.errors import InputError
from shapewright.operators import lower
from shapewright.operators.table2 import AS_PRINTED, AS_RUN, table2
from shapewright.shape import LatentAttention, ModelShape
from shapewright.workload import Workload

GPT3_2_7B = ModelShape(
    name="gpt3-2.7b", architecture="gpt2", hidden_size=2560, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
    head_dim=80, intermediate_size=10240, vocab_size=50304, max_position_embeddings=2048, position_embedding="learned", norm="layernorm",
    hidden_act="gelu", is_gated=False, is_qkv_fused=True, has_qkv_bias=True, has_attention_output_bias=True, has_mlp_bias=True,
    tie_word_embeddings=True,
)  # fmt: skip
#: rows of the table that are products, and the operator that runs them
OPERATORS = {
    "QKV Transform": "qkv", "Attention Score": "attention_score", "Attention over Value": "attention_over_value",
    "Linear Projection": "attention_output", "MLP h to 4h": "mlp_up", "MLP 4h to h": "mlp_down",
}  # fmt: skip


def test_rows_in_the_papers_order_with_its_figures() -> None:
    rows = table2(GPT3_2_7B, micro_batch=4, sequence=2048)
    assert [(row.operator, row.figures, row.product, row.label) for row in rows] == [
        ("Input Embedding", (), "", ""),
        ("Layer Norm 1", (), "", ""),
        ("QKV Transform", ("15", "16"), "(8192, 2560) x (2560, 7680)", ""),
        ("Attention Score", ("7a", "8"), "128 x (2048, 80) x (80, 2048)", ""),
        ("Attention over Value", ("7b", "9"), "128 x (2048, 2048) x (2048, 80)", ""),
        ("Linear Projection", ("19",), "(8192, 2560) x (2560, 2560)", ""),
        ("Layer Norm 2", (), "", ""),
        ("MLP h to 4h", ("10a",), "(8192, 2560) x (2560, 10240)", ""),
        ("MLP 4h to h", ("10b",), "(8192, 10240) x (10240, 2560)", ""),
        ("Linear Output", ("20",), "(8192, 50304) x (50304, 2560)", AS_PRINTED),
        ("Linear Output", ("20",), "(8192, 2560) x (2560, 50304)", AS_RUN),
    ]


@pytest.mark.parametrize("t", [1, 2, 4, 8])
def test_rows_are_what_the_model_runs(t: int) -> None:
    operators = {op.name: op for op in lower(GPT3_2_7B, Workload(tensor_parallel=t, attention="unfused", phase="forward"), "fp16")}
    rows = {(row.operator, row.label): row for row in table2(GPT3_2_7B, micro_batch=4, sequence=2048, tensor_parallel=t)}
    for row_name, name in OPERATORS.items():
        assert rows[row_name, ""].gemm == operators[name].work
    assert rows["Linear Output", AS_RUN].gemm == operators["logits"].work


def test_layer_rows_add_up_to_the_papers_flops() -> None:
    """Section III-C: 24 b s h^2 (1 + s / 6h) for the six products of a layer."""
    rows = table2(GPT3_2_7B, micro_batch=4, sequence=2048)
    layer = sum(row.flops for row in rows if row.operator in OPERATORS)
    assert layer == pytest.approx(24 * 4 * 2048 * 2560**2 * (1 + 2048 / (6 * 2560)), rel=1e-12)


def test_both_forms_of_the_logits_have_the_same_flops_on_one_gpu() -> None:
    printed, run = table2(GPT3_2_7B, micro_batch=4, sequence=2048)[-2:]
    assert printed.flops == run.flops == 2 * 4 * 2048 * 2560 * 50304
    assert printed.gemm is not None and printed.gemm.k == 50304


def test_gated_mlps_have_a_third_product() -> None:
    rows = table2(replace(GPT3_2_7B, is_gated=True), micro_batch=1, sequence=8)
    assert [row.operator for row in rows if row.operator.startswith("MLP")] == ["MLP gate", "MLP h to 4h", "MLP 4h to h"]


def test_grouped_heads_narrow_the_qkv_product() -> None:
    rows = table2(replace(GPT3_2_7B, num_key_value_heads=8), micro_batch=1, sequence=8, tensor_parallel=4)
    assert rows[2].product == "(8, 2560) x (2560, 960)"


def test_latent_attention_is_refused() -> None:
    latent = LatentAttention(q_lora_rank=None, kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8)
    with pytest.raises(InputError, match="latent attention"):
        table2(replace(GPT3_2_7B, latent_attention=latent), micro_batch=1, sequence=8)
