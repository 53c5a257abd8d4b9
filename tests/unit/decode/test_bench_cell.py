"""One cell with engines of known times: what is timed, in which order, and what becomes of engines that fail."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shapewright.decode.bench_cell import ALONE, CellBench, GpuFault, Habits
from shapewright.decode.bench_rows import Row

from . import bench_fakes
from .bench_fakes import CELL, LOST, PROMPT_S, QUIET, World, shape_task

NAMES = ("hf", "ours-loop", "read")


def rows_of(world: World, folder: Path, names: tuple[str, ...] = NAMES, repeats: int = 3) -> list[Row]:
    bench = CellBench(shape_task(folder), Habits(repeats=repeats, make=world.make))
    bench.clock = world  # pyright: ignore[reportAttributeAccessIssue]
    return bench.rows(names)


def test_steps_alone_are_timed(tmp_path: Path) -> None:
    steps = {"hf": 2.0, "ours-loop": 0.5, "read": 0.25}
    hf, ours, read = rows_of(World(steps.__getitem__), tmp_path)

    assert hf.repeats_s == (16.0,) * 3 and hf.time_per_step_s == 2.0 and hf.tokens_per_s == CELL.batch / 2.0
    assert hf.ttft_s == PROMPT_S + 2.0 and hf.warmup_s == PROMPT_S + 4 * 2.0
    assert (hf.speed_of_light, ours.speed_of_light, read.speed_of_light) == (0.125, 0.5, 1.0)
    assert read.ttft_s is None
    assert hf.together == NAMES


def test_every_other_repeat_runs_backwards(tmp_path: Path) -> None:
    world = World()
    rows_of(world, tmp_path)
    longest = [name for name, tokens in world.calls if tokens == CELL.warmup_tokens + CELL.new_tokens]
    assert longest == [*NAMES, *NAMES, *NAMES[::-1], *NAMES]  # once untimed, then three repeats


@pytest.mark.parametrize(("prompt_s", "rest_s"), [(0.125, 0.125), (3.0, 0.5)])
def test_a_gpu_rests_as_long_as_the_prompt_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt_s: float, rest_s: float) -> None:
    """Before each timed call once that is known, and no longer than half a second; a read has no prompt."""
    monkeypatch.setattr(bench_fakes, "PROMPT_S", prompt_s)
    rests: list[float] = []
    world = World(lambda name: 0.0 if name == "read" else 2.0**-20)
    bench = CellBench(shape_task(tmp_path), Habits(repeats=2, make=world.make, sleep=rests.append))
    # Its memory is still told by the CPU: there is no GPU here to ask.
    bench.task = replace(bench.task, device=QUIET)
    bench.clock = world  # pyright: ignore[reportAttributeAccessIssue]
    bench.rows(("hf", "read"))
    assert rests == [pytest.approx(rest_s, abs=1e-4)] * 5


def test_a_cpu_does_not_rest(tmp_path: Path) -> None:
    rests: list[float] = []
    world = World()
    bench = CellBench(shape_task(tmp_path), Habits(make=world.make, sleep=rests.append))
    bench.clock = world  # pyright: ignore[reportAttributeAccessIssue]
    bench.rows(NAMES)
    assert rests == []


def test_spread(tmp_path: Path) -> None:
    world = World(lambda name: next(times))
    # made, woken, then short and long of five repeats of one engine
    times = iter([1.0, 1.0, *(each for long in (1.0, 1.5, 1.25, 4.0, 1.0) for each in (1.0, 1.0, long))])
    [row] = rows_of(world, tmp_path, ("hf",), repeats=5)

    assert row.repeats_s == tuple(12 * long + PROMPT_S - (4 + PROMPT_S) for long in (1.0, 1.5, 1.25, 4.0, 1.0))
    assert (row.min_s, row.max_s, row.time_per_step_s) == (8.0, 44.0, 11.0 / 8)
    assert row.deviation_s == 3.0  # of 8, 14, 11, 44, 8 from 11


def test_out_of_memory_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    def full(world: World, tokens: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nsecond line")

    world = World(faults={"hf": full})
    hf, ours, read = rows_of(world, tmp_path)
    assert hf.status == "out_of_memory" and hf.error == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert hf.repeats_s == () and hf.tokens_per_s is None and hf.together == ()
    assert ours.status == read.status == "ok" and ours.together == ("ours-loop", "read")
    assert not world.alive


def test_what_does_not_fit_beside_the_others_runs_alone(tmp_path: Path) -> None:
    def crowded(world: World, tokens: int) -> None:
        if len(world.alive) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hf, ours, _ = rows_of(World(faults={"ours-loop": crowded}), tmp_path)
    assert ours.status == "ok" and ALONE in ours.notes and ours.together == ("ours-loop",)
    assert ours.speed_of_light == 1.0  # of the ceiling that ran with the others
    assert hf.together == ("hf", "read")


def test_an_engine_that_fails_amid_its_repeats_ends_alone(tmp_path: Path) -> None:
    def breaks(world: World, tokens: int) -> None:
        if sum(name == "hf" for name, _ in world.calls) > 4:
            raise ValueError("no more\nof this")

    hf, ours, _ = rows_of(World(faults={"hf": breaks}), tmp_path)
    assert hf.status == "failed" and hf.error == "ValueError: no more"
    assert len(ours.repeats_s) == 3


def test_a_fault_of_the_gpu_ends_the_cell_with_what_is_known(tmp_path: Path) -> None:
    def faults(world: World, tokens: int) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    bench = CellBench(replace(shape_task(tmp_path), device=LOST), Habits(make=World(faults={"ours-loop": faults}).make))
    bench.clock = World()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(GpuFault) as found:
        bench.rows(NAMES)
    assert [(row.engine, row.status, row.error) for row in found.value.rows] == [
        ("ours-loop", "failed", "RuntimeError: CUDA error: unspecified launch failure")
    ]


def test_an_error_that_leaves_the_gpu_usable_ends_one_engine(tmp_path: Path) -> None:
    def fails(world: World, tokens: int) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    hf, ours, _ = rows_of(World(faults={"ours-loop": fails}), tmp_path)
    assert (hf.status, ours.status) == ("ok", "failed")


def test_steps_too_short_to_tell_are_no_result(tmp_path: Path) -> None:
    [row] = rows_of(World(lambda name: 0.0), tmp_path, ("hf",))
    assert row.status == "failed" and row.error == "8 steps take less than the clock tells; raise --new-tokens"


def test_a_call_that_runs_plain_is_noted_in_its_row(tmp_path: Path) -> None:
    class OursWarning(UserWarning):
        __module__ = "shapewright.decode.hooks"

    def warns(world: World, tokens: int) -> None:
        warnings.warn("this call runs plain: why", OursWarning, stacklevel=1)
        warnings.warn("of no interest", UserWarning, stacklevel=1)

    hf, ours, _ = rows_of(World(faults={"ours-loop": warns}), tmp_path)
    assert ours.notes == ("this call runs plain: why",) and hf.notes == ()


def test_a_ceiling_that_the_clock_cannot_tell_is_none(tmp_path: Path) -> None:
    hf, _, read = rows_of(World({"hf": 1.0, "ours-loop": 1.0, "read": 0.0}.__getitem__), tmp_path)
    assert hf.tokens_per_s == 2.0 and hf.speed_of_light is None and read.status == "failed"


def test_rows_say_what_was_measured(tmp_path: Path) -> None:
    bench = CellBench(shape_task(tmp_path, positions_raised_to=40, notes=("a note",)), Habits(repeats=1, make=World().make))
    [row] = bench.rows(("read",))[:1]
    assert (row.model, row.family, row.batch, row.context, row.dtype) == ("tiny", "llama", 2, 9, "fp32")
    assert (row.new_tokens, row.warmup_tokens, row.positions_raised_to, row.notes) == (8, 4, 40, ("a note",))
    assert row.num_parameters == bench.task.model.shape.num_params
    # 2 rows x (9 + 4 + 3.5) tokens x 2 layers x 2 heads of 8, keys and values, of 4 bytes
    assert row.cache_bytes == round(2 * 16.5 * 2 * (2 * 8 * 2) * 4)
