"""Rows of runs as times: whose they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, key_of
from shapewright.paper import times
from shapewright.paper.evidence import Evidence, recorded_points
from shapewright.paper.judging import all_claims, judged
from shapewright.paper.times import Measured, Predicted, measured_times

POINTS = [GemmPoint(m=64, n=64, k=8 * size, dtype="fp16") for size in range(1, 41)]


def run_file(folder: Path, gpu: str) -> Path:
    """A run of every point on a GPU that its driver calls `gpu`; each takes 1 us."""
    rows = [{"kind": "gemm", "m": 64, "n": 64, "k": each.k, "dtype": "fp16", "status": "ok", "time_s": 1e-6} for each in POINTS]
    path = folder / f"{gpu.replace(' ', '-')}.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"environment": {"gpu": gpu}, "schema_version": 1}, *rows])) + "\n", encoding="utf-8")
    return path


def test_rows_are_those_of_the_gpu_asked_about(tmp_path: Path) -> None:
    paths = [run_file(tmp_path, "NVIDIA H200"), run_file(tmp_path, "NVIDIA A100-SXM4-80GB")]
    found = measured_times(paths, load_gpu("h200"))
    assert len(found.rows) == len(POINTS) and [each["gpu"] for each in found.environments] == ["NVIDIA H200"]
    assert [each.time_s if each else None for each in found.of(POINTS)] == [1e-6] * len(POINTS)
    assert not measured_times(paths, load_gpu("v100-16gb")).rows


def test_the_catalogue_is_asked_once_a_name_and_not_once_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    look_up = times.catalogued

    def counted(name: str):
        asked.append(name)
        return look_up(name)

    monkeypatch.setattr(times, "catalogued", counted)
    measured_times([run_file(tmp_path, "NVIDIA H200")], load_gpu("h200"))
    assert asked == ["NVIDIA H200"]


@pytest.mark.parametrize(("slowest_hz", "note"), [(1.9e9, ""), (1.2e9, "; measured at clocks of 1200 to 1980 MHz")])
def test_a_verdict_says_where_its_rows_stood_at_other_clocks(slowest_hz: float, note: str) -> None:
    claim, gpu = next(each for each in all_claims() if each.id == 57), load_gpu("h200")
    points = recorded_points([claim.judge], gpu)
    seconds = [each.time_s for each in Predicted(gpu=gpu).of(points) if each]
    clocks = [slowest_hz, *[1.98e9] * (len(points) - 1)]
    rows = {
        key_of(point): {"status": "ok", "time_s": time_s, "sm_clock_before_hz": clock, "sm_clock_after_hz": clock}
        for point, time_s, clock in zip(points, seconds, clocks, strict=True)
    }
    predicted = judged(claim, Evidence(times=Predicted(gpu=gpu)))
    measured = judged(claim, Evidence(times=Measured(gpu=gpu, rows=rows)))
    assert (measured.word, measured.reading) == (predicted.word, predicted.reading + note)
