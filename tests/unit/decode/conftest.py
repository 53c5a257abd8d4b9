"""Kernels of these tests run in Triton's interpreter, on the CPU.

Triton reads TRITON_INTERPRET when a kernel is decorated, its own library's functions among them: the variable has to stand before
anything imports triton, and then holds for the whole process. `tests/conftest.py`, the first file of ours that a process of pytest reads
(a worker of xdist too), sets it where the machine has no GPU. On a machine with one, kernels are compiled in this process and `tests/gpu`
compares them there: what is here is then skipped, unless whoever starts pytest sets the variable. What needs the compiler and no GPU runs
in a process of its own (`compiling.py`).
"""

from __future__ import annotations

import importlib.util
import os

import pytest

# Triton has wheels for Linux alone; the modules here import it, through the step, when they are collected.
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["*"]


@pytest.fixture(autouse=True)
def _interpreted(request: pytest.FixtureRequest) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1" and request.node.path.name != "test_compiles.py":
        pytest.skip("kernels are compiled in this process; TRITON_INTERPRET=1 runs these tests in the interpreter")
