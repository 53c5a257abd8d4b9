"""One row on the ordinary units, in the interpreter, against float64: sizes that no tile divides, every part and every epilogue."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shapewright.decode import products
from shapewright.decode.products import Scratch, product_calls
from shapewright.decode.tile import Tile
from unit.decode.kernels.plain import Case, check_product, drawn, error_of, operands_of, plain_product

SMALL = Tile(kernel="gemv", block_n=8, block_k=16, stages=2)


@pytest.mark.parametrize(
    ("n", "k"),
    [(1, 1), (1, 16), (5, 3), (7, 15), (8, 16), (9, 17), (16, 48), (13, 64), (17, 33)],
)
def test_sizes(n: int, k: int) -> None:
    """Fewer outputs than a tile, as many, one more; k below, at and past the end of a tile."""
    check_product(Case(n=(n,), k=k), SMALL)


@pytest.mark.parametrize(
    "tile",
    [
        Tile(kernel="gemv", block_n=1, block_k=64),
        Tile(kernel="gemv", block_n=2, block_k=16, stages=1),
        Tile(kernel="gemv", block_n=16, block_k=8, stages=4),
        Tile(kernel="gemv", block_n=4, block_k=8, stages=16),
        Tile(kernel="gemv", block_n=32, block_k=128, stages=3),
    ],
    ids=lambda tile: f"{tile.block_n}x{tile.block_k}x{tile.stages}",
)
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_tiles(tile: Tile, norm: str) -> None:
    """More tiles in flight than there are, and fewer."""
    check_product(Case(n=(12,), norm=norm, bias=True), tile)


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_rows(rows: int, norm: str | None, is_gated: bool) -> None:
    """Each with sums, a mean and a deviation of its own."""
    parts = {"n": (9, 9), "epilogue": "gated", "activation": "silu"} if is_gated else {"n": (9,), "residual": True}
    check_product(Case(k=37, rows=rows, norm=norm, **parts), Tile(kernel="gemv", block_n=4, block_k=16, stages=2))  # type: ignore[arg-type]


@pytest.mark.parametrize(("transposed", "block_k", "fold"), [(False, 16, 8), (False, 4, 4), (False, 1, 1), (True, 16, 1)])
def test_neighbours_that_one_thread_adds(transposed: bool, block_k: int, fold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight where they lie side by side, one by one where they do not."""
    folds = []

    def recorded(kernel: Any, grid: tuple[int, ...], arguments: tuple, options: dict) -> Any:
        folds.append(options["FOLD"])
        return launch(kernel, grid, arguments, options)

    launch = products.launch
    monkeypatch.setattr(products, "launch", recorded)
    case = Case(n=(12,), k=37, rows=2, norm="rms", bias=True, transposed=transposed)
    check_product(case, Tile(kernel="gemv", block_n=4, block_k=block_k, stages=2))
    assert folds == [fold]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_parts_of_different_sizes(norm: str | None, bias: bool, dtype: torch.dtype) -> None:
    """Queries, keys and values: the second and third part end amid a tile, and a tile never reaches into the next part."""
    check_product(Case(n=(19, 5, 6), rows=2, epilogue="qkv", norm=norm, bias=bias, dtype=dtype), SMALL)


def test_parts_that_tiles_divide() -> None:
    check_product(Case(n=(16, 8, 8), k=32, rows=2, epilogue="qkv", norm="rms"), SMALL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_gated(norm: str | None, bias: bool, dtype: torch.dtype) -> None:
    check_product(Case(n=(13, 13), rows=2, epilogue="gated", norm=norm, activation="silu", bias=bias, dtype=dtype), SMALL)


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("activation", ["none", "silu", "relu", "gelu", "gelu_tanh"])
def test_activations(activation: str, is_gated: bool) -> None:
    n = (11, 11) if is_gated else (11,)
    check_product(Case(n=n, epilogue="gated" if is_gated else "activation", activation=activation, norm="rms", bias=True), SMALL)


@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(13, 37), (16, 32), (3, 5)])
def test_transposed(shape: tuple[int, int], residual: bool, norm: str | None) -> None:
    n, k = shape
    check_product(Case(n=(n,), k=k, rows=2, transposed=True, bias=True, residual=residual, norm=norm), SMALL)


def test_a_layer_norm_without_bias() -> None:
    check_product(Case(norm="layer", has_norm_bias=False), SMALL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_residual_is_added_in_place(dtype: torch.dtype) -> None:
    check_product(Case(n=(21,), k=45, rows=3, residual=True, bias=True, dtype=dtype), SMALL)


@pytest.mark.parametrize(("dtype", "mean"), [(torch.float32, 300.0), (torch.float16, 30.0)])
def test_a_mean_far_from_the_deviation(dtype: torch.dtype, mean: float) -> None:
    """Within the product as in the norm's own kernel."""
    product = Case(n=(8,), k=37, norm="layer", has_norm_bias=False, dtype=dtype).product()
    x = (drawn(2, 37, seed=0) + mean).to(dtype)
    out = torch.full((2, 8), float("nan"), dtype=dtype)
    operands = operands_of(product, SMALL, x, out, Scratch(x.device, x.dtype), has_residual=False, programs=1)
    for call in product_calls(product, SMALL, operands):
        call()
    assert error_of(out, plain_product(product, x, None)) < (1e-4 if dtype == torch.float32 else 5e-3)


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_squares_that_overflow_fp16(norm: str) -> None:
    """They are summed in fp32."""
    check_product(Case(rows=2, norm=norm, dtype=torch.float16, x_scale=300.0), SMALL)
