"""A sweep to be killed: `driver.py RUN ACKNOWLEDGED NUM_POINTS SECONDS_A_POINT|real`

Appends the m of every row to ACKNOWLEDGED once the row is acknowledged. `real` measures with the real worker on the CPU.
"""

from __future__ import annotations

import os
import sys

import fake_worker
from shapewright.measure.executor import execute
from shapewright.measure.points import GemmPoint
from shapewright.measure.store import Run


def main() -> None:
    path, acknowledged, count, worker = sys.argv[1:]
    points = [GemmPoint(m=m, n=8, k=8, dtype="fp32") for m in range(1, int(count) + 1)]
    descriptor = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    command = None if worker == "real" else fake_worker.command(float(worker))
    with Run.open(path) as run:
        execute(points, run, device="cpu", on_row=lambda row: os.write(descriptor, f"{row['m']}\n".encode()), worker_command=command)


if __name__ == "__main__":
    main()
