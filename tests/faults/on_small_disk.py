"""Fills the small disk under a folder with a sweep, checks what is there, makes room and goes on: `on_small_disk.py FOLDER`"""

from __future__ import annotations

import sys
from pathlib import Path

import fake_worker
from shapewright.errors import InputError
from shapewright.measure.executor import execute
from shapewright.measure.points import GemmPoint
from shapewright.measure.store import Run, read_run


def swept(path: Path, points: list[GemmPoint], known: list[int]) -> None:
    with Run.open(path) as run:
        execute(points, run, worker_command=fake_worker.command(), on_row=lambda row: known.append(row["m"]))


def main() -> None:
    path, ballast = Path(sys.argv[1]) / "run.jsonl", Path(sys.argv[1]) / "ballast"
    points = [GemmPoint(m=m, n=8, k=8) for m in range(1, 601)]
    ballast.write_bytes(b"x" * 130_000)
    known: list[int] = []
    try:
        swept(path, points, known)
    except InputError as error:
        assert f"the disk is full; its {len(known)} rows are safe" in str(error), error
    else:
        raise AssertionError("the disk did not fill up")
    assert [row["m"] for row in read_run(path).rows] == known and known and read_run(path).notes == ()
    ballast.unlink()
    swept(path, points, known)
    assert sorted(known) == sorted(row["m"] for row in read_run(path).rows) == [point.m for point in points]
    print("resumed")


if __name__ == "__main__":
    main()
