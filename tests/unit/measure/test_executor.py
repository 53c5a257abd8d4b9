"""The parent: every point gets one row whatever the worker does, and none is measured twice."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fake_worker as fake
from shapewright.errors import InputError, MissingError
from shapewright.measure import sweep
from shapewright.measure.executor import Summary, execute, grouped
from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint, Point
from shapewright.measure.progress import Progress
from shapewright.measure.store import Run, read_run


def gemms(*sizes: int) -> list[GemmPoint]:
    return [GemmPoint(m=m, n=8, k=8) for m in sizes]


def measured(path: Path, points: list[Point] | list[GemmPoint], **options: Any) -> Summary:
    with Run.open(path) as run:
        return execute(points, run, **{"worker_command": fake.command(), **options})


def statuses(path: Path) -> list[tuple[int, str]]:
    return [(row["m"], row["status"]) for row in read_run(path).rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_every_point_becomes_a_row_with_its_settings_and_kernels(path: Path) -> None:
    rows: list[dict[str, Any]] = []
    summary = measured(path, gemms(*range(1, 301), 5), on_row=rows.append)
    found = read_run(path)
    assert [row["m"] for row in found.rows] == list(range(1, 301)) == [row["m"] for row in rows]
    assert found.rows[4] == {"gpu": "fake", **rows[4]} and rows[4]["kernel"] == "kernel_5" and rows[4]["time_s"] == 1e-5
    assert rows[4]["n"] == 8 and rows[4]["layout"] == "NT" and rows[4]["at"].endswith("Z")
    assert (summary.num_points, summary.counts, summary.is_complete, summary.num_failed) == (300, {"ok": 300}, True, 0)
    assert summary.environment["gpu"] == "fake" and summary.rate_per_s > 0


def test_on_row_comes_only_after_the_row_is_in_the_file(path: Path) -> None:
    seen: list[bool] = []
    measured(path, gemms(*range(1, 200)), on_row=lambda row: seen.append(f'"m": {row["m"]},' in path.read_text()))
    assert len(seen) == 199 and all(seen)


def test_points_with_a_row_are_skipped_and_another_gpu_is_not_this_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(path, gemms(1, 2))
    size = path.stat().st_size
    assert measured(path, gemms(1, 2)).num_skipped == 2 and path.stat().st_size == size
    summary = measured(path, gemms(1, 2, 3))
    assert (summary.num_skipped, summary.counts, len(read_run(path).environments)) == (2, {"ok": 1}, 2)
    monkeypatch.setenv("FAKE_GPU", "another")
    assert measured(path, gemms(1)).counts == {"ok": 1}
    assert [row["gpu"] for row in read_run(path).rows] == ["fake"] * 3 + ["another"]


def test_crashes_become_rows_and_the_sweep_goes_on(path: Path) -> None:
    points = gemms(1, fake.EXITS, 2, fake.SEGFAULTS, fake.POISONS, fake.FAILS, fake.NO_MEMORY, fake.CHATTERS, 3)
    summary = measured(path, points)
    rows = {row["m"]: row for row in read_run(path).rows}
    assert [rows[point.m]["status"] for point in points] == [
        "ok", "crashed", "ok", "crashed", "failed", "failed", "out_of_memory", "ok", "ok"
    ]  # fmt: skip
    assert rows[fake.EXITS]["error"] == "the measuring process ended: exit code 7: the library said no"
    assert "SIGSEGV" in rows[fake.SEGFAULTS]["error"] and "illegal memory access" in rows[fake.POISONS]["error"]
    assert summary.num_failed == 5 and summary.is_complete
    assert measured(path, points).num_measured == 0
    assert measured(path, points, retry_failed=True).counts == {"crashed": 2, "failed": 2, "out_of_memory": 1}


def test_a_point_that_hangs_is_timed_out_and_its_worker_ended(path: Path) -> None:
    summary = measured(path, gemms(1, fake.HANGS, 2), timeout_s=0.4)
    assert statuses(path) == [(1, "ok"), (fake.HANGS, "timed_out"), (2, "ok")]
    assert read_run(path).rows[1]["error"] == "took longer than 0.4 s" and summary.is_complete


def test_a_worker_that_dies_while_naming_kernels_costs_names_only(path: Path) -> None:
    measured(path, gemms(1, fake.DIES_IN_PROFILE, 2))
    rows = read_run(path).rows
    assert [row["status"] for row in rows] == ["ok"] * 3 and all("kernel" not in row for row in rows)


def test_a_machine_on_which_nothing_runs_stops_the_sweep(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MAX_DEATHS", 3)
    points = [GemmPoint(m=fake.EXITS, n=n, k=8) for n in range(1, 9)]
    with pytest.raises(InputError, match="3 points in a row ended the measuring process"):
        measured(path, points)
    assert len(read_run(path).rows) == 3


def test_a_worker_that_cannot_start_is_missing_hardware(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_FATAL", "1")
        with pytest.raises(MissingError, match="torch finds no GPU; install its driver") as caught:
            measured(path, gemms(1))
        assert caught.value.exit_code == 3
    monkeypatch.setenv("FAKE_STILLBORN", "1")
    with pytest.raises(MissingError, match=r"could not start: exit code 4: ImportError: libcuda\.so is missing"):
        measured(path, gemms(1))
    assert not path.exists()


def test_a_time_limit_ends_after_the_point_at_hand(path: Path) -> None:
    summary = measured(path, gemms(*range(1, 2000)), time_limit_s=0.8, worker_command=fake.command(0.02))
    assert 0 < summary.num_measured < 1000 and not summary.is_complete and summary.counts == {"ok": summary.num_measured}
    assert len(read_run(path).rows) == summary.num_measured


def test_a_point_beyond_the_time_limit_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "GRACE_S", 0.2)
    summary = measured(path, gemms(1, fake.HANGS, 2), time_limit_s=0.5)
    assert statuses(path) == [(1, "ok")] and not summary.is_complete


def layers(*batches: int, phase: Any = "forward") -> list[Point]:
    return [LayerPoint(model="x", micro_batch=each, phase=phase) for each in batches]


def test_a_death_among_points_in_turn_measures_each_alone(path: Path) -> None:
    measured(path, layers(1, fake.EXITS, 2))
    found = [(row["micro_batch"], row["status"], row.get("num_interleaved")) for row in read_run(path).rows]
    assert found == [(1, "ok", 1), (fake.EXITS, "crashed", None), (2, "ok", 1)]


def test_groups_hold_neighbours_of_one_kind() -> None:
    attention = AttentionPoint(batch=1, num_heads=1, num_kv_heads=1, query_len=8, kv_len=8, head_dim=8)
    assert [len(each) for each in grouped([*gemms(*range(1, 601)), attention, *gemms(1)])] == [256, 256, 88, 1, 1]
    mixed = [*layers(*range(1, 6)), *layers(1, 2, phase="train")]
    assert [len(each) for each in grouped(mixed, together=3)] == [3, 2, 2]
    in_turn = [point for each in (1, 2) for phase in ("forward", "train") for point in layers(each, phase=phase)]
    assert [[getattr(point, "phase", "") for point in each] for each in grouped(in_turn)] == [["forward"] * 2, ["train"] * 2]
    assert list(grouped([])) == []


def test_an_error_of_the_caller_keeps_rows_and_ends_the_worker(path: Path) -> None:
    def refuse(progress: Progress) -> None:
        if progress.done >= 10:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        measured(path, gemms(*range(1, 100)), progress=refuse, worker_command=fake.command(0.01))
    assert len(read_run(path).rows) >= 10
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not children.exists() or not [pid for pid in children.read_text().split() if "fake_worker" in _command_of(pid)]


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_progress_counts_up_to_the_total(path: Path) -> None:
    measured(path, gemms(1, 2))
    told: list[Progress] = []
    measured(path, gemms(1, 2, 3, fake.FAILS), progress=told.append)
    assert (told[0].done, told[0].skipped, told[0].total, told[0].eta_s) == (0, 2, 4, None)
    assert (told[-1].done, told[-1].failed, told[-1].skipped) == (2, 1, 2) and told[-1].eta_s == 0.0
    assert all(before.done <= after.done for before, after in itertools.pairwise(told))


def test_no_points_need_no_worker(path: Path) -> None:
    assert measured(path, [], worker_command=["/nonexistent"]).is_complete


def test_the_parent_never_imports_torch() -> None:
    code = "import sys; from shapewright.measure import executor, plan, store, __main__; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_a_slow_caller_does_not_time_points_out(path: Path) -> None:
    def slow(row: dict[str, Any]) -> None:
        time.sleep(0.02)

    measured(path, gemms(*range(1, 60)), on_row=slow, timeout_s=0.3, worker_command=fake.command(0.005))
    assert {status for _, status in statuses(path)} == {"ok"}
