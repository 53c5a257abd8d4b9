"""A few rows straight into the matrix units, in the interpreter, against float64: columns reordered, operands either way round."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shapewright.decode import products
from shapewright.decode.tile import Tile
from unit.decode.kernels.plain import Case, check_product

SMALL = Tile(kernel="direct", block_n=16, stages=2, warps=1)
NARROW = Tile(kernel="direct", block_n=8, stages=2, warps=1)
TILES = pytest.mark.parametrize("tile", [SMALL, NARROW], ids=["16 outputs", "8 outputs"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])


@TILES
@pytest.mark.parametrize("rows", [1, 3, 8, 9, 16, 17])
def test_rows(rows: int, tile: Tile) -> None:
    """Up to 8 rows on the 8-wide side, more on the other; rows that fill no side."""
    check_product(Case(n=(32,), k=96, rows=rows, norm="rms", residual=True, bias=True), tile)


@pytest.mark.parametrize(
    ("rows", "block_n", "is_swapped", "block_m"),
    [(1, 16, True, 8), (8, 32, True, 8), (9, 16, False, 16), (3, 8, False, 16), (17, 16, False, 32)],
)
def test_which_way_round(rows: int, block_n: int, is_swapped: bool, block_m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    launch = products.launch
    monkeypatch.setattr(products, "launch", lambda *arguments: found.append(arguments[-1]) or launch(*arguments))
    check_product(Case(n=(32,), k=32, rows=rows), Tile(kernel="direct", block_n=block_n, stages=1, warps=1))
    assert [(options["SWAPPED"], options["BLOCK_M"]) for options in found] == [(is_swapped, block_m)]


@TILES
@pytest.mark.parametrize("stages", [1, 2, 3, 8])
@pytest.mark.parametrize("k", [32, 96, 160])
def test_tiles_on_their_way(k: int, stages: int, tile: Tile) -> None:
    """An odd number of tiles; more in registers than there are, and fewer."""
    check_product(Case(n=(16,), k=k, rows=2, norm="rms"), Tile(kernel="direct", block_n=tile.block_n, stages=stages, warps=1))


@TILES
@DTYPES
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_parts_of_different_sizes(norm: str | None, dtype: torch.dtype, tile: Tile) -> None:
    """A layer norm stands before the kernel."""
    check_product(Case(n=(48, 16, 32), k=64, rows=3, epilogue="qkv", norm=norm, bias=True, dtype=dtype), tile)


@TILES
@DTYPES
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [None, "rms"])
def test_gated(norm: str | None, bias: bool, dtype: torch.dtype, tile: Tile) -> None:
    case = Case(n=(32, 32), k=96, rows=3, epilogue="gated", norm=norm, activation="silu", bias=bias, dtype=dtype)
    check_product(case, tile)


@TILES
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_a_norm_apart(norm: str, tile: Tile) -> None:
    apart = Tile(kernel="direct", block_n=tile.block_n, stages=2, warps=1, norm_apart=True)
    check_product(Case(n=(32,), k=64, rows=9, norm=norm, residual=True), apart)


@pytest.mark.parametrize("warps", [2, 4])
@pytest.mark.parametrize("rows", [2, 9])
def test_warps_share_out_k(rows: int, warps: int) -> None:
    """Two tiles each, one of them on its way."""
    case = Case(n=(32,), k=64 * warps, rows=rows, norm="rms", residual=True, bias=True)
    check_product(case, Tile(kernel="direct", block_n=16, stages=1, warps=warps))


@TILES
@pytest.mark.parametrize("activation", ["none", "silu", "relu", "gelu", "gelu_tanh"])
def test_activations(activation: str, tile: Tile) -> None:
    check_product(Case(n=(16,), k=32, rows=2, epilogue="activation", activation=activation, bias=True), tile)


@TILES
def test_squares_that_overflow_fp16(tile: Tile) -> None:
    """They are summed in fp32, by the maker of x and by the norm before a product of fp16."""
    check_product(Case(n=(16,), k=64, rows=2, norm="rms", residual=True, dtype=torch.float16, x_scale=300.0), tile)
