"""Two occasions of made-up products whose deviations are known; rates by the times of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.calibrate.measuring.repeatability import rate, repeatability, throttle_shares
from shapewright.calibrate.measuring.runs import failed_rows, find_runs, ok_rows
from shapewright.measure.points import GemmPoint
from shapewright.measure.store import read_run
from unit.calibrate.measuring.made_runs import gemm_row, row_of, write_run

POINTS = [GemmPoint(m=64, n=128, k=64 * i) for i in range(1, 12)]


def test_deviations_of_shared_points(tmp_path: Path) -> None:
    """Eleven points, the i-th slower by i percent on the second occasion; one more that the first occasion lacks."""
    first, second = tmp_path / "repeatability-1.jsonl", tmp_path / "repeatability-2.jsonl"
    write_run(first, [row_of(point, 1e-3) for point in POINTS])
    rows = [row_of(point, 1e-3 * (1 + i / 100)) for i, point in enumerate(POINTS)]
    write_run(second, [*reversed(rows), row_of(GemmPoint(m=1, n=1, k=1), 1.0)])
    found = repeatability(read_run(first), read_run(second))
    assert found is not None
    assert (found.first, found.second, found.num_points) == ("repeatability-1.jsonl", "repeatability-2.jsonl", 11)
    assert (found.median_percent, found.p90_percent, found.worst_percent) == pytest.approx((5, 9, 10))
    assert found.shift_percent == pytest.approx(5)
    assert found.worst_point == "bf16 NT 1 x 64 x 128 x 704"


def test_failed_and_repeated_points_do_not_count(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_run(first, [row_of(POINTS[0], 1.0), row_of(POINTS[1], 1.0)])
    failed = row_of(POINTS[1], 1.0) | {"status": "crashed", "error": "killed"}
    write_run(second, [row_of(POINTS[0], 9.0), row_of(POINTS[0], 1.1), failed])
    found = repeatability(read_run(first), read_run(second))
    assert found is not None and found.num_points == 1 and found.worst_percent == pytest.approx(10)
    assert [row["status"] for row in failed_rows([read_run(second)])] == ["crashed"]
    write_run(second, [failed])
    assert repeatability(read_run(first), read_run(second)) is None


def test_rate_leaves_the_first_group_of_a_start_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    seconds = [0] * 50 + [1] * 40 + [2] * 40
    rows = [row_of(GemmPoint(m=1, n=1, k=i + 1), 1e-3, at=f"2026-11-22T08:00:{second:02d}Z") for i, second in enumerate(seconds)]
    write_run(path, rows)
    found = rate(read_run(path))
    assert found is not None and (found.num_points, found.span_s, found.per_s) == (80, 2.0, 40.0)
    write_run(path, rows[:50])
    assert rate(read_run(path)) is None


def test_throttling_is_a_share_of_rows() -> None:
    rows = [{"throttle": "power_cap"}, {"throttle": "power_cap+sw_thermal"}, {"throttle": ""}, {}]
    assert throttle_shares(rows) == {"power_cap": 0.5, "sw_thermal": 0.25}
    assert throttle_shares([]) == {}


def test_runs_are_found_by_their_plan(tmp_path: Path) -> None:
    for name in ("misalignment.jsonl", "misalignment-2.jsonl", "misalignment-compiled.jsonl", "misalignment.parquet", "heads.jsonl"):
        write_run(tmp_path / name, [gemm_row(POINTS[0])])
    assert [run.path.name for run in find_runs(tmp_path, "misalignment")] == ["misalignment-2.jsonl", "misalignment.jsonl"]
    assert len(ok_rows(find_runs(tmp_path, "misalignment"), "gemm")) == 2
    assert ok_rows(find_runs(tmp_path, "misalignment"), "attention") == []
    assert find_runs(tmp_path, "layers") == []
