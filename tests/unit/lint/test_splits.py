"""Splits over GPUs: the price of uneven heads is that of the room they leave, and exactly one rule tells of it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware.load import load_node
from shapewright.lint.case import Case
from shapewright.lint.rule import find_rule
from shapewright.lint.splits import divisors_near, head_changes, is_group, key_value_changes, split_changes
from shapewright.lint.widths import multiples
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.fields import apply_overrides
from shapewright.read.resolve import load
from shapewright.workload import Workload


def case(model: str, *, overrides: dict[str, object] | None = None, gpu: str = "h200", node: str | None = None, **workload: object) -> Case:
    loaded = load(model, overrides=MappingProxyType(overrides or {}))
    machine = load_machine(gpu, node=node)
    asked = runnable(loaded.shape, Workload(**workload), machine.gpu)  # type: ignore[arg-type]
    return Case(loaded=loaded, workload=asked, machine=machine, given=frozenset(workload) | ({"node"} if node else set()))


def spoken(code: str, of: Case) -> list[str]:
    return [fault.message for fault in find_rule(code).check(of)]


def test_multiples_and_divisors() -> None:
    assert multiples(71, 8) == (72, 64)
    assert multiples(60, 8) == (64, 56)  # as near: the one above first
    assert multiples(3, 8) == (8,)
    assert multiples(64, 8) == (56,)
    assert divisors_near(32, 6) == (4, 8)
    assert divisors_near(71, 8) == (1,)
    assert divisors_near(8, 16) == (8,)
    assert divisors_near(20, 8, lambda each: each % 5 != 0) == (4,)


@pytest.mark.parametrize(
    ("model", "size"), [("falcon-rw-1b", 6), ("gpt2-xl", 2), ("gpt2-xl", 4), ("llama-3.1-8b", 6), ("bloom-560m", 3), ("qwen2.5-0.5b", 4)]
)
@pytest.mark.parametrize("phase", ["train", "decode"])
def test_more_heads_take_the_room_that_is_there(model: str, size: int, phase: str) -> None:
    """The fullest GPU runs the same operators, so that the price is the parameters that the room could hold."""
    uneven = case(model, tensor_parallel=size, phase=phase)
    more = next(head_changes(uneven, size))
    changed = more.applied(uneven)
    assert changed is not None and changed.shape.num_attention_heads % size == 0
    assert changed.shape.hidden_size == uneven.shape.hidden_size
    assert [each.work for each in changed.operators()] == [each.work for each in uneven.operators]
    assert changed.shape.num_params > uneven.shape.num_params


@pytest.mark.parametrize(("model", "size"), [("smollm-135m", 2), ("llama-3-8b", 3), ("qwen2-7b", 3)])
def test_more_heads_take_key_heads_that_serve_them(model: str, size: int) -> None:
    """Neither the key/value heads that there are nor those that the GPUs hold divide the new heads: the nearest that do."""
    uneven = case(model, tensor_parallel=size)
    more = next(head_changes(uneven, size))
    changed = more.applied(uneven)
    assert changed is not None
    assert changed.shape.num_attention_heads == -(-uneven.shape.num_attention_heads // size) * size
    assert changed.shape.num_attention_heads % changed.shape.num_key_value_heads == 0 == changed.shape.num_key_value_heads % size


@given(
    model=st.sampled_from(["falcon-7b", "gpt2-xl", "llama-2-7b", "qwen2.5-14b", "smollm-135m"]),
    size=st.integers(1, 8),
    batch=st.integers(1, 9),
)
@settings(deadline=None, max_examples=80)
def test_one_rule_tells_of_uneven_heads(model: str, size: int, batch: int) -> None:
    asked = case(model, tensor_parallel=size, micro_batch=batch, phase="prefill")
    heads = asked.shape.num_attention_heads
    said = [code for code in ("SW301", "SW302") if spoken(code, asked)]
    assert said == ([] if heads % size == 0 else ["SW301"] if heads * batch % size == 0 else ["SW302"])
    if said:
        assert not spoken("SW303", asked)


@given(model=st.sampled_from(["llama-3.1-70b", "qwen3-30b-a3b", "gemma-2b", "mistral-nemo-12b", "qwen2.5-0.5b"]), size=st.integers(2, 16))
@settings(deadline=None, max_examples=60)
def test_key_value_heads_offered_divide(model: str, size: int) -> None:
    asked = case(model, phase="prefill")
    for change in key_value_changes(asked, size):
        ((field, heads),) = change.values
        assert field == "num_key_value_heads" and isinstance(heads, int)
        assert heads % size == 0 and asked.shape.num_attention_heads % heads == 0


def test_layers_keep_the_fullest_stage() -> None:
    uneven = case("llama-2-7b", pipeline_parallel=6, micro_batch=1, global_batch=48)
    (fault,) = find_rule("SW304").check(uneven)
    changed = fault.changes[0].applied(uneven)
    assert changed is not None and changed.shape.num_hidden_layers == 36
    assert [(each.work, each.count) for each in changed.operators()] == [(each.work, each.count) for each in uneven.operators]


def test_a_node_is_a_fault_only_where_somebody_chose_it() -> None:
    on_summit = case("redpajama-incite-3b", gpu="v100-16gb", node="summit", micro_batch=1)
    assert len(spoken("SW306", on_summit)) == 1
    usual = case("redpajama-incite-3b", gpu="v100-16gb", micro_batch=1)
    assert usual.machine.node == load_node("summit") and not spoken("SW306", usual)
    assert not spoken("SW306", case("gpt3-175b", gpu="v100-16gb", node="summit", micro_batch=1))


def test_the_node_that_a_gpu_is_usually_found_in_is_nobodys_choice() -> None:
    assert not spoken("SW306", case("phi-4", tensor_parallel=2))
    assert len(spoken("SW306", case("phi-4", node="dgx-h200", tensor_parallel=2))) == 1


def test_shapes_for_six_gpus_are_even_and_of_64() -> None:
    on_summit = case("redpajama-incite-7b", gpu="v100-16gb", node="summit", micro_batch=1)
    (fault,) = find_rule("SW306").check(on_summit)
    wide = [change for change in fault.changes if "intermediate_size" in dict(change.model)]
    assert wide
    for change in wide:
        shape, _ = apply_overrides(on_summit.shape, dict(change.model))
        assert shape.hidden_size % 384 == 0 and shape.intermediate_size % 384 == 0
        assert shape.num_attention_heads % 6 == 0 and shape.num_attention_heads * shape.head_dim == shape.hidden_size
        assert dict(change.workload) == dict(change.against) == {"tensor_parallel": 6}


@pytest.mark.parametrize(
    ("gpu", "node", "workload", "sizes"),
    [
        ("h200", None, {}, [1, 2, 4, 8]),
        ("v100-16gb", "summit", {}, [1, 2, 3, 4, 6]),
        ("h200", None, {"tensor_parallel": 6, "data_parallel": 2, "phase": "prefill"}, [1, 2, 4]),  # 12 GPUs
        ("h200", None, {"tensor_parallel": 6, "data_parallel": 3}, [1, 2]),  # 18
        ("h200", None, {"tensor_parallel": 2, "pipeline_parallel": 3, "data_parallel": 2}, [1, 2, 4]),  # 4 groups of 3 stages
        ("h200", None, {"tensor_parallel": 12}, [1, 2, 4]),  # two nodes, whose GPUs are the job's
    ],
)
def test_groups_are_shares_of_a_node_and_of_the_job(gpu: str, node: str | None, workload: dict[str, Any], sizes: list[int]) -> None:
    asked = case("llama-2-7b", gpu=gpu, node=node, **workload)
    assert [size for size in range(1, 17) if is_group(asked, size)] == sizes


def test_no_group_of_five_or_ten() -> None:
    asked = case("gpt3-2.7b", overrides={"num_attention_heads": 20}, tensor_parallel=8, phase="prefill")
    sizes = [dict(change.workload)["tensor_parallel"] for change in split_changes(asked) if change.workload]
    assert sizes == [4]


def test_stages_leave_the_job_its_gpus() -> None:
    """36 layers over 8 stages: 6 and 9 are the nearest that divide; of 64 GPUs, 8 a stage, only 4 leaves whole replicas."""
    jobs: tuple[tuple[dict[str, Any], list[int]], ...] = (
        ({"tensor_parallel": 8, "pipeline_parallel": 8}, [4]),
        ({"tensor_parallel": 1, "pipeline_parallel": 8}, [6, 9]),
        ({"tensor_parallel": 1, "pipeline_parallel": 8, "data_parallel": 9}, [6, 9]),
    )
    for workload, expected in jobs:
        asked = case("llama-2-7b", overrides={"num_hidden_layers": 36}, phase="prefill", **workload)
        (fault,) = find_rule("SW304").check(asked)
        assert [dict(change.workload)["pipeline_parallel"] for change in fault.changes if change.workload] == expected


@given(
    model=st.sampled_from(["falcon-7b", "gpt2-xl", "llama-2-7b", "qwen2.5-14b", "smollm-135m", "phi-3-medium"]),
    size=st.integers(2, 8),
    head_dim=st.sampled_from([None, 64, 100, 257]),
)
@settings(deadline=None, max_examples=60)
def test_heads_offered_leave_no_other_fault(model: str, size: int, head_dim: int | None) -> None:
    asked = case(model, overrides={"head_dim": head_dim} if head_dim else None, tensor_parallel=size, phase="prefill")
    for change in split_changes(asked) if asked.shape.num_attention_heads % size else ():
        changed = change.applied(asked)
        assert changed is not None
        shape, parts = changed.shape, changed.workload.tensor_parallel
        assert shape.num_attention_heads % parts == 0
        assert change.workload or shape.head_dim % 8 == 0
        assert shape.num_key_value_heads % parts == 0 or asked.shape.num_key_value_heads == 1


def test_experts_of_the_fullest_gpu_set_the_pace() -> None:
    """60 experts over 8 GPUs: rows and weights as of 64, and a model of 64 takes less by its even rows."""
    uneven = case("qwen1.5-moe-a2.7b", data_parallel=8, expert_parallel=8)
    even = replace(uneven, loaded=load("qwen1.5-moe-a2.7b", overrides={"num_experts": 64}))
    rows = [{each.work.num_rows for each in one.operators if each.kind == "grouped_gemm"} for one in (uneven, even)]  # type: ignore[union-attr]
    visits = 4 * 2048 * 4
    assert rows == [{-(-visits * 64 // 60)}, {visits}]
