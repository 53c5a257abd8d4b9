"""Products of every call, layout, order and format against float64 products of the same operands."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
import torch

from shapewright.measure.points import GemmPoint, Order
from shapewright.measure.runners import Bench, prepare
from unit.measure.benches import short_bench

#: Relative to the largest result: one rounding of the format and of sums of 24 terms.
TOLERANCE = {"fp32": 1e-6, "tf32": 1e-6, "fp16": 2e-3, "bf16": 1e-2, "fp8": 1e-2}


def flat_operands(point: GemmPoint, bench: Bench, copy: int = 0) -> tuple[Any, Any]:
    """The numbers behind x and w in memory order, in float64."""
    sizes = [point.batch * point.m * point.k, point.batch * point.k * point.n]
    x, w = bench.operands.take(sizes, point.dtype, copy)
    return x.double(), w.double()


def reference(point: GemmPoint, x: Any, w: Any) -> Any:
    """y[b,m,n] = x[b,m,k] w[b,k,n] in float64, stored as the layout says."""
    b, m, n, k = point.batch, point.m, point.n, point.k
    left = torch.einsum("bkm->bmk", x.view(b, k, m)) if point.layout == "TN" else x.view(b, m, k)
    right = torch.einsum("bnk->bkn", w.view(b, n, k)) if point.layout == "NT" else w.view(b, k, n)
    return torch.einsum("bmk,bkn->bmn", left, right)


def assert_close(found: Any, expected: Any, dtype: str) -> None:
    assert found.numel() == expected.numel()
    error = (found.double().reshape(expected.shape) - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", ["NT", "NN", "TN"])
@pytest.mark.parametrize(("call", "batch"), [("mm", 1), ("bmm", 1), ("bmm", 3)])
def test_every_layout(call: Any, batch: int, layout: Any, dtype: str) -> None:
    bench, point = short_bench(), GemmPoint(m=10, n=14, k=24, batch=batch, dtype=dtype, layout=layout, call=call)
    prepared = prepare(point, bench)
    assert len(prepared.calls) > 1
    for copy, run in enumerate(prepared.calls):
        assert_close(run(), reference(point, *flat_operands(point, bench, copy)), dtype)


@pytest.mark.parametrize("order", get_args(Order))
def test_three_dimensional_inputs_in_every_order(order: Any) -> None:
    bench, point = short_bench(), GemmPoint(m=12, n=14, k=24, call="linear", split=3, order=order, dtype="fp32")
    found = prepare(point, bench).calls[0]()
    assert found.shape == (3, 4, 14)
    x, w = flat_operands(point, bench)
    sizes = {"b": 3, "s": 4, "k": 24}
    expected = torch.zeros(3, 4, 14, dtype=torch.float64)
    lying = x.view(*(sizes[name] for name in order))
    for place in itertools.product(range(3), range(4)):
        at = dict(zip("bs", place, strict=True))
        row = lying[tuple(at.get(name, slice(None)) for name in order)]
        expected[place] = w.view(14, 24) @ row
    assert_close(found, expected, "fp32")


def test_linear_of_a_plain_input() -> None:
    bench, point = short_bench(), GemmPoint(m=12, n=14, k=24, call="linear")
    found = prepare(point, bench).calls[0]()
    assert found.shape == (12, 14)
    assert_close(found, reference(point, *flat_operands(point, bench)), "bf16")


@pytest.mark.parametrize("call", ["mm", "linear"])
def test_fp8_gives_bf16(call: Any) -> None:
    bench, point = short_bench(), GemmPoint(m=16, n=32, k=48, dtype="fp8", call=call)
    found = prepare(point, bench).calls[0]()
    assert found.dtype == torch.bfloat16
    assert_close(found, reference(point, *flat_operands(point, bench)), "fp8")


def test_compiled_products_are_the_same() -> None:
    bench, point = short_bench(), GemmPoint(m=10, n=14, k=24, runtime="compiled", dtype="fp32")
    assert_close(prepare(point, bench).calls[0](), reference(point, *flat_operands(point, bench)), "fp32")


def test_tf32_is_allowed_within_the_call_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are prepared and timed in any order, so the flag belongs to the call."""
    seen: list[bool] = []
    flags = torch.backends.cuda.matmul
    original = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, **kwargs: (seen.append(flags.allow_tf32), original(*args, **kwargs))[1])
    bench = short_bench()
    calls = [prepare(GemmPoint(m=8, n=8, k=8, dtype=dtype), bench).calls[0] for dtype in ("tf32", "fp32", "bf16")]
    before = flags.allow_tf32
    for call in calls:
        call()
        assert flags.allow_tf32 == before
    assert seen == [True, False, before]


def test_an_error_leaves_the_flag_as_it_was() -> None:
    from shapewright.measure.runners.precision import with_precision

    def fail() -> None:
        raise ValueError

    before = torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ValueError):
        with_precision(fail, "tf32")()
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_timing_of_a_product() -> None:
    bench = short_bench()
    timing = bench.clock.time(prepare(GemmPoint(m=8, n=8, k=8), bench))
    assert timing.num_copies == 3
    assert timing.method == "wall"
