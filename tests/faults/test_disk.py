"""A disk that fills up: a clear error, whole rows, and a sweep that goes on once there is room."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fake_worker
from faults.sweeps import TESTS, acknowledged, environment, rows, started
from shapewright.errors import InputError
from shapewright.measure.executor import execute
from shapewright.measure.points import GemmPoint
from shapewright.measure.store import Run, read_run

POINTS = [GemmPoint(m=m, n=8, k=8, dtype="fp32") for m in range(1, 2001)]


def swept(path: Path, acknowledged: list[int]) -> None:
    with Run.open(path) as run:
        execute(POINTS, run, worker_command=fake_worker.command(), on_row=lambda row: acknowledged.append(row["m"]))


def assert_resumes(path: Path, known: list[int]) -> None:
    """Nothing is torn, what was acknowledged is there, and the rest is measured."""
    found = [row["m"] for row in read_run(path).rows]
    assert found == known and 0 < len(known) < len(POINTS) and read_run(path).notes == ()
    assert path.read_bytes().endswith(b"\n")


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    path = tmp_path / "run.jsonl"
    process = started(path, 2000, "0", preexec_fn=limited)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and b"run.jsonl: cannot be written: file too large; its " in stderr
    known = acknowledged(path)
    assert f"its {len(known)} rows are safe: make room and start again".encode() in stderr
    assert_resumes(path, known)
    process = started(path, 2000, "0")
    process.communicate(timeout=30)
    assert process.returncode == 0 and sorted(rows(path)) == list(range(1, 2001))


def test_a_full_device_under_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    path, known = tmp_path / "run.jsonl", []
    write, full = os.write, os.open("/dev/full", os.O_WRONLY)
    limit = 150_000

    def filled(descriptor: int, data: Any) -> int:
        if bytes(data[:5]) != b'{"kin' and bytes(data[:5]) != b'{"env':
            return write(descriptor, data) if path.stat().st_size < limit or len(data) < 300 else write(full, data)
        room = limit - path.stat().st_size
        return write(descriptor, data[:room]) if room > 0 else write(full, data)

    try:
        with monkeypatch.context() as patch:
            patch.setattr("shapewright.measure.store.os.write", filled)
            with pytest.raises(InputError, match=r"run\.jsonl: cannot be written: the disk is full; its \d+ rows are safe"):
                swept(path, known)
    finally:
        os.close(full)
    assert_resumes(path, known)
    swept(path, known)
    assert sorted(known) == [point.m for point in POINTS] == sorted(rows(path))


def test_a_small_tmpfs(tmp_path: Path) -> None:
    """In a mount namespace of its own, so that nothing is left mounted."""
    script = f"mount -t tmpfs -o size=256k none {tmp_path} && exec {sys.executable} {TESTS / 'faults/on_small_disk.py'} {tmp_path}"
    try:
        ended = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, env=environment(),
            check=False, timeout=50,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("unshare is not installed, so that no tmpfs can be mounted")
    if "unshare:" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip(f"no tmpfs can be mounted here: {ended.stderr.strip()[:100]}")
    assert ended.returncode == 0 and ended.stdout.strip().endswith("resumed"), ended.stderr
