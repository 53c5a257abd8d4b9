"""The kernel of the ceiling against plain torch, in Triton's interpreter: every block is read, and read again from the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import torch
from shapewright.decode.bench_read_kernel import read, read_reference

source = torch.arange(3 * 2 * 16, dtype=torch.int32) ** 2
for block, tiles, programs in ((16, 2, 3), (16, 2, 8), (32, 1, 2), (16, 1, 7)):
    sums = torch.full((programs,), -1, dtype=torch.int32)
    read(source, sums, block=block, tiles=tiles, num_warps=4)
    assert torch.equal(sums, read_reference(source, programs, block=block, tiles=tiles)), (block, tiles, programs)
print("read")
"""


def test_the_kernel_reads_what_its_reference_reads() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False)
    assert found.stdout.strip() == "read", found.stderr
