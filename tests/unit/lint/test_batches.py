"""Larger micro-batches fit the memory, divide what they must, and are compared at an equal global batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.lint.batches import larger_batches
from shapewright.lint.case import Case
from shapewright.lint.pricing import Pricer
from shapewright.lint.rule import find_rule
from shapewright.lint.rules.sw402_experts_starved import rows_needed
from shapewright.operators.memory import largest_micro_batch, memory_use
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.resolve import load
from shapewright.workload import Workload


def case(model: str, gpu: str = "h200", **workload: object) -> Case:
    loaded, machine = load(model), load_machine(gpu)
    asked = runnable(loaded.shape, Workload(**workload), machine.gpu)  # type: ignore[arg-type]
    return Case(loaded=loaded, workload=asked, machine=machine, given=frozenset(workload))


def offered(of: Case) -> list[object]:
    return [dict(change.workload)["micro_batch"] for change in larger_batches(of)]


@given(
    model=st.sampled_from(["gpt2", "pythia-410m", "llama-3.2-1b", "qwen2.5-1.5b"]),
    phase=st.sampled_from(["train", "prefill", "decode"]),
    batch=st.integers(1, 40),
)
@settings(deadline=None, max_examples=40)
def test_as_many_doublings_as_fit(model: str, phase: str, batch: int) -> None:
    of = case(model, "a100-40gb", phase=phase, micro_batch=batch)
    most = largest_micro_batch(of.shape, of.workload, of.machine.gpu.memory_bytes)
    times = [2**doubling for doubling in range(1, 11) if batch * 2**doubling <= most]
    assert offered(of) == [batch * each for each in sorted({*times[:2], *times[-1:]})]
    for change in larger_batches(of):
        changed = change.applied(of)
        assert changed is not None and memory_use(changed.shape, changed.workload).total <= of.machine.gpu.memory_bytes


def test_a_default_is_nobodys_choice() -> None:
    assert offered(case("gpt2")) == []
    assert offered(case("gpt2", micro_batch=4))[:2] == [8, 16]


def test_a_global_batch_is_made_of_whole_micro_batches() -> None:
    assert offered(case("gpt2", micro_batch=1, global_batch=6)) == [2, 3, 6]
    assert offered(case("gpt2", micro_batch=1, global_batch=7, data_parallel=1)) == [7]
    assert offered(case("gpt2", micro_batch=2, global_batch=4, data_parallel=2)) == []


def test_the_optimizer_counts_alike() -> None:
    """Half as many passes of twice the size: what is saved is the difference of two steps of the same sequences."""
    of = case("gpt2", micro_batch=1)
    twice = larger_batches(of)[0]
    pricer = Pricer(of.machine)
    saving = pricer.saving(of, twice)
    assert saving is not None
    two_passes = pricer.step_s(replace(of.now, workload=replace(of.workload, global_batch=2)))
    one_pass = pricer.step_s(replace(of.now, workload=replace(of.workload, micro_batch=2, global_batch=2)))
    assert saving.share == pytest.approx(1 - one_pass / two_passes)
    assert saving.now_s == pytest.approx(pricer.step_s(of.now))


def test_rows_that_keep_the_tensor_cores_busy() -> None:
    """Peak x 2 bytes / (2 x bandwidth): 989.5 TFLOP/s over 4.8 TB/s, 312 over 1.555."""
    assert rows_needed(case("mixtral-8x7b")) == pytest.approx(206, abs=1)
    assert rows_needed(case("mixtral-8x7b", "a100-40gb")) == pytest.approx(201, abs=1)


@pytest.mark.parametrize(("batch", "starved"), [(1, True), (2, False)])
def test_starved_experts(batch: int, starved: bool) -> None:
    """128 experts, 8 a token: 2048 tokens are 128 rows each, 4096 are 256."""
    of = case("qwen3-30b-a3b", phase="forward", micro_batch=batch)
    assert bool(list(find_rule("SW402").check(of))) == starved


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_micro_batch_of_serving_is_left_to_traffic(phase: str) -> None:
    of = case("qwen3-30b-a3b", phase=phase, micro_batch=1)
    assert offered(of) and not list(find_rule("SW402").check(of)) and not list(find_rule("SW501").check(of))


def test_fewer_gpus_are_priced_by_gpu_seconds_per_token() -> None:
    """Two groups of one GPU make as many tokens as two GPUs together in two steps."""
    of = case("llama-3.1-8b", phase="prefill", tensor_parallel=2)
    (fault,) = find_rule("SW305").check(of)
    pricer = Pricer(of.machine)
    saving = pricer.saving(of, fault.changes[0])
    assert saving is not None and dict(fault.changes[0].workload) == {"tensor_parallel": 1}
    alone = pricer.step_s(replace(of.now, workload=replace(of.workload, tensor_parallel=1)))
    assert saving.cost_s == pytest.approx(pricer.step_s(of.now) - alone / 2)


def test_in_training_the_other_gpus_are_replicas() -> None:
    of = case("llama-3.2-1b", tensor_parallel=4, global_batch=64)
    (fault,) = find_rule("SW305").check(of)
    assert [dict(change.workload) for change in fault.changes] == [
        {"tensor_parallel": 1, "data_parallel": 4, "global_batch": 64},
        {"tensor_parallel": 2, "data_parallel": 2, "global_batch": 64},
    ]
    odd = case("llama-3.2-1b", tensor_parallel=4, global_batch=12)  # three micro-batches, which two or four replicas cannot share
    assert not list(find_rule("SW305").check(odd))


def test_a_host_that_keeps_up_costs_nothing() -> None:
    for model, is_bound in (("pythia-410m", True), ("llama-2-7b", False)):
        of = case(model, phase="decode" if is_bound else "train", runtime="eager")
        (fault,) = find_rule("SW503").check(of)
        saving = Pricer(of.machine).saving(of, fault.changes[0])
        assert saving is not None and (saving.cost_s > 0) == is_bound
