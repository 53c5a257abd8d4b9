"""Layers by difference of depths on the CPU: both sources, both phases, and what a row holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shapewright.errors import InputError
from shapewright.measure.launches import Launches
from shapewright.measure.points import LayerPoint
from shapewright.measure.runners import layer, measure
from shapewright.measure.runners.steps import host_columns
from shapewright.measure.runners.turns import MEMORY_SHARE, Measured, groups
from unit.measure.benches_of_steps import step_bench

TINY = "hidden_size=64,num_attention_heads=4,intermediate_size=128"
#: The least of three differences may fall below 0 where the machine is busy; these do not.
POSITIVE = {"time_s", "max_s", "first_s", "deep_s", "shallow_s"}


def point(model: str = "llama-2-7b", **more: Any) -> LayerPoint:
    sizes: dict[str, Any] = {"changes": TINY, "micro_batch": 2, "sequence": 32, "dtype": "fp32", "deep": 5, "shallow": 1, "rounds": 3}
    return LayerPoint(model=model, **{**sizes, **more})


@pytest.mark.parametrize("source", ["hf", "reference"])
def test_forward_and_training_of_one_layer(source: Any) -> None:
    points = [point(model, phase=phase, source=source, deep=13) for model in ("llama-2-7b", "gpt3-2.7b") for phase in ("forward", "train")]

    found = measure(points, step_bench())

    for each, outcome in zip(points, found, strict=True):
        assert outcome.error is None
        row = outcome.columns
        assert all(float(row[name]) > 0 for name in POSITIVE)
        assert float(row["min_s"]) <= float(row["time_s"]) <= float(row["max_s"])
        assert row["num_replays"] == each.rounds
        assert row["layers"] == "12 x full+dense"
        assert row["num_together"] == 4
        assert row["method"] == "wall"
        assert "kernel_s" not in row  # a CPU has no kernels


def test_points_of_one_model_share_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    real = layer.build_reference

    def counted(shape: Any, *given: Any, **named: Any) -> Any:
        built.append(f"{shape.name} {shape.num_hidden_layers}")
        return real(shape, *given, **named)

    monkeypatch.setattr(layer, "build_reference", counted)
    phases: list[Any] = ["forward", "train"]

    measure([point(source="reference", phase=phase, rounds=1) for phase in phases], step_bench())

    assert built == ["llama-2-7b 5", "llama-2-7b 1"]


def test_each_points_failure_is_its_own() -> None:
    points = [
        point("lama-2-7b"),
        point(source="reference", rounds=1, deep=13),
        point("bloom-560m", changes="hidden_size=64,num_attention_heads=4"),
        point(changes=f"{TINY},num_attention_heads=5"),
    ]

    found = measure(points, step_bench())

    assert "did you mean llama-2-7b" in str(found[0].error)
    assert found[1].error is None
    assert "attention eager" in str(found[2].error)
    assert "twice" in str(found[3].error)


def test_layers_beyond_the_memory_are_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "build", lambda *_, **__: pytest.fail("it was built"))

    found = measure([point(changes="", deep=400)], step_bench(memory_bytes=2**30))

    assert isinstance(found[0].error, MemoryError)
    assert "llama-2-7b with 400 layers" in str(found[0].error)


def test_models_that_do_not_fit_together_run_in_two_groups() -> None:
    points = [point(source="reference", rounds=1), point(source="reference", changes=f"{TINY},num_key_value_heads=2", rounds=1)]
    jobs = [layer._job(each, step_bench()) for each in points]
    enough_for_one = int((jobs[0].held_bytes * 1.5 + jobs[0].working_bytes) / 0.85)

    # The jobs alone: on a busy machine the difference of one round may be no time at all, which is another test's.
    together = groups(dict(enumerate(jobs)), int(enough_for_one * MEMORY_SHARE))

    assert [list(group) for group in together] == [[0], [1]]
    assert len(groups(dict(enumerate(jobs)), 10 * enough_for_one)) == 1


def test_a_compiled_point_runs_what_the_compiler_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def compiled(model: Any, *, dynamic: bool) -> Any:
        assert not dynamic

        def run(*given: Any, **named: Any) -> Any:
            ran.append(type(model).__name__)
            return model(*given, **named)

        return run

    monkeypatch.setattr(torch, "compile", compiled)

    found = measure([point(source="reference", runtime="compiled", rounds=1)], step_bench())

    assert found[0].error is None
    assert ran
    assert torch._dynamo.config.recompile_limit >= 256


def columns(rounds_s: list[list[float]], **more: Any) -> Any:
    values: dict[str, Any] = {"first_s": [1.0, 0.5], "launches": [None, None], "peak_bytes": [0, 0], "num_together": 1}
    job = layer._job(point(source="reference"), step_bench())
    return job.columns(Measured(rounds_s=rounds_s, **{**values, **more}))


def test_a_layer_is_the_difference_of_each_round() -> None:
    row = columns([[9.0, 1.0], [10.0, 1.2], [8.0, 1.0]])

    assert row["time_s"] == 2.0
    assert (row["min_s"], row["max_s"]) == (1.75, 2.2)
    assert (row["deep_s"], row["shallow_s"]) == (9.0, 1.0)
    assert row["spread_percent"] == pytest.approx(100 * 0.45 / 2)


def test_a_difference_that_drowns_in_noise_is_refused() -> None:
    with pytest.raises(InputError, match="no slower"):
        columns([[1.0, 1.1], [1.0, 1.0], [1.0, 0.9]])


def test_kernels_of_a_layer_and_who_is_waited_for() -> None:
    launches = [Launches(num_launches=110, kernel_s=8.5), Launches(num_launches=30, kernel_s=0.5)]

    row = columns([[9.0, 1.0]], launches=launches, peak_bytes=[1000, 10])

    assert (row["num_launches"], row["kernel_s"], row["is_host_bound"], row["host_share"]) == (20, 2.0, False, 0.0)
    assert row["peak_memory_bytes"] > 1000
    assert host_columns(2.0, Launches(num_launches=20, kernel_s=1.7)) == {
        "num_launches": 20, "kernel_s": 1.7, "host_share": 0.15, "is_host_bound": True,
    }  # fmt: skip


def test_gradients_are_gone_after_a_training_step_and_modes_follow_the_phase() -> None:
    from shapewright.measure.runners.steps import training_step, without_gradients

    model = torch.nn.Linear(3, 1)
    seen: list[bool] = []

    def loss() -> Any:
        seen.append(model.training)
        return model(torch.ones(2, 3)).sum()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.detach().clone()
    training_step(model, loss, optimizer)()
    without_gradients(model, loss)()
    training_step(model, loss)()

    assert seen == [True, False, True]
    assert model.weight.grad is None
    assert torch.allclose(before - model.weight, torch.full((1, 3), 0.2))
