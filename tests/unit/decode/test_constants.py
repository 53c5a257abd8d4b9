"""What products take from weights alone, in the interpreter, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shapewright.decode.constants import Constants
from shapewright.decode.products import Product, Scratch
from shapewright.decode.tile import Tile
from unit.decode.kernels.plain import Case, error_of

GEMV = Tile(kernel="gemv", block_n=8, block_k=16, stages=2)
CASES = {
    "one part": Case(n=(13,), norm="layer", bias=True),
    "three parts": Case(n=(9, 4, 5), epilogue="qkv", norm="layer", bias=True),
    "gate and up": Case(n=(11, 11), epilogue="gated", norm="layer", activation="silu", bias=True),
    "transposed": Case(n=(13,), norm="layer", transposed=True),
    "no bias of the norm": Case(n=(9, 4, 5), epilogue="qkv", norm="layer", has_norm_bias=False),
}


def expected(product: Product) -> Tensor:
    """`[1 or 2, Σ n_i]` in float64: W w, and W b without the product's own bias."""
    assert product.norm is not None
    rows = torch.stack([row.double() for row in (product.norm.weight, product.norm.bias) if row is not None])
    return torch.cat([rows @ (part.weight if part.transposed else part.weight.t()).double() for part in product.parts], 1)


def made(product: Product) -> Constants:
    constants = Constants(product, GEMV, Scratch(torch.device("cpu"), product.parts[0].weight.dtype))
    constants.values.fill_(float("nan"))
    constants.refresh()
    return constants


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_sums(name: str, dtype: torch.dtype) -> None:
    """In fp32, whatever the weights are in."""
    case = CASES[name]
    product = Case(**{each: getattr(case, each) for each in case.__dataclass_fields__} | {"dtype": dtype}).product()
    constants = made(product)
    assert constants.values.dtype == torch.float32
    assert error_of(constants.values, expected(product)) < 1e-6


def test_they_are_made_anew_where_they_lie() -> None:
    product = CASES["three parts"].product()
    constants = made(product)
    address = constants.values.data_ptr()
    product.parts[1].weight.mul_(-3)
    assert product.norm is not None
    product.norm.weight.add_(1)
    assert error_of(constants.values, expected(product)) > 1e-2
    constants.refresh()
    assert error_of(constants.values, expected(product)) < 1e-6
    assert constants.values.data_ptr() == address


def test_weights_that_want_gradients() -> None:
    product = CASES["one part"].product()
    assert product.norm is not None
    product.norm.weight.requires_grad_()
    product.parts[0].weight.requires_grad_()
    with torch.enable_grad():
        constants = made(product)
    assert not constants.values.requires_grad
    assert error_of(constants.values, expected(product).detach()) < 1e-6
