"""Where times come from: predicted in long runs, measured rows, and predictions at the clock of the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shapewright.calibrate.compare import Compared, compare_points
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, LayerPoint, MemoryPoint, Point, key_of, settings_of
from shapewright.paper.times import THROTTLED, AtClocks, Measured, Predicted, measured_times

H200 = load_gpu("h200")
BUSY = GemmPoint(m=8192, n=8192, k=8192, dtype="fp16")
IDLE = GemmPoint(m=8192, n=8193, k=4097, dtype="fp16")


def measured(rows: Mapping[Point, Mapping[str, Any]]) -> Measured:
    return Measured(gpu=H200, rows={key_of(point): {"status": "ok", "time_s": 1e-3, **row} for point, row in rows.items()})


def seconds(times: Predicted | AtClocks | Measured, point: Point) -> float:
    (found,) = times.of([point])
    assert found is not None
    return found.time_s


def test_a_long_run_slows_what_keeps_the_tensor_cores_busy_alone() -> None:
    burst, long = Predicted(gpu=H200, is_long_run=False), Predicted(gpu=H200)
    assert seconds(long, BUSY) / seconds(burst, BUSY) > 1.1
    assert seconds(long, IDLE) == seconds(burst, IDLE)
    softmax = MemoryPoint(op="softmax", rows=2**16, width=2048, dtype="fp16")
    assert seconds(long, softmax) == seconds(burst, softmax)


def test_layers_are_long_runs_already() -> None:
    point = LayerPoint(model="gpt3-2.7b", source="reference", attention="unfused", dtype="fp16")
    (burst,), (long,) = compare_points([point], H200), compare_points([point], H200, is_long_run=True)
    assert isinstance(burst, Compared) and burst == long


@pytest.mark.parametrize(("share", "clock"), [(0.0, 1.0), (1.0, THROTTLED), (0.5, (1 + THROTTLED) / 2), (1.0, 0.3), (1.0, None)])
def test_a_prediction_is_taken_at_the_clock_of_its_row(share: float, clock: float | None) -> None:
    hz = {} if clock is None else {"sm_clock_before_hz": clock * 2e9, "sm_clock_after_hz": clock * 2e9}
    rows = measured({BUSY: hz, IDLE: {"sm_clock_before_hz": 2e9}})
    burst, long = seconds(Predicted(gpu=H200, is_long_run=False), BUSY), seconds(Predicted(gpu=H200), BUSY)
    at_clocks = seconds(AtClocks(inner=Predicted(gpu=H200), measured=rows), BUSY)
    assert at_clocks == pytest.approx((1 - share) * burst + share * long)


def test_failed_and_absent_points_have_no_time() -> None:
    rows = measured({BUSY: {"status": "out of memory"}})
    assert rows.of([BUSY, IDLE]) == [None, None]


def test_gpu_time_of_a_step_that_waits_for_the_host_is_that_of_its_kernels() -> None:
    (found,) = measured({BUSY: {"time_s": 3e-3, "kernel_s": 1e-3, "is_host_bound": True, "low_s": 2.7e-3}}).of([BUSY])
    assert found is not None and (found.time_s, found.wall_s, found.low_s) == pytest.approx((1e-3, 3e-3, 0.9e-3))


def test_rows_of_other_gpus_are_left_out(tmp_path: Path) -> None:
    def run(name: str, gpu: str, time_s: float) -> Path:
        header = {"environment": {"gpu": gpu, "time": "2026-01-01T00:00:00Z"}, "schema_version": 1, "protocol": {}}
        row = {**settings_of(BUSY), "status": "ok", "time_s": time_s}
        (tmp_path / name).write_text(json.dumps(header) + "\n" + json.dumps(row) + "\n")
        return tmp_path / name

    paths = [run("a.jsonl", "NVIDIA H200", 1e-3), run("b.jsonl", "NVIDIA A100-SXM4-40GB", 2e-3)]
    assert seconds(measured_times(paths, H200), BUSY) == 1e-3
    assert len(measured_times(paths, H200).environments) == 1
