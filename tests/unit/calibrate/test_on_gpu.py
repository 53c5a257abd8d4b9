"""Measuring and fitting in one call, on the CPU: rows are kept, a second call goes on with them, the profile predicts better."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shapewright.calibrate import on_gpu
from shapewright.calibrate.gemm import predicted_s
from shapewright.calibrate.on_gpu import Request, calibrate_here, fit_run, gpu_of, is_run, library_of, measure_here, open_session
from shapewright.errors import InputError, MissingError
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import profile_from_json
from shapewright.measure.devices import Device
from shapewright.measure.executor import Summary, execute
from shapewright.measure.points import GemmPoint, Point, settings_of
from shapewright.measure.store import FOLDER_VARIABLE as RUNS_VARIABLE
from shapewright.measure.store import Run, read_run
from shapewright.predict.gemm import product_rates
from shapewright.predict.profiles import FOLDER_VARIABLE
from unit.calibrate.synthetic import TRUTH, products, write_rows
from unit.hardware.user_gpu import GPU

pytest.importorskip("torch")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "profiles"))
    path = tmp_path / "cpu.toml"
    path.write_text(GPU)
    return str(path)


def measure_so_many(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let a calibration end after `count` points of its sample, however busy the machine is, instead of after its seconds."""

    def limited(points: Sequence[Point], run: Run, **named: Any) -> Summary:
        return execute(points[:count], run, **{**named, "time_limit_s": None})

    monkeypatch.setattr(on_gpu, "execute", limited)


def test_a_second_call_goes_on(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(device="cpu", gpu=gpu, seconds=16.0)
    session = open_session(request)
    assert not session.is_resumed
    measure_so_many(monkeypatch, 8)
    first = measure_here(request, session, time.monotonic(), None)
    kept = read_run(session.path).rows
    assert len(kept) == first.num_measured == 8
    measure_so_many(monkeypatch, 20)
    again = open_session(request)
    assert again.is_resumed and again.path == session.path
    second = measure_here(request, again, time.monotonic(), None)
    rows = read_run(session.path).rows
    assert rows[:8] == kept and len(rows) == 20 and second.num_skipped == 8


def test_the_fit_of_a_session_is_better(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times are a library's that is slower than the profile knows: whether a CPU's own are nearer to one is luck."""
    request = Request(device="cpu", gpu=gpu, seconds=16.0)
    rates, asked = product_rates(load_gpu(gpu), "bf16"), products(400, seed=0)
    times_s = predicted_s(TRUTH, asked, rates).tolist()
    sizes = zip(asked.m.tolist(), asked.n.tolist(), asked.k.tolist(), times_s, strict=True)
    session = open_session(request)
    with Run.open(session.path) as run:
        run.start({"gpu": "cpu"})
        run.append([settings_of(GemmPoint(m=m, n=n, k=k)) | {"status": "ok", "time_s": time_s} for m, n, k, time_s in sizes])
    measure_so_many(monkeypatch, 6)
    here = calibrate_here(request, open_session(request))
    calibration = here.calibration
    assert here.summary.num_measured == 6 and here.path == session.path
    assert calibration.is_better and calibration.before_percent is not None and calibration.after_percent is not None
    assert calibration.after_percent < calibration.before_percent
    profile = profile_from_json(calibration.document)
    assert profile.provenance == "calibrated" and calibration.document["calibration"]["host_s"]
    assert not any(rate.is_measured for name, rate in profile.memory.items() if name.startswith("row_"))


def test_rows_of_a_catalogued_card_count_for_the_users_own_description(gpu: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    row = settings_of(GemmPoint(m=64, n=64, k=64)) | {"status": "ok", "time_s": 1e-5}
    with Run.open(path) as run:
        run.start({"gpu": "NVIDIA H200"})
        run.append([row])
    with pytest.raises(InputError, match=r"too few usable rows \(aligned_nt 1\)"):
        fit_run([path], load_gpu(gpu), "")


def test_an_older_file_is_left_alone(gpu: str) -> None:
    request = Request(device="cpu", gpu=gpu)
    path = open_session(request).path
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert open_session(request).path == path
    assert open_session(Request(device="cpu", gpu=gpu, seed=1)).path != path
    old = path.rename(path.with_name(path.name.replace("-0-2", "-0-1")))
    os.utime(old, (0, 0))
    assert open_session(request).path != old


def test_what_is_not_known_is_said(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Device(name="cuda:0", gpu="NVIDIA Q900", l2_bytes=2**20, memory_bytes=2**30)
    with pytest.raises(InputError, match=r"Q900.* not in the catalogue.*--print-gpu"):
        gpu_of(unknown, None)
    h200 = Device(name="cuda:0", gpu="NVIDIA H200", l2_bytes=2**20, memory_bytes=2**30)
    assert gpu_of(h200, None).name == "h200" and gpu_of(h200, gpu).name == "my-gpu"
    with pytest.raises(InputError, match="this GPU is h200, not a100-80gb"):
        gpu_of(h200, "a100-80gb")
    with pytest.raises(InputError, match="a CPU has no profile"):
        open_session(Request(device="cpu"))
    monkeypatch.setenv(RUNS_VARIABLE, "")
    with pytest.raises(MissingError, match="no folder for your rows; name a file with --resume"):
        open_session(Request(device="cpu", gpu=gpu))


def test_the_library_is_that_of_torch() -> None:
    h200, a100 = load_gpu("h200"), load_gpu("a100-40gb")
    assert library_of({"cuda": "13.0"}, h200) == "cuda13" and library_of({"cuda": "12.8"}, h200) == "cuda12"
    assert library_of({"cuda": "11.7"}, a100) == "cuda11.7" and library_of({}, h200) == "cuda13"


def test_a_file_of_products_is_no_run(tmp_path: Path, gpu: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", products(10, seed=0))
    assert not is_run(path) and not is_run(tmp_path / "none.jsonl")
    path.write_text('{"environment": {"gpu": "NVIDIA H200"}, "schema_version": 1}\n')
    with pytest.raises(InputError, match="does not say which"):
        fit_run([path], None, None)
