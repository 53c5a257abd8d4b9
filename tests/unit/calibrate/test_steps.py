"""The fit of a training stack finds the factors that made the steps; published steps are read and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.sets.training_steps import FILE, GOALS_PERCENT, load, step_rows
from shapewright.calibrate.steps import LLM_FOUNDRY, MEGATRON, build, cross_ratios, fit_stack, is_held_out, percentiles, predicted_s
from shapewright.calibrate.table import read_table
from shapewright.errors import InputError
from shapewright.predict.stacks import StepLoad

DATA = Path(__file__).parents[4] / "shared/data"
COUNT = 300


def made_loads(seed: int = 0) -> StepLoad:
    random = np.random.default_rng(seed)
    seconds = {name: np.exp(random.uniform(np.log(1e-3), np.log(0.3), COUNT)) for name in StepLoad._fields[:12]}
    counts = {"launches": random.integers(100, 4000, COUNT), "unfused_layers": random.integers(0, 2, COUNT) * 24,
              "num_micro_batches": random.integers(1, 32, COUNT), "num_stages": random.integers(1, 8, COUNT),
              "num_nodes": 2.0 ** random.integers(0, 6, COUNT), "adapters": random.integers(1, 8, COUNT)}  # fmt: skip
    return StepLoad(**seconds, **{name: value.astype(float) for name, value in counts.items()})


def test_the_fit_recovers_what_made_the_steps() -> None:
    truth = {"work": 1.3, "tensor": 0.8, "edge": 1.2, "gradient": 1.5, "gradient_crowded": 3.0, "launch_host_s": 8e-5, "join": 2.5,
             "unfused_softmax": 30.0}  # fmt: skip
    load, architectures = made_loads(), np.full(COUNT, "ampere")
    stack = build(MEGATRON, truth)
    found = fit_stack(MEGATRON, load, predicted_s(load, stack, architectures), architectures)
    for kind in ("product", "attention", "tensor", "edge", "gradient", "gradient_crowded"):
        assert found.factor("ampere", kind) == pytest.approx(stack.factor("ampere", kind), rel=0.05), kind
    assert found.launch_host_s == pytest.approx(8e-5, rel=0.05) and found.num_rows == COUNT


def test_architectures_have_factors_of_their_own() -> None:
    truth = {"ampere/product": 1.1, "hopper/product": 1.6, "exposed": 0.3, "straggling": 0.02}
    load, architectures = made_loads(1), np.array(["ampere", "hopper"] * (COUNT // 2))
    stack = build(LLM_FOUNDRY, truth)
    found = fit_stack(LLM_FOUNDRY, load, predicted_s(load, stack, architectures), architectures)
    assert found.factor("ampere", "product") == pytest.approx(1.1, rel=0.05)
    assert found.factor("hopper", "product") == pytest.approx(1.6, rel=0.05)


def test_a_model_left_out_is_predicted_by_the_others() -> None:
    load, architectures = made_loads(2), np.full(COUNT, "ampere")
    time_s = predicted_s(load, build(MEGATRON, MEGATRON.start), architectures)
    models = np.array(["a", "b", "c"] * (COUNT // 3))
    time_s = np.where(models == "c", 2 * time_s, time_s)
    ratio = cross_ratios(MEGATRON, load, time_s, architectures, models)
    assert np.median(ratio[models == "c"]) > 1.6  # nothing of the odd model leaks into its own prediction
    assert percentiles(np.ones(5)).low == 0.99


def test_whole_models_are_held_out() -> None:
    models = [f"model {number}" for number in range(500)]
    held = is_held_out(models)
    assert 0.25 < held.mean() < 0.35
    assert list(is_held_out(models + models)) == list(held) * 2


def test_a_layout_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text(
        "source,gpu,model,parallel,dtype,suspect,seq,batch,n_gpu,micro_batch,hidden,heads,layers,latency_ms\n"
        "vtrain,A100-SXM4-80GB,gpt,three ways,fp16,,1024,16,8,1,1024,16,24,100\n"
    )
    with pytest.raises(InputError, match="parallel is"):
        step_rows(read_table(path))


@pytest.mark.skipif(not (DATA / FILE).is_file(), reason="measured data is not beside the repository")
def test_published_steps_are_within_their_goal() -> None:
    for own in load(DATA):
        held = own.is_held_out
        error = 100 * np.abs(own.predicted_s / own.measured_s - 1)[held]
        assert error.mean() < own.goal_percent and own.goal_percent in GOALS_PERCENT.values()
        assert bool(np.all(own.limit_s < own.measured_s))
