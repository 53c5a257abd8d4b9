"""Every operator that `lower` gives for real models has points of its size, or a reason; points and works are each other's inverse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from shapewright.hardware.profile import PATTERN_STAND_INS
from shapewright.measure.operators import MAX_PARAMS, points_of, why_not, works_of
from shapewright.measure.points import (
    AttentionPoint,
    CollectivePoint,
    GemmPoint,
    HostPoint,
    MemoryPoint,
    OptimizerPoint,
    Point,
)
from shapewright.measure.runners import prepare
from shapewright.operators import lower
from shapewright.operators.types import (
    Collective,
    FlashAttention,
    Gemm,
    GroupedGemm,
    MemoryChain,
    MemoryPass,
    Operator,
)
from shapewright.read.resolve import load_shape
from shapewright.workload import Workload
from unit.measure.benches import short_bench

CASES = {
    "dense gated GQA": ("llama-3-8b", {}),
    "GPT-2 style": ("gpt2", {"attention": "unfused"}),
    "MoE": ("mixtral-8x7b", {}),
    "decode": ("llama-3-8b", {"phase": "decode", "micro_batch": 8, "context": 4096}),
    "prefill fp16": ("qwen2-7b", {"phase": "prefill"}),
    "tensor parallel": ("llama-3-8b", {"tensor_parallel": 4, "data_parallel": 2, "zero": 1}),
}  # fmt: skip


def lowered(case: str) -> tuple[Operator, ...]:
    name, changes = CASES[case]
    return lower(load_shape(name), Workload(**changes), "fp16" if "fp16" in case else "bf16")


def as_operator(work: Any) -> Operator:
    return Operator(name="some", kind="some", layer="some", part="forward", work=work)


@pytest.mark.parametrize("case", CASES)
def test_every_operator_is_mapped(case: str) -> None:
    for operator in lowered(case):
        points, reason = points_of(operator), why_not(operator)
        assert bool(points) != bool(reason), operator.name
        if not points or isinstance(operator.work, Collective):
            continue
        works = [work for point in points for work in works_of(point)]
        if isinstance(operator.work, Gemm | FlashAttention):
            assert works == [operator.work]
        elif isinstance(operator.work, GroupedGemm):
            assert math.isclose(sum(each.flops for each in works), operator.flops, rel_tol=0.01)
        elif operator.bytes > 2**20:
            assert math.isclose(sum(each.bytes for each in works), operator.bytes, rel_tol=0.01), operator.name


@pytest.mark.parametrize("case", CASES)
def test_kernels_keep_their_pattern_and_number(case: str) -> None:
    for operator in lowered(case):
        if not isinstance(operator.work, MemoryPass | MemoryChain) or operator.kind == "optimizer":
            continue
        asked = operator.work.passes if isinstance(operator.work, MemoryChain) else (operator.work,)
        points = points_of(operator)
        assert len(points) == sum(each.num_kernels for each in asked)
        patterns = [each.pattern for each in asked for _ in range(each.num_kernels)]
        for point, pattern in zip(points, patterns, strict=True):
            (work,) = works_of(point)
            found = {each.pattern for each in (work.passes if isinstance(work, MemoryChain) else (work,))}  # type: ignore[union-attr]
            assert found & {pattern, PATTERN_STAND_INS.get(pattern), *(name for name, kin in PATTERN_STAND_INS.items() if kin == pattern)}


def test_what_only_several_gpus_run_says_so() -> None:
    found = {operator.name: operator for operator in lowered("tensor parallel")}
    near = found["attention_all_reduce"]
    assert points_of(near) == (CollectivePoint(name="all_reduce", message_bytes=int(near.work.message_bytes), group_size=4),)  # type: ignore[union-attr]
    assert why_not(found["parameter_all_gather"]) == "its GPUs are no neighbours"
    assert points_of(found["parameter_all_gather"]) == ()


FLASH = FlashAttention(batch=1, num_heads=8, num_kv_heads=2, query_len=64, kv_len=64, qk_head_dim=64, v_head_dim=64)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (replace(FLASH, v_head_dim=128), "one head size"),
        (replace(FLASH, window=32), "window"),
        (Gemm(m=16, n=16, k=16, dtype="fp8", layout="TN"), "NT"),
        (MemoryPass(pattern="row_norm", read_bytes=1.0, written_bytes=1.0), "not PyTorch's"),
    ],
)
def test_reasons(work: Any, reason: str) -> None:
    assert reason in why_not(as_operator(work))
    assert points_of(as_operator(work)) == ()


def test_a_window_longer_than_the_context_is_none() -> None:
    (point,) = points_of(as_operator(replace(FLASH, window=64)), backend="cudnn")
    assert isinstance(point, AttentionPoint)
    assert point.backend == "cudnn"


def test_experts() -> None:
    work = GroupedGemm(num_rows=64, num_groups=8, num_active_groups=4.2, n=32, k=16)
    assert points_of(as_operator(work)) == (GemmPoint(m=15, n=32, k=16, batch=4, call="bmm"),)
    assert points_of(as_operator(replace(work, is_loop=True))) == (GemmPoint(m=15, n=32, k=16),) * 4
    assert points_of(as_operator(replace(work, layout="TN"))) == (GemmPoint(m=32, n=16, k=15, batch=4, call="bmm", layout="TN"),)


def test_the_optimizer_is_cut_into_parts_of_the_same_bytes() -> None:
    step = next(each for each in lowered("dense gated GQA") if each.name == "adam")
    points = points_of(step)
    assert len(points) == math.ceil(step.bytes / 28 / MAX_PARAMS) > 1
    assert all(isinstance(each, OptimizerPoint) and each.num_params <= MAX_PARAMS for each in points)


def test_norms_keep_their_rows() -> None:
    work = MemoryPass(pattern="norm", read_bytes=2.0 * 64 * 300, written_bytes=2.0 * 64 * 300, rows=64)
    assert points_of(as_operator(work)) == (MemoryPoint(op="layer_norm", rows=64, width=300),)


POINTS: list[Point] = [
    GemmPoint(m=24, n=16, k=8, batch=3, call="bmm", layout="TN"),
    *(
        AttentionPoint(
            batch=2, num_heads=4, num_kv_heads=kv_heads, query_len=8, kv_len=16, head_dim=8, is_backward=is_backward, backend="unfused"
        )
        for kv_heads in (2, 4)
        for is_backward in (False, True)
    ),
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=lambda each: f"{each.kind} {getattr(each, 'is_backward', '')}")
def test_products_of_works_are_those_that_run(point: Point) -> None:
    call = prepare(point, short_bench()).calls[0]
    with FlopCounterMode(display=False) as counted:
        call()
    assert counted.get_total_flops() == sum(work.flops for work in works_of(point))


def test_a_host_point_is_no_operator() -> None:
    assert works_of(HostPoint(what="launch")) == ()
