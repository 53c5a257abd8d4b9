"""Training stacks: GPU and host side by side, pipeline slots, what of the communication shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import shapewright as sw
from shapewright.hardware.profile import Spread
from shapewright.predict.stacks import FACTORS, FOLDER, Stack, StepLoad, joined, load_stack, stack_time, step_load
from shapewright.workload import STACKS

ONES: dict[str, float] = dict.fromkeys(FACTORS, 1.0)
STACK = Stack(
    name="own", factors={"ampere": ONES, "hopper": ONES | {"product": 2.0}}, launch_host_s=1e-5, join=3.0, exposed=0.5, straggling=0.01,
    unfused_softmax=20.0, is_ring_on_one_adapter=False, spread=Spread(low=0.9, high=1.1), num_rows=1, origin="made", accuracy={},
)  # fmt: skip
LOAD = StepLoad(
    product=0.1, product_fp8=0.0, attention=0.02, memory=0.03, tensor=0.01, head=0.002, edge=0.003, shard=0.004, send=0.001, gradient=0.02,
    gradient_crowded=0.0, optimizer=0.003, launches=100, unfused_layers=0, num_micro_batches=8, num_stages=4, num_nodes=1, adapters=4,
)  # fmt: skip
GPT3 = {"tensor_parallel": 4, "pipeline_parallel": 2, "data_parallel": 2, "micro_batch": 2, "global_batch": 32, "recompute": "full"}


def time_s(load: StepLoad, stack: Stack = STACK, architecture: str = "ampere") -> float:
    return float(stack_time(load, stack, architecture).time_s)


def test_a_step_is_slots_and_what_runs_once() -> None:
    """The host is far from the limit: 0.16 s of layers against 1 ms of launches."""
    slot = 0.16 + 0.5 * 0.004
    assert time_s(LOAD) == pytest.approx((8 + 4 - 1) * slot + 8 * (0.005 + 0.001) + 0.02 + 0.003, rel=1e-6)
    assert float(stack_time(LOAD, STACK, "ampere").bubble_s) == pytest.approx(3 * slot, rel=1e-6)


def test_gpu_and_host_hide_each_other_only_where_one_is_far_longer() -> None:
    assert joined(1.0, 1e-3, 3.0) == pytest.approx(1.0, rel=1e-6)
    assert joined(1.0, 1.0, 3.0) == pytest.approx(2 ** (1 / 3))
    sums = joined(np.array([1.0, 2.0]), np.array([2.0, 1.0]), 3.0)
    assert sums[0] == sums[1] > 2.0


def test_a_host_bound_step_grows_with_its_launches() -> None:
    few, many = LOAD._replace(launches=1e6), LOAD._replace(launches=2e6)
    assert time_s(many) / time_s(few) == pytest.approx(2, rel=0.01)
    assert time_s(LOAD._replace(launches=1e6, unfused_layers=50000)) == pytest.approx(time_s(many), rel=0.01)


def test_factors_belong_to_the_architecture() -> None:
    assert time_s(LOAD, architecture="hopper") - time_s(LOAD) == pytest.approx(11 * 0.1 + 8 * 0.002, rel=1e-3)
    # An architecture that was not fitted takes the last one's.
    assert STACK.factor("blackwell", "product") == STACK.factor("hopper", "product")


def test_a_ring_on_one_adapter_takes_as_many_times_as_long_as_there_are_adapters() -> None:
    one = replace(STACK, is_ring_on_one_adapter=True)
    assert time_s(LOAD, one) - time_s(LOAD) == pytest.approx(3 * 0.02)
    assert time_s(LOAD._replace(adapters=1), one) == time_s(LOAD)


def test_more_nodes_straggle() -> None:
    assert time_s(LOAD._replace(num_nodes=8)) == pytest.approx(1.03 * time_s(LOAD))
    assert time_s(LOAD._replace(num_nodes=0.5)) == time_s(LOAD)


@pytest.mark.parametrize("name", [name for name in STACKS if name != "none"])
def test_shipped_stacks_are_physical_and_say_where_they_come_from(name: str) -> None:
    stack = load_stack(name)
    assert stack.name == name and stack.num_rows >= 50 and stack.origin
    assert 0 < stack.spread.low < 1 < stack.spread.high and 0 <= stack.exposed <= 1 and stack.join >= 1
    for factors in stack.factors.values():
        assert set(factors) == set(FACTORS)
        assert all(0.5 < value < 4 for kind, value in factors.items() if kind != "gradient_crowded")
    assert stack.accuracy["rows_held_out"] > 0 and stack.accuracy["models_held_out"]
    assert {path.stem for path in FOLDER.glob("*.json")} == set(STACKS) - {"none"}


def test_every_operator_of_a_step_is_counted_once() -> None:
    answer = sw.explain("gpt3-2.7b", "a100-80gb", **GPT3, stack="megatron", attention="unfused")
    load = step_load(answer.operators, answer.shape, answer.workload)
    seconds = sum(value for name, value in load._asdict().items() if name in StepLoad._fields[:12])
    assert seconds == pytest.approx(sum(time.total_s for time in answer.operators))
    assert load.tensor > 0 and load.send > 0 and load.gradient > 0 and load.shard == 0
    assert (load.num_micro_batches, load.num_stages, load.unfused_layers) == (8, 2, 0)


def test_the_fused_softmax_wants_four_matrices() -> None:
    """32 heads over 16 GPUs and one sequence make two matrices of scores."""
    answer = sw.explain("gpt3-2.7b", "a100-80gb", tensor_parallel=16, micro_batch=1, attention="unfused")
    assert step_load(answer.operators, answer.shape, answer.workload).unfused_layers == answer.shape.num_hidden_layers
    flash = replace(answer.workload, attention="flash")
    assert step_load(answer.operators, answer.shape, flash).unfused_layers == 0


def test_rings_that_share_adapters_are_told_apart() -> None:
    inside, crowded, alone = (
        sw.explain("gpt3-2.7b", "a100-80gb", tensor_parallel=tensor, data_parallel=data, stack="megatron")
        for tensor, data in ((2, 4), (2, 8), (8, 2))
    )
    loads = [step_load(answer.operators, answer.shape, answer.workload) for answer in (inside, crowded, alone)]
    assert [load.gradient_crowded > 0 for load in loads] == [False, True, False]
    assert [load.gradient > 0 for load in loads] == [True, False, True]


def test_zero_3_hides_part_of_its_gathers() -> None:
    bare, stack = (sw.explain("gpt3-2.7b", "a100-80gb", data_parallel=8, zero=3, stack=name) for name in ("none", "llm-foundry"))
    load = step_load(stack.operators, stack.shape, stack.workload)
    assert load.shard > 0 and load.gradient == 0
    assert stack.step.low_s < stack.step.time_s < stack.step.high_s
    assert bare.step.time_s != stack.step.time_s and any("llm-foundry" in note for note in stack.notes)


def test_a_stack_has_no_say_outside_training() -> None:
    plain, stack = (sw.explain("gpt3-2.7b", "a100-80gb", phase="prefill", stack=name) for name in ("none", "megatron"))
    assert plain.step == stack.step
