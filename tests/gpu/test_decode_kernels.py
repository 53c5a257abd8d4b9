"""Kernels of decode compiled for the GPU that is here, at real sizes, against float64; a graph's 1,000 replays repeat every bit."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from gpu.decode_checks import checks  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted in this process"),
]


@pytest.mark.parametrize("name", checks() if torch.cuda.is_available() else ["every check"])
def test_kernels(name: str) -> None:
    with torch.no_grad():
        error, allowed = checks()[name]()
    assert error <= allowed
