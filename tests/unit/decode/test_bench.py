"""Runs of the bench: what is left is measured, what is there is kept, and limits end a run between two cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shapewright.decode import bench, bench_cell
from shapewright.decode.bench import GRIDS, Plan, cells_of, engines_of, run
from shapewright.decode.bench_engines import Task
from shapewright.decode.bench_rows import ENGINES, Row, read_rows
from shapewright.errors import InputError, ShapewrightError

from .bench_fakes import LOST, FakeEngine, World, config_file


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(bench_cell, "Clock", lambda device: world)
    return world


@pytest.fixture
def plan(tmp_path: Path, world: World) -> Plan:
    cells = cells_of(batches=(1, 2), contexts=(9,), new_tokens=8, warmup_tokens=4)
    names = (config_file(tmp_path),)
    out = tmp_path / "run.jsonl"
    return Plan(
        models=names, cells=cells, engines=("hf", "read"), out=out, dtype="fp32", device="cpu", repeats=2, has_checks=False, make=world.make
    )


def test_every_cell_and_engine_has_a_row(plan: Plan) -> None:
    told: list[list[Row]] = []
    summary = run(plan, on_rows=lambda rows: told.append([row for row in rows if isinstance(row, Row)]))

    rows = read_rows(plan.out)
    assert [(row.batch, row.context, row.engine) for row in rows] == [(1, 9, "hf"), (1, 9, "read"), (2, 9, "hf"), (2, 9, "read")]
    assert [[row.engine for row in cell] for cell in told] == [["hf", "read"]] * 2
    assert summary.is_complete and summary.num_skipped == 0 and len(summary.rows) == 4
    assert all(row.gpu == "cpu" and row.versions["transformers"] and row.model == plan.models[0] for row in rows)
    assert all(row.started_at.endswith("Z") for row in rows)


def test_the_same_command_measures_nothing_again(plan: Plan, world: World) -> None:
    run(plan)
    before, world.calls = plan.out.read_bytes(), []
    summary = run(plan)
    assert (summary.is_complete, summary.num_skipped, summary.rows) == (True, 4, ())
    assert plan.out.read_bytes() == before and world.calls == []


def test_rows_of_fewer_repeats_are_measured_again(plan: Plan, world: World) -> None:
    run(plan)
    assert run(replace(plan, repeats=1)).num_skipped == 4
    summary = run(replace(plan, repeats=3))
    assert summary.num_skipped == 0 and [len(row.repeats_s or ()) for row in summary.rows] == [3] * 4


def test_what_is_begun_is_told(plan: Plan) -> None:
    told: list[str] = []
    run(plan, tell=told.append)
    name = plan.models[0]
    assert told == [f"{name}: building it (fp32, random weights)", f"{name}: cell 1 of 2, 1 x 9", f"{name}: cell 2 of 2, 2 x 9"]


def test_a_new_engine_runs_beside_the_ceiling_alone(plan: Plan, world: World) -> None:
    run(plan)
    world.calls = []
    summary = run(replace(plan, engines=("hf", "gpt-fast", "read")))
    assert {name for name, _ in world.calls} == {"gpt-fast", "read"}
    assert [row.engine for row in summary.rows] == ["gpt-fast", "gpt-fast"]
    assert all(row.speed_of_light == 1.0 and row.together == ("gpt-fast", "read") for row in summary.rows)


@pytest.mark.parametrize(("time_limit_s", "batches"), [(400.0, [1, 1, 2, 2]), (300.0, [1, 1]), (1e-9, [1, 1])])
def test_a_time_limit_ends_a_run_between_two_cells(
    time_limit_s: float, batches: list[int], plan: Plan, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "monotonic", lambda: world.now_s)  # a cell takes 168 s
    summary = run(replace(plan, time_limit_s=time_limit_s))
    assert [row.batch for row in summary.rows] == batches
    assert summary.is_complete == (len(batches) == 4)


def test_a_run_goes_on_where_it_was_stopped(plan: Plan, world: World) -> None:
    def interrupted(world: World, tokens: int) -> None:
        if len(world.calls) > 20:
            raise KeyboardInterrupt

    world.faults["hf"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    assert {row.batch for row in read_rows(plan.out)} == {1}
    world.faults.clear()
    assert [row.batch for row in run(plan).rows] == [2, 2]
    assert len(read_rows(plan.out)) == 4 and not world.alive


def test_failed_rows_are_measured_again_when_asked_for(plan: Plan, world: World) -> None:
    def breaks(world: World, tokens: int) -> None:
        raise ValueError("no")

    world.faults["hf"] = breaks
    assert [row.status for row in run(plan).rows] == ["failed", "ok", "failed", "ok"]
    world.faults.clear()
    assert run(plan).rows == ()
    assert [(row.engine, row.status) for row in run(replace(plan, retry_failed=True)).rows] == [("hf", "ok")] * 2
    assert all(row.status == "ok" for row in read_rows(plan.out))


def test_a_model_that_does_not_fit_has_rows_that_say_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError("out of memory before allocation: the weights need 2 bytes")

    monkeypatch.setattr(bench, "build_model", full)
    summary = run(plan)
    assert summary.is_complete
    assert {(row.status, row.error) for row in summary.rows} == {
        ("out_of_memory", "out of memory before allocation: the weights need 2 bytes")
    }
    assert [row.engine for row in summary.rows] == ["hf", "read"] * 2


def test_a_fault_of_the_gpu_ends_the_run_with_a_row(plan: Plan, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def faults(world: World, tokens: int) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    world.faults["hf"] = faults
    monkeypatch.setattr(bench, "open_device", lambda name: LOST)
    summary = run(plan)
    assert not summary.is_complete and "launch failure" in str(summary.fault)
    assert [(row.engine, row.status) for row in read_rows(plan.out)] == [("hf", "failed")]


def test_the_longest_cell_decides_the_positions(plan: Plan, tmp_path: Path) -> None:
    from .bench_fakes import OPT

    seen = []

    def make(name: str, task: Task) -> FakeEngine:
        seen.append((task.ids.shape, task.model.positions_raised_to))
        return World().make(name, task)

    cells = cells_of(batches=(2,), contexts=(5, 9), new_tokens=8, warmup_tokens=4)
    run(replace(plan, models=(config_file(tmp_path, OPT),), cells=cells, engines=("hf",), make=make))
    assert seen == [((2, 5), 21), ((2, 9), 21)]
    assert {row.positions_raised_to for row in read_rows(plan.out)} == {21}


def test_the_grid_of_s4_has_its_twelve_cells() -> None:
    expected = {(1, 128), (1, 1024), (1, 2048), (1, 4096), (8, 128), (8, 1024)} | {(b, c) for b in (2, 4) for c in (128, 1024, 2048)}
    assert set(GRIDS["s4"]) == expected and len(GRIDS["s4"]) == 12
    assert [(cell.batch, cell.context) for cell in cells_of(grid="s4")] == list(GRIDS["s4"])


def test_engines_are_baselines_then_ours_then_the_ceiling() -> None:
    assert engines_of(("ours-loop",), ("hf-static-compile", "hf")) == ("hf", "hf-static-compile", "ours-loop", "read")
    assert engines_of((), ("all",)) == ENGINES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("lama-2-7b",)}, "did you mean llama-2-7b"),
        ({"models": ("mixtral-8x7b",)}, "mixture of experts"),
        ({"models": ("bert-base-uncased",)}, "is an encoder"),
        ({"models": ()}, "no model is named"),
        ({"dtype": "fp8"}, "unknown dtype 'fp8'"),
        ({"repeats": 0}, "--repeats is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_file_is_made(change: dict[str, object], message: str, plan: Plan) -> None:
    with pytest.raises(ShapewrightError, match=message):
        run(replace(plan, **change))  # pyright: ignore[reportArgumentType]
    assert not plan.out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": "s5"}, "unknown grid 's5'"),
        ({"grid": "s4", "batches": (1,)}, "--grid names batches"),
        ({"batches": (0,)}, "--batch is 0"),
        ({"contexts": (2**21,)}, "--context is 2097152"),
        ({"new_tokens": 0}, "--new-tokens is 0"),
    ],
)
def test_cells_that_cannot_be_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cells_of(**arguments)  # pyright: ignore[reportArgumentType]


def test_unknown_engines_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean hf-static-compile"):
        engines_of(("hf-static",), ())
