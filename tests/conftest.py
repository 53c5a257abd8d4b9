"""What all tests share: nobody's own profiles, and the option that rewrites the pages of the linter's rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shapewright.predict.profiles import FOLDER_VARIABLE

# No test sees the profiles that whoever runs it calibrated: only those that ship, unless a test sets a folder of its own.
os.environ[FOLDER_VARIABLE] = ""
# Threads of torch that wait for one another while other tests keep the cores busy make a layer forty times as long, or negative: one thread
# each, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# Triton reads this once and for the whole process, when something first imports it (transformers does): set here, before any test is
# collected, a kernel runs in the interpreter whatever was imported in which order. Where a GPU is, kernels are compiled, for tests/gpu.
if not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-lint", action="store_true", help="write what the linter prints now into tests/lint/*.md")
