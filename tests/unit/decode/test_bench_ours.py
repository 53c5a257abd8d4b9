"""Our own engines in the bench, with a step in plain torch: steps run where tokens and logits are compared, and the twin is given back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from shapewright.decode import bench_engines, hooks, loop
from shapewright.decode.bench_cell import CellBench, Habits
from shapewright.decode.bench_check import checks
from shapewright.decode.bench_engines import Cell, Task, make_engine, task_for
from shapewright.decode.bench_models import build_model, recipe_for
from shapewright.measure.devices import open_device

from .bench_fakes import FAMILIES, config_file
from .twins import CountedStep, GreedyStep

CELL = Cell(batch=2, context=9, new_tokens=6, warmup_tokens=4)


@pytest.fixture(params=FAMILIES)
def task(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    ours = SimpleNamespace(
        accelerate=lambda model: hooks.accelerate(model, make_step=GreedyStep),
        restore=hooks.restore,
        decode=loop.decode,
    )
    monkeypatch.setattr(bench_engines, "_ours", lambda: ours)
    name, device = config_file(tmp_path, FAMILIES[request.param]), open_device("cpu")
    return task_for(build_model(recipe_for(name), device, name=name, dtype="fp32", positions=CELL.capacity), CELL, device)


@pytest.mark.parametrize("name", ["ours-generate", "ours-loop"])
def test_steps_make_the_tokens(name: str, task: Task) -> None:
    engine, before = make_engine(name, task), CountedStep.runs
    tokens = engine.generate(6)
    assert CountedStep.runs - before >= 5 and engine.note == ""
    assert torch.equal(tokens, make_engine("hf", task).generate(6))
    made = CountedStep.made
    for num_tokens in (1, 4, 6):  # as the clock calls it
        assert torch.equal(engine.generate(num_tokens), tokens[:, :num_tokens])
    assert CountedStep.made == made, "a shorter call makes a new step: its capture would be timed"
    engine.close()


def test_a_model_that_runs_plain_has_that_in_its_row(tmp_path: Path) -> None:
    """Weights of fp64 are nothing that kernels read."""
    name, device = config_file(tmp_path, FAMILIES["llama"]), open_device("cpu")
    built = build_model(recipe_for(name), device, name=name, dtype="fp32", positions=CELL.capacity)
    built.model.double()
    [row] = CellBench(task_for(built, CELL, device), Habits(repeats=1)).rows(["ours-loop"])
    assert [note.partition(": ")[0] for note in row.notes] == ["the model runs plain"]


def test_logits_that_are_checked_come_from_steps(task: Task) -> None:
    engine, before = make_engine("ours-generate", task), CountedStep.runs
    [found] = checks(task, [("ours-generate", engine)])
    assert CountedStep.runs - before >= 2 * (CELL.warmup_tokens - 1)
    assert found.num_equal_tokens == found.num_tokens == 8
    assert found.max_relative_difference is not None and found.max_relative_difference < 1e-5


def test_the_model_of_the_others_is_left_alone(task: Task) -> None:
    engine = make_engine("ours-loop", task)
    assert hooks.engine_of(task.model.model) is None
    engine.generate(3)
    engine.close()
    assert "generate" not in vars(task.model.model)
