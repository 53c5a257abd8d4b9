"""Products ready to launch, in the interpreter: the library's, norms that stand apart, scratch that products share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shapewright.decode.layers import Norm
from shapewright.decode.products import Handover, Operands, Product, Scratch, layer_products, product_calls, takes_constants, takes_handover
from shapewright.decode.tile import Tile
from unit.decode.kernels.plain import Case, check_product, drawn, error_of, made_constants, plain_product
from unit.decode.kernels.small import attention_of, decoder_of

LIBRARY = Tile(kernel="library")
GEMV = Tile(kernel="gemv", block_n=8, block_k=16, stages=2)
FLAT = Tile(kernel="flat", block_m=8, block_n=16, block_k=16, stages=2)
SPLIT = replace(FLAT, splits=2)
CASES = {
    "qkv": Case(n=(9, 4, 4), rows=3, epilogue="qkv", norm="rms", bias=True),
    "qkv in one": Case(n=(15,), rows=3, epilogue="qkv", norm="layer", bias=True, transposed=True),
    "residual": Case(rows=3, residual=True),
    "residual with a bias": Case(rows=3, residual=True, bias=True, transposed=True),
    "gated": Case(n=(7, 7), rows=3, epilogue="gated", norm="rms", activation="silu"),
    "activation": Case(rows=3, epilogue="activation", norm="layer", activation="gelu", bias=True),
    "activation without a bias": Case(rows=3, epilogue="activation", activation="gelu_tanh", transposed=True),
    "logits": Case(n=(41,), rows=3, epilogue="logits", norm="rms"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_the_librarys(name: str, dtype: torch.dtype) -> None:
    check_product(replace(CASES[name], dtype=dtype), LIBRARY)


@pytest.mark.parametrize("activation", ["none", "silu", "relu", "gelu", "gelu_tanh"])
def test_the_librarys_activations(activation: str) -> None:
    check_product(Case(epilogue="activation", activation=activation), LIBRARY)


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("tile", [GEMV, FLAT, SPLIT], ids=["gemv", "flat", "split"])
def test_a_norm_apart(tile: Tile, norm: str) -> None:
    """Two launches, the same result."""
    case = Case(n=(9, 4, 4), rows=2, epilogue="qkv", norm=norm, bias=True)
    check_product(case, replace(tile, norm_apart=True))
    assert len(calls_of(case, replace(tile, norm_apart=True))) == 2


@pytest.mark.parametrize(("tile", "norm", "num_launches"), [(GEMV, "rms", 2), (GEMV, "layer", 1), (FLAT, "rms", 2), (FLAT, "layer", 2)])
def test_launches(tile: Tile, norm: str, num_launches: int) -> None:
    """A layer norm stands before a flat product, which cannot fold it in; an RMS norm that nobody began before any."""
    product, x, scratch = Case(norm=norm).product(), torch.zeros(1, 37), Scratch(torch.device("cpu"), torch.float32)
    constants = made_constants(product, tile, scratch) if takes_constants(product, tile) else None
    calls = product_calls(product, tile, Operands(x=x, out=torch.zeros(1, product.outputs), scratch=scratch, constants=constants))
    assert len(calls) == num_launches


def test_a_layer_norm_without_its_constants_is_a_launch() -> None:
    assert len(calls_of(Case(norm="layer"), GEMV)) == 2


@pytest.mark.parametrize("tile", [GEMV, FLAT], ids=["gemv", "flat"])
def test_a_norm_that_was_begun_is_no_launch(tile: Tile) -> None:
    case = Case(norm="rms")
    before = Scratch(torch.device("cpu"), torch.float32).handover(Norm(kind="rms", weight=torch.ones(case.k), eps=0.0), case.rows, 5)
    assert len(calls_of(case, tile, before)) == 1


def calls_of(case: Case, tile: Tile, before: Handover | None = None) -> list:
    x = torch.zeros(case.rows, case.k)
    product = case.product()
    scratch = Scratch(x.device, x.dtype)
    operands = Operands(x=x, out=torch.zeros(case.rows, product.outputs), scratch=scratch, before=before)
    return product_calls(product, tile, operands)


BEGUN = Tile(kernel="flat", block_m=8, block_n=16, block_k=32, warps=1)


@pytest.mark.parametrize(
    ("change", "rows", "programs", "takes"),
    [
        ({}, 8, 256, True),
        ({}, 8, 257, False),  # 512 sums a row, rounded up, are too many for 32 threads
        ({"warps": 2}, 8, 257, True),
        ({}, 1, 257, False),  # padded to 8 rows as well
        ({"kernel": "direct", "warps": 8}, 1, 2048, True),
        ({"kernel": "direct", "warps": 8}, 9, 2048, False),
        ({"norm_apart": True}, 8, 2, False),
        ({"kernel": "library"}, 8, 2, False),
        ({"kernel": "gemv", "warps": 4}, 2, 4096, True),
        ({"kernel": "gemv", "warps": 4}, 4, 4096, False),
    ],
)
def test_who_takes_a_norm_from_the_maker_of_its_input(change: dict, rows: int, programs: int, takes: bool) -> None:
    assert takes_handover(Case(norm="rms").product(), replace(BEGUN, **change), rows, programs) == takes


def test_neither_fp16_nor_a_layer_norm_is_handed_over() -> None:
    """x · w could overflow, whatever w is stored in; a mean needs more than a sum of squares."""
    half = Case(norm="rms", dtype=torch.float16).product()
    assert half.norm is not None
    wide = replace(half, norm=replace(half.norm, weight=half.norm.weight.float()))
    assert not takes_handover(half, BEGUN, 1, 2)
    assert not takes_handover(wide, BEGUN, 1, 2)
    assert not takes_handover(Case(norm="layer").product(), BEGUN, 1, 2)
    assert not takes_handover(Case().product(), BEGUN, 1, 2)


def test_sizes_of_a_product() -> None:
    gated, qkv = CASES["gated"].product(), CASES["qkv"].product()
    assert (gated.n, gated.k, gated.outputs, gated.is_gated) == (14, 37, 7, True)
    assert (qkv.n, qkv.k, qkv.outputs, qkv.is_gated) == (17, 37, 17, False)
    assert CASES["qkv in one"].product().k == 37


def test_rows_out_of_a_wider_buffer() -> None:
    """The rows of `out` may lie further apart than they are wide; what lies between stays."""
    case = CASES["qkv"]
    product, x = case.product(), drawn(3, case.k, seed=0)
    for tile in (GEMV, FLAT, SPLIT, LIBRARY):
        wide = torch.full((3, 20), float("nan"))
        operands = Operands(x=x, out=wide[:, :17], scratch=Scratch(x.device, x.dtype))
        for call in product_calls(product, tile, operands):
            call()
        assert error_of(wide[:, :17], plain_product(product, x, None)) < 3e-6
        assert wide[:, 17:].isnan().all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_products_share_scratch_one_after_another(order: tuple[int, int]) -> None:
    """A second product that needs more of it leaves the first as it was, launched in either order, again and again."""
    small, large = Case(rows=2, norm="layer"), Case(n=(70,), k=90, rows=11, norm="layer")
    scratch = Scratch(torch.device("cpu"), torch.float32)
    launches = []
    for case in (small, large):
        product, x = case.product(), drawn(case.rows, case.k, seed=0)
        out = torch.empty(case.rows, product.outputs)
        launches.append((product, x, out, product_calls(product, SPLIT, Operands(x=x, out=out, scratch=scratch))))
    for index in (*order, *order):
        product, x, out, calls = launches[index]
        out.fill_(float("nan"))
        for call in calls:
            call()
        assert error_of(out, plain_product(product, x, None)) < 3e-6
    assert not scratch.counters.any()


def test_counters_for_more_programs_than_there_were() -> None:
    scratch = Scratch(torch.device("cpu"), torch.float32)
    sums, counters = scratch.split_sums(10, 5000)
    assert counters.numel() >= 5000
    assert not counters.any()
    assert sums.numel() >= 10


def test_weights_are_read_where_they_lie() -> None:
    """A change of the weight in place shows in the next launch: nothing was copied when the product was made."""
    product: Product = Case().product()
    x, out = drawn(1, 37, seed=0), torch.empty(1, 13)
    for tile in (GEMV, FLAT, LIBRARY):
        calls = product_calls(product, tile, Operands(x=x, out=out, scratch=Scratch(x.device, x.dtype)))
        product.parts[0].weight.mul_(-2)
        for call in calls:
            call()
        assert error_of(out, plain_product(product, x, None)) < 3e-6


def test_norms_after_products_of_a_layer() -> None:
    """A parallel block norms the sum of both its halves."""
    layer = decoder_of(attention_of(heads=2, head_dim=16)).layers[0]
    kinds = [(own.out.norm_after, own.down.norm_after) for own in map(layer_products, (layer, replace(layer, is_parallel=True)))]
    assert kinds == [("rms", "rms"), ("none", "rms")]
