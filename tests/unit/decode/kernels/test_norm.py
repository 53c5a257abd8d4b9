"""A norm on its own, in the interpreter, against float64."""

from __future__ import annotations

import pytest
import torch

from shapewright.decode.layers import Norm
from shapewright.decode.products import Operands, Scratch, norm_call
from unit.decode.kernels.plain import TOLERANCES, drawn, error_of, plain_norm


def check_norm(norm: Norm, rows: int, *, scale: float = 1.0, shift: float = 0.0) -> None:
    k, dtype = norm.weight.numel(), norm.weight.dtype
    x = drawn(rows, k, seed=0, dtype=dtype) * scale + shift
    scratch = Scratch(x.device, dtype)
    room = scratch.normed_rows(rows + 1, k)
    room.fill_(float("nan"))
    norm_call(norm, Operands(x=x, out=x, scratch=scratch))()
    assert error_of(room[:rows], plain_norm(norm, x.double())) < TOLERANCES[dtype]
    assert room[rows].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("k", [1, 7, 64, 129])
@pytest.mark.parametrize("kind", ["rms", "layer", "layer without bias"])
def test_norms(kind: str, k: int, rows: int, dtype: torch.dtype) -> None:
    weight, bias = drawn(k, seed=1, dtype=dtype) + 1, drawn(k, seed=2, dtype=dtype) if kind == "layer" else None
    check_norm(Norm(kind="rms" if kind == "rms" else "layer", weight=weight, bias=bias, eps=1e-5), rows, shift=0.5)


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_squares_that_overflow_fp16(kind: str) -> None:
    check_norm(Norm(kind=kind, weight=torch.ones(40, dtype=torch.float16), eps=1e-5), 2, scale=1000.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "mean", "allowed"), [(torch.float32, 3000, 1e-3), (torch.float16, 30, 2e-3), (torch.float16, 1000, 2e-3)]
)
def test_a_mean_far_from_the_deviation(dtype: torch.dtype, mean: float, allowed: float) -> None:
    """A number of the row is taken off before squares are summed: E[x²] - E[x]² would leave nothing of a deviation of 1 around 3,000."""
    norm = Norm(kind="layer", weight=torch.ones(129, dtype=dtype), eps=1e-5)
    x = (drawn(2, 129, seed=0) + mean).to(dtype)
    assert error_of(normed(norm, x), plain_norm(norm, x.double())) < allowed


def test_the_number_taken_off_lies_far_out() -> None:
    """All of the variance is the first number's."""
    norm = Norm(kind="layer", weight=torch.ones(129), eps=1e-5)
    x = drawn(1, 129, seed=0) * 1e-2
    x[0, 0] = 500.0
    assert error_of(normed(norm, x), plain_norm(norm, x.double())) < 1e-4


def test_no_deviation_at_all() -> None:
    """What rounding leaves of a variance of 0 is not below it."""
    norm = Norm(kind="layer", weight=torch.ones(100, dtype=torch.float16), eps=1e-5)
    assert not normed(norm, torch.full((1, 100), 0.1, dtype=torch.float16)).any()


def normed(norm: Norm, x: torch.Tensor) -> torch.Tensor:
    scratch = Scratch(x.device, x.dtype)
    norm_call(norm, Operands(x=x, out=x, scratch=scratch))()
    return scratch.normed_rows(*x.shape)


def test_eps_alone_stands_under_the_root_of_zeros() -> None:
    norm = Norm(kind="rms", weight=torch.ones(8), eps=1e-5)
    x = torch.zeros(1, 8)
    scratch = Scratch(x.device, x.dtype)
    norm_call(norm, Operands(x=x, out=x, scratch=scratch))()
    assert not scratch.normed_rows(1, 8).any()
