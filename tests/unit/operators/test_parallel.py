"""Tensor, sequence, pipeline, data and expert parallelism: split shapes, and the collectives with their sizes and strides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shapewright.operators import Collective, Gemm, GroupedGemm, Operator, lower
from shapewright.shape import ModelShape
from shapewright.workload import Workload
from unit.operators.operator_shapes import LLAMA_2_7B, MIXTRAL, gpt2_style

STREAM = 2 * 4 * 2048 * 4096
"""Bytes of the residual stream of Llama-2-7B at b = 4, s = 2048 in bf16."""


def collectives(shape: ModelShape, **workload: object) -> dict[str, tuple[str, float, int, int, int]]:
    """name -> (collective, message bytes, group, stride, count)."""
    operators = lower(shape, Workload(**workload), "bf16")  # type: ignore[arg-type]
    return {
        op.name: (op.work.name, op.work.message_bytes, op.work.group_size, op.work.stride, op.count)
        for op in operators
        if isinstance(op.work, Collective)
    }


def products(shape: ModelShape, **workload: object) -> dict[str, Operator]:
    return {op.name: op for op in lower(shape, Workload(**workload), "bf16")}  # type: ignore[arg-type]


def test_one_gpu_has_nothing_to_communicate() -> None:
    assert collectives(LLAMA_2_7B) == {}


@pytest.mark.parametrize("t", [2, 4, 8])
def test_tensor_parallel_splits_table_two(t: int) -> None:
    """Table II: QKV (bs, h)(h, 3h/t), b a/t scores, projection (bs, h/t)(h/t, h), MLP (bs, h)(h, 4h/t) and back, logits (bs, h)(h, v/t)."""
    shape = gpt2_style(heads=16, head_dim=32)
    found = products(shape, micro_batch=2, sequence=64, tensor_parallel=t, attention="unfused")
    assert found["qkv"].work == Gemm(m=128, n=1536 // t, k=512, layout="NN")
    assert found["attention_score"].work == Gemm(batch=2 * 16 // t, m=64, n=64, k=32)
    assert found["attention_over_value"].work == Gemm(batch=2 * 16 // t, m=64, n=32, k=64, layout="NN")
    assert found["attention_output"].work == Gemm(m=128, n=512, k=512 // t, layout="NN")
    assert found["mlp_up"].work == Gemm(m=128, n=2048 // t, k=512, layout="NN")
    assert found["mlp_down"].work == Gemm(m=128, n=512, k=2048 // t, layout="NN")
    assert found["logits"].work == Gemm(m=128, n=640 // t, k=512)


def test_what_does_not_divide_is_rounded_up_and_said() -> None:
    found = products(replace(LLAMA_2_7B, vocab_size=32001), tensor_parallel=6)
    assert found["logits"].work == Gemm(m=8192, n=5334, k=4096)
    assert "32001" in found["logits"].note and "tensor_parallel 6" in found["logits"].note
    assert "32 attention heads do not divide" in found["attention_output"].note
    assert found["mlp_up"].note == "11008 MLP columns do not divide by tensor_parallel 6: the fullest GPU holds 1835"
    shared = products(replace(LLAMA_2_7B, num_key_value_heads=2), tensor_parallel=8)
    assert shared["key"].work == Gemm(m=8192, n=128, k=4096) and "copy" in shared["key"].note


def test_tensor_parallel_all_reduces() -> None:
    found = collectives(LLAMA_2_7B, tensor_parallel=8)
    reduce = ("all_reduce", STREAM, 8, 1)
    for name in ("attention_all_reduce", "mlp_all_reduce", "attention_input_all_reduce_backward", "mlp_input_all_reduce_backward"):
        assert found[name] == (*reduce, 32)
    assert found["embedding_all_reduce"] == found["logits_input_all_reduce_backward"] == (*reduce, 1)
    assert found["loss_maximum_all_reduce"] == ("all_reduce", 4 * 8192, 8, 1, 1)


def test_sequence_parallel_moves_as_many_bytes_and_gathers_once_more() -> None:
    """Korthikanti et al. 2022, section 4.2.2: a reduce-scatter and an all-gather replace each all-reduce."""
    whole = lower(LLAMA_2_7B, Workload(tensor_parallel=8), "bf16")
    split = lower(LLAMA_2_7B, Workload(tensor_parallel=8, sequence_parallel=True), "bf16")

    def sent(operators: tuple[Operator, ...], part: str) -> float:
        return sum(
            op.bytes * op.count for op in operators if isinstance(op.work, Collective) and op.part == part and op.layer == "full+dense"
        )

    assert sent(split, "forward") == sent(whole, "forward")
    assert sent(split, "backward") == pytest.approx(1.5 * sent(whole, "backward"))
    norms = {op.name: op.bytes for op in split if op.kind == "norm"}
    assert norms["norm1"] == pytest.approx(next(op.bytes for op in whole if op.name == "norm1") / 8)


def test_parallel_layers_reduce_once() -> None:
    found = collectives(replace(LLAMA_2_7B, is_parallel=True), tensor_parallel=4)
    assert [name for name in found if not name.endswith("backward") and found[name][4] == 32] == ["layer_all_reduce"]
    assert found["layer_input_all_reduce_backward"][4] == 32


def test_pipeline_stage_and_its_messages() -> None:
    shape = replace(LLAMA_2_7B, num_hidden_layers=30)
    operators = lower(shape, Workload(pipeline_parallel=4, tensor_parallel=2, data_parallel=3), "bf16")
    assert {op.count for op in operators if op.layer == "full+dense"} == {8}
    assert not [op for op in operators if op.layer == "embedding"]
    found = collectives(shape, pipeline_parallel=4, tensor_parallel=2, data_parallel=3)
    assert found["pipeline_receive"] == found["pipeline_send_backward"] == ("send", STREAM, 2, 6, 1)


def test_data_parallel_and_zero() -> None:
    params = LLAMA_2_7B.num_params
    plain = collectives(LLAMA_2_7B, data_parallel=8)
    assert plain == {"gradient_all_reduce": ("all_reduce", 2 * params, 8, 1, 1)}
    first = collectives(LLAMA_2_7B, data_parallel=8, zero=1)
    assert set(first) == {"gradient_reduce_scatter", "parameter_all_gather"}
    parts = {op.name: op.part for op in lower(LLAMA_2_7B, Workload(data_parallel=8, zero=2), "bf16")}
    assert (parts["gradient_reduce_scatter"], parts["parameter_all_gather"]) == ("backward", "optimizer")
    third = collectives(LLAMA_2_7B, data_parallel=8, zero=3)
    layer_params = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert third["zero_all_gather"] == ("all_gather", 2 * layer_params, 8, 1, 32)
    assert "zero_reduce_scatter_backward" in third and "gradient_all_reduce" not in third


def test_expert_parallel() -> None:
    workload = {"tensor_parallel": 2, "data_parallel": 8, "expert_parallel": 4}
    found = collectives(MIXTRAL, **workload)
    visits = 2 * 8192
    assert found["experts_dispatch"] == ("all_to_all", visits * 4096 * 2, 4, 2, 32)
    assert {"experts_combine", "experts_dispatch_backward", "experts_combine_backward"} <= set(found)
    assert found["gradient_all_reduce_experts"][2:4] == (2, 8)
    assert found["gradient_all_reduce"][2:4] == (8, 2)
    up = products(MIXTRAL, **workload)["experts_gate_up"].work
    assert isinstance(up, GroupedGemm)
    assert (up.num_groups, up.num_rows, up.n) == (2, visits, 14336)


def test_experts_that_do_not_divide_are_as_many_as_on_the_fullest_replica() -> None:
    """8 experts over 3 replicas: 3 of them see 3/8 of all visits, which is more than a third."""
    work = products(MIXTRAL, data_parallel=3, expert_parallel=3)["experts_gate_up"].work
    assert isinstance(work, GroupedGemm)
    visits = 2 * 8192
    assert (work.num_groups, work.num_rows) == (3, -(-visits * 3 * 3 // 8))
    assert work.rows_per_group == pytest.approx(visits * 3 / 8, abs=1)
