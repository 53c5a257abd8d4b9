"""Kernels compiled in other processes are found by the launch; for a GPU that is not there, with a driver that knows its name alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from .kernels.test_compiles import KERNELS, PROGRAM, run_program

CODE = """
import sys
sys.path.insert(0, {folder!r})
import compiling
import torch
import triton
from dataclasses import replace
from shapewright.decode import ahead
from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import Dispatch, Hardware, Table
from shapewright.decode.step import Step

triton.runtime.driver.set_active(ahead._stand_in("cuda", 90, 32))
found = []
triton.knobs.compilation.listener = lambda **given: found.append((given["metadata"]["name"], given["cache_hit"]))
decoder = compiling.decoder_of(compiling.MODELS["gpt2"], torch.float16)
hardware = Hardware(multiprocessors=132, is_nvidia=True, can_overlap=True)
steps = [Step(decoder, Buffers(decoder, batch, 64), Dispatch(hardware, Table())) for batch in (1, 2)]
launches = [launch for step in steps for launch in step.launches()]
wrong = replace(launches[0], options=launches[0].options | {{"num_warps": 3}})
ahead.compile_ahead([wrong, *launches])
for launch in launches:
    launch.kernel.warmup(*launch.arguments, grid=launch.grid, **launch.options)
print(sorted({{name for name, _ in found}}), all(is_hit for _, is_hit in found))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton.backends.nvidia") is None, reason="this Triton has no nvidia backend")
def test_what_is_compiled_ahead_is_found(tmp_path: Path) -> None:
    """All kernels of two steps but the one that no default takes; another that cannot be compiled stops nothing."""
    found = run_program("-c", CODE.format(folder=str(PROGRAM.parent)), cache=tmp_path).strip().split("\n")[-1]
    assert found == f"{sorted(KERNELS - {'direct_kernel'})} True"
