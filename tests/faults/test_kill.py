"""A sweep that is killed at any moment goes on where it was: every acknowledged row once, every point once, no process left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from faults.sweeps import acknowledged, children, has_ended, interruptible, rows, started, wait_for
from shapewright.measure.store import read_run


def kill(process: subprocess.Popen[bytes], *, with_worker: bool) -> list[int]:
    """SIGKILL for the sweep, or for its worker too; the workers it had."""
    workers = children(process.pid)
    process.kill()
    for worker in workers if with_worker else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    process.communicate()
    return workers


def assert_acknowledged_once(path: Path) -> None:
    found = Counter(rows(path))
    assert all(count == 1 for count in found.values())
    assert set(acknowledged(path)) <= set(found)


def finished(path: Path, num_points: int, worker: str) -> None:
    """Let the sweep end, and find every point once."""
    process = started(path, num_points, worker)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert sorted(rows(path)) == list(range(1, num_points + 1))
    assert set(acknowledged(path)) <= set(rows(path)) and len(acknowledged(path)) == len(set(acknowledged(path)))
    assert read_run(path).notes == ()


def test_twenty_kills_lose_no_acknowledged_row(tmp_path: Path) -> None:
    path, source, num_points = tmp_path / "run.jsonl", random.Random(20), 4000
    grown = []
    for turn in range(20):
        process = started(path, num_points, "0.0005")
        time.sleep(source.uniform(0.1, 0.9))
        workers = kill(process, with_worker=turn % 2 == 0)
        assert all(has_ended(worker) for worker in workers)
        assert_acknowledged_once(path)
        grown.append(len(rows(path)))
    assert grown == sorted(grown) and grown[-1] > 0
    finished(path, num_points, "0")


def test_three_kills_of_a_real_sweep(tmp_path: Path) -> None:
    path, source, num_points = tmp_path / "run.jsonl", random.Random(3), 300
    for turn in range(3):
        process = started(path, num_points, "real")
        wait_for(path, len(rows(path)) + 1)
        time.sleep(source.uniform(0.0, 0.5))
        workers = kill(process, with_worker=turn == 1)
        assert len(workers) == 1 and has_ended(workers[0])
        assert_acknowledged_once(path)
    finished(path, num_points, "real")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_writes_what_was_measured_and_ends_the_worker(tmp_path: Path, number: signal.Signals, code: int) -> None:
    path = tmp_path / "run.jsonl"
    process = started(path, 4000, "0.002")
    wait_for(path, 1)
    (worker,) = children(process.pid)
    num_before = len(acknowledged(path))
    time.sleep(0.3)  # rows of the group at hand are not acknowledged yet
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == code, stderr
    assert has_ended(worker) and sorted(acknowledged(path)) == sorted(rows(path))
    assert len(rows(path)) > num_before
    finished(path, 1000, "0")


def test_a_worker_killed_from_outside_is_a_crashed_row(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    process = started(path, 1000, "0.002")
    wait_for(path, 1)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    found = read_run(path).rows
    assert sorted(row["m"] for row in found) == list(range(1, 1001))
    crashed = [row["error"] for row in found if row["status"] == "crashed"]
    assert len(crashed) <= 1 and all("SIGKILL (the host may have run out of memory)" in each for each in crashed)


def test_two_sweeps_at_once_write_their_own_files_and_not_one(tmp_path: Path) -> None:
    first, second = (started(tmp_path / name, 800, "0.0005") for name in ("a.jsonl", "b.jsonl"))
    wait_for(tmp_path / "a.jsonl", 1)
    intruder = started(tmp_path / "a.jsonl", 800, "0")
    _, stderr = intruder.communicate(timeout=30)
    assert intruder.returncode == 1 and b"another process is writing this run" in stderr
    for process, name in ((first, "a.jsonl"), (second, "b.jsonl")):
        process.communicate(timeout=30)
        assert process.returncode == 0 and sorted(rows(tmp_path / name)) == list(range(1, 801))


def test_the_command_ends_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[[points]]\nkind = "gemm"\nm = {from = 1, to = 5000}\nn = 8\nk = 8\ndtype = "fp32"\n')
    command = [sys.executable, "-m", "shapewright.measure", str(plan), "--out", str(tmp_path / "run.jsonl"), "--device", "cpu"]
    process = interruptible(command)
    until = time.monotonic() + 30
    while not rows(tmp_path / "run.jsonl") and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and b"go on with: python -m shapewright.measure" in stderr and b"Traceback" not in stderr
    assert rows(tmp_path / "run.jsonl")
