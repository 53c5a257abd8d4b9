"""Attention by each backend and by separate kernels against a loop over queries in float64, and the gradients of both."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from shapewright.errors import InputError
from shapewright.measure.points import AttentionPoint
from shapewright.measure.runners import Bench, prepare
from unit.measure.benches import short_bench

BASE = {"batch": 2, "num_heads": 4, "num_kv_heads": 2, "query_len": 6, "kv_len": 6, "head_dim": 8, "dtype": "fp32"}
TOLERANCE = 1e-5


def point(**changes: Any) -> AttentionPoint:
    return AttentionPoint(**(BASE | changes))


def operands(of: AttentionPoint, bench: Bench) -> list[Any]:
    """q, k, v and the gradient (b, a, s, d) in float64, from memory (b, s, a, d); unfused from (s, b, a, d)."""
    queries = of.batch * of.query_len * of.num_heads * of.head_dim
    keys = of.batch * of.kv_len * of.num_kv_heads * of.head_dim
    sizes = [queries, keys, keys] + ([queries] if of.is_backward else [])
    found = []
    for flat, (length, heads) in zip(
        bench.operands.take(sizes, of.dtype, 0),
        [(of.query_len, of.num_heads), (of.kv_len, of.num_kv_heads), (of.kv_len, of.num_kv_heads), (of.query_len, of.num_heads)],
        strict=False,
    ):
        if of.backend == "unfused":
            found.append(flat.double().view(length, of.batch, heads, of.head_dim).permute(1, 2, 0, 3))
        else:
            found.append(flat.double().view(of.batch, length, heads, of.head_dim).permute(0, 2, 1, 3))
    return found


def reference(of: AttentionPoint, q: Any, k: Any, v: Any) -> Any:
    """Query i of q sees keys up to kv - q + i where it is causal."""
    result = []
    for head in range(of.num_heads):
        shared = head * of.num_kv_heads // of.num_heads
        for i in range(of.query_len):
            seen = of.kv_len - of.query_len + i + 1 if of.is_causal else of.kv_len
            scores = torch.einsum("bd,bsd->bs", q[:, head, i], k[:, shared, :seen]) / of.head_dim**0.5
            result.append(torch.einsum("bs,bsd->bd", scores.softmax(-1), v[:, shared, :seen]))
    return torch.stack(result, 1).view(of.batch, of.num_heads, of.query_len, of.head_dim)


def assert_close(found: Any, expected: Any) -> None:
    assert (found.double().reshape(expected.shape) - expected).abs().max() < TOLERANCE * expected.abs().max()


SHAPES = {
    "square": {}, "not causal": {"is_causal": False}, "decode": {"query_len": 1, "kv_len": 9}, "tail": {"query_len": 4, "kv_len": 9},
    "as many key heads": {"num_kv_heads": 4}, "one key head": {"num_kv_heads": 1},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["sdpa", "flash", "math", "unfused"])
def test_results(backend: str, shape: str) -> None:
    bench, of = short_bench(), point(backend=backend, **SHAPES[shape])
    found = prepare(of, bench).calls[0]()
    assert_close(found, reference(of, *operands(of, bench)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["sdpa", "flash", "math", "unfused"])
def test_gradients(backend: str, shape: str) -> None:
    bench, of = short_bench(), point(backend=backend, is_backward=True, **SHAPES[shape])
    call = prepare(of, bench).calls[0]
    *inputs, given = operands(of, bench)
    leaves = [each.clone().requires_grad_() for each in inputs]
    expected = torch.autograd.grad(reference(of, *leaves), leaves, given)
    for _ in range(2):  # the graph stays, so that the call can be repeated
        for found, wanted, leaf in zip(call(), expected, inputs, strict=True):
            if backend == "unfused":
                wanted = wanted.permute(0, 1, 2, 3).reshape(-1, *leaf.shape[2:])
            assert_close(found, wanted)


@pytest.mark.parametrize(("dtype", "is_allowed"), [("tf32", True), ("fp32", False)])
def test_gradients_are_made_with_the_precision_of_the_point(monkeypatch: pytest.MonkeyPatch, dtype: str, is_allowed: bool) -> None:
    flags = torch.backends.cuda.matmul
    call = prepare(point(dtype=dtype, backend="unfused", is_backward=True), short_bench()).calls[0]
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: flags.allow_tf32)
    flags.allow_tf32 = not is_allowed
    try:
        assert call() is is_allowed
        assert flags.allow_tf32 is not is_allowed
    finally:
        flags.allow_tf32 = False


def test_inputs_lie_as_projections_leave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: (seen.append((args, kwargs)), original(*args, **kwargs))[1],
    )
    prepare(point(), short_bench())
    (q, k, _), chosen = seen[0]
    assert (q.shape, q.stride()) == ((2, 4, 6, 8), (192, 8, 32, 1))
    assert (k.shape, k.stride()) == ((2, 2, 6, 8), (96, 8, 16, 1))
    assert (chosen["enable_gqa"], chosen["is_causal"], chosen["dropout_p"]) == (True, True, 0.0)


@pytest.mark.parametrize(("shape", "mask"), [("square", "causal"), ("decode", "none"), ("tail", "lower_right"), ("not causal", "none")])
def test_the_mask_is_named(shape: str, mask: str) -> None:
    assert prepare(point(**SHAPES[shape]), short_bench()).facts["mask"] == mask


@pytest.mark.parametrize("backend", ["efficient", "cudnn"])
@pytest.mark.parametrize("is_backward", [False, True])
def test_a_backend_that_refuses_fails_and_no_other_steps_in(backend: str, is_backward: bool) -> None:
    with warnings.catch_warnings(record=True) as leaked, pytest.raises(RuntimeError, match=f"the {backend} backend refuses") as caught:
        prepare(point(backend=backend, is_backward=is_backward), short_bench())
    assert leaked == []
    assert "\n" not in str(caught.value)


def test_the_reason_of_a_refusal_is_told() -> None:
    with pytest.raises(RuntimeError, match="do not support non-zero dropout"):
        prepare(point(backend="flash", has_dropout=True), short_bench())


def test_dropout_drops() -> None:
    bench, of = short_bench(), point(backend="unfused", has_dropout=True, query_len=64, kv_len=64)
    call = prepare(of, bench).calls[0]
    assert not torch.equal(call(), call())


def test_scores_count_towards_the_copies() -> None:
    bench, changes = short_bench(), {"query_len": 64, "kv_len": 64, "head_dim": 1}
    assert len(prepare(point(backend="flash", **changes), bench).calls) > len(prepare(point(backend="unfused", **changes), bench).calls)


def test_fp8_is_refused() -> None:
    with pytest.raises(InputError, match="fp8"):
        prepare(point(dtype="fp8"), short_bench())


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_unfused_softmax_runs_in_fp32_and_gives_the_dtype_back(dtype: str) -> None:
    bench, of = short_bench(), point(backend="unfused", dtype=dtype)
    found = prepare(of, bench).calls[0]()
    expected = reference(of, *operands(of, bench))
    assert str(found.dtype) == {"bf16": "torch.bfloat16", "fp16": "torch.float16"}[dtype]
    assert (found.double().reshape(expected.shape) - expected).abs().max() < 0.03
