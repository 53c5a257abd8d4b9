"""A few rows on the matrix units, in the interpreter, against float64: rows that fill no tile, sizes that no tile divides, k split."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shapewright.decode.tile import Tile
from unit.decode.kernels.plain import Case, check_product

SMALL = Tile(kernel="flat", block_m=8, block_n=16, block_k=16, stages=2)
SPLIT = Tile(kernel="flat", block_m=8, block_n=16, block_k=16, splits=2, stages=2)
CHAINED = Tile(kernel="flat", block_m=8, block_n=16, block_k=64, stages=2, chains=4, late=True)
DTYPES = [torch.float32, torch.float16]


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 3), (15, 16), (16, 32), (17, 33), (33, 15)])
@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
def test_sizes(tile: Tile, n: int, k: int) -> None:
    """With k below one tile, the second range of a split is empty."""
    check_product(Case(n=(n,), k=k, rows=2), tile)


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 17])
def test_rows(rows: int, tile: Tile) -> None:
    check_product(Case(n=(19,), rows=rows, norm="rms", residual=True, bias=True), tile)


@pytest.mark.parametrize("splits", [1, 2, 4, 8])
@pytest.mark.parametrize("k", [37, 64, 129])
def test_splits(k: int, splits: int) -> None:
    """Ranges that are even, uneven and empty; sums are added in order, so that a second run repeats every bit."""
    check_product(Case(n=(9,), k=k, rows=3, norm="rms", bias=True), Tile(kernel="flat", block_m=8, block_n=16, block_k=16, splits=splits))


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_parts_of_different_sizes(norm: str | None, dtype: torch.dtype, tile: Tile) -> None:
    check_product(Case(n=(35, 5, 6), rows=3, epilogue="qkv", norm=norm, bias=True, dtype=dtype), tile)


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_gated(norm: str | None, bias: bool, dtype: torch.dtype, tile: Tile) -> None:
    check_product(Case(n=(21, 21), rows=3, epilogue="gated", norm=norm, activation="silu", bias=bias, dtype=dtype), tile)


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("activation", ["none", "silu", "relu", "gelu", "gelu_tanh"])
def test_activations(activation: str, tile: Tile) -> None:
    check_product(Case(rows=2, epilogue="activation", activation=activation, bias=True), tile)


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("shape", [(13, 37), (16, 32), (3, 5)])
def test_transposed(shape: tuple[int, int], tile: Tile) -> None:
    n, k = shape
    check_product(Case(n=(n,), k=k, rows=2, transposed=True, bias=True, residual=True, norm="layer"), tile)


@pytest.mark.parametrize(
    "tile",
    [
        Tile(kernel="flat", block_m=16, block_n=32, block_k=32, splits=2, stages=3),
        Tile(kernel="flat", block_m=8, block_n=64, block_k=64, stages=4),
        Tile(kernel="flat", block_m=32, block_n=16, block_k=16, splits=4),
    ],
    ids=lambda tile: f"{tile.block_m}x{tile.block_n}x{tile.block_k}",
)
def test_tiles(tile: Tile) -> None:
    check_product(Case(n=(40, 7, 7), k=70, rows=19, epilogue="qkv", norm="rms"), tile)


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("k", [1, 15, 64, 70, 129, 192])
@pytest.mark.parametrize("is_gated", [False, True], ids=["one", "gated"])
def test_chains(is_gated: bool, k: int, splits: int) -> None:
    """Each takes its columns of every tile; of the last tile some may have none."""
    parts = {"n": (19, 19), "epilogue": "gated", "activation": "silu"} if is_gated else {"n": (19,), "residual": True}
    check_product(Case(k=k, rows=3, norm="rms", bias=True, **parts), replace(CHAINED, splits=splits))  # type: ignore[arg-type]


@pytest.mark.parametrize("tile", [SMALL, SPLIT], ids=["whole", "split"])
def test_squares_that_overflow_fp16(tile: Tile) -> None:
    """They are summed in fp32."""
    check_product(Case(rows=2, norm="rms", dtype=torch.float16, x_scale=300.0), tile)


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("is_gated", [False, True], ids=["one", "gated"])
@pytest.mark.parametrize(("n", "k"), [(32, 64), (32, 80), (19, 64)], ids=["even", "uneven k", "uneven n"])
def test_tiles_that_divide_and_that_do_not(n: int, k: int, is_gated: bool, splits: int) -> None:
    """Loads without a mask where nothing lies past an end."""
    parts = {"n": (n, n), "epilogue": "gated", "activation": "silu"} if is_gated else {"n": (n,), "residual": True}
    check_product(Case(k=k, rows=3, norm="rms", **parts), replace(SMALL, splits=splits))  # type: ignore[arg-type]
