"""Memory-bound operations: names, bytes and kernels of the table against what PyTorch dispatches, results against plain formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from shapewright.errors import InputError
from shapewright.measure.memory_ops import ELSEWHERE, MEMORY_OPS, SORT_KERNELS, VOCABULARY, work_of
from shapewright.measure.points import MemoryPoint
from shapewright.measure.runners import prepare
from shapewright.measure.runners.memory import functions
from shapewright.operators.types import MemoryChain, MemoryPass, Pattern
from unit.measure.benches import short_bench

ROWS, WIDTH = 32, 16
VIEWS = frozenset({
    "view", "transpose", "t", "expand", "unsqueeze", "slice", "detach", "permute", "split", "_unsafe_view", "alias", "select", "squeeze",
    "empty_like", "ones_like", "as_strided", "empty",
})  # fmt: skip
#: The CPU runs these by other kernels than a GPU.
OTHERWISE_ON_CPU = {
    ("layer_norm", True), ("rms_norm_fused", False), ("rms_norm_fused", True), ("embedding", True), ("rotary", True), ("dropout", False),
    ("dropout", True), ("fill", False), ("gelu_new", True), ("rms_norm", True), ("cross_entropy", True), ("cross_entropy", False),
    ("softmax", True),
}  # fmt: skip
BACKWARD = sorted(name for name, op in MEMORY_OPS.items() if op.backward)
EVERY = [(name, False) for name in sorted(MEMORY_OPS)] + [(name, True) for name in BACKWARD]


def point(op: str, **changes: Any) -> MemoryPoint:
    return MemoryPoint(**({"op": op, "rows": ROWS, "width": WIDTH} | changes))


def passes(work: MemoryPass | MemoryChain) -> tuple[MemoryPass, ...]:
    return work.passes if isinstance(work, MemoryChain) else (work,)


class Kernels(TorchDispatchMode):
    """Names of the operations that write memory."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name not in VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_the_table_and_the_calls_know_the_same_names() -> None:
    assert set(functions()) == set(MEMORY_OPS)


def test_every_pattern_has_an_operation() -> None:
    found = {each.pattern for name, is_backward in EVERY for each in passes(work_of(point(name, is_backward=is_backward)))}
    others = [replace(point("softmax", is_backward=each), width=4096) for each in (False, True)]
    others += [replace(point(name), rows=8) for name in ("embedding", "index_add")]
    for each in (*others, replace(point("mul_column"), dtype="fp32")):
        found |= {each.pattern for each in passes(work_of(each))}
    assert found | set(ELSEWHERE) == set(get_args(Pattern))
    assert not found & set(ELSEWHERE)


@pytest.mark.parametrize(("op", "is_backward"), [each for each in EVERY if each not in OTHERWISE_ON_CPU])
def test_kernels_are_those_that_run(op: str, is_backward: bool) -> None:
    of = point(op, is_backward=is_backward)
    call = prepare(of, short_bench()).calls[0]
    with Kernels() as found:
        call()
    assert len(found.names) == len(passes(work_of(of))), found.names


@pytest.mark.parametrize(("op", "is_backward"), EVERY)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_operation_is_timed(op: str, is_backward: bool, dtype: str) -> None:
    if dtype == "fp32" and op in ("to_fp32", "to_half"):
        pytest.skip("nothing to cast")
    bench, of = short_bench(), point(op, is_backward=is_backward, dtype=dtype)
    timing = bench.clock.time(prepare(of, bench))
    assert timing.method == "wall"
    work = work_of(of)
    assert work.bytes > 0
    assert all(each.read_bytes >= 0 and each.written_bytes >= 0 for each in passes(work))


def x_of(of: MemoryPoint, bench: Any, count: int = 1) -> list[Any]:
    """The first (rows, width) operands in float64."""
    sizes = [of.rows * of.width] * count
    return [each.double().view(of.rows, of.width) for each in bench.operands.take(sizes, of.dtype, 0)]


RESULTS = {
    "add": lambda x, y: x + y,
    "silu_mul": lambda x, y: x / (1 + torch.exp(-x)) * y,
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "softmax": lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True),
    "transpose_copy": lambda x: x.t(),
    "heads_copy": lambda x: torch.stack(list(x.view(ROWS, 2, WIDTH // 2).unbind(1))),
    "cat": lambda x: x,
    "mean_rows": lambda x: x.sum(1) / WIDTH,
    "sum_columns": lambda x: sum(x[row] for row in range(ROWS)),
    "to_fp32": lambda x: x,
    "fill": lambda x: torch.ones_like(x),
}


@pytest.mark.parametrize("op", RESULTS)
def test_results(op: str) -> None:
    formula, bench = RESULTS[op], short_bench()
    of = point(op, dtype="bf16" if op == "to_fp32" else "fp32")
    found = prepare(of, bench).calls[0]()
    expected = formula(*x_of(of, bench, formula.__code__.co_argcount))
    assert found.is_contiguous()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_norms_and_rotation() -> None:
    bench = short_bench()
    for op in ("layer_norm", "rms_norm", "rms_norm_fused"):
        of = point(op, dtype="fp32")
        sizes = [ROWS * WIDTH, WIDTH] + ([WIDTH] if op == "layer_norm" else [])
        x, weight, *bias = (each.double() for each in bench.operands.take(sizes, "fp32", 0))
        x = x.view(ROWS, WIDTH)
        centred = x - x.mean(-1, keepdim=True) if op == "layer_norm" else x
        expected = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * weight + (bias[0] if bias else 0)
        torch.testing.assert_close(prepare(of, bench).calls[0]().double(), expected, atol=1e-5, rtol=1e-5)
    x, cos, sin = bench.operands.take([ROWS * WIDTH, WIDTH, WIDTH], "fp32", 0)
    turned = prepare(point("rotary", dtype="fp32"), bench).calls[0]()
    assert turned.shape == (32, 1, WIDTH)
    half = torch.cat((-x.view(ROWS, 1, WIDTH)[..., WIDTH // 2 :], x.view(ROWS, 1, WIDTH)[..., : WIDTH // 2]), -1)
    torch.testing.assert_close(turned, x.view(ROWS, 1, WIDTH) * cos + half * sin)


def test_operands_are_never_changed() -> None:
    """The pool's numbers serve every point."""
    bench = short_bench()
    before = bench.operands.take([2**16], "bf16", 0)[0].clone()
    for op, is_backward in EVERY:
        for call in prepare(point(op, is_backward=is_backward), bench).calls:
            call()
    assert torch.equal(bench.operands.take([2**16], "bf16", 0)[0], before)


def test_bytes() -> None:
    elements = ROWS * WIDTH
    assert work_of(point("add")) == MemoryPass(pattern="elementwise", read_bytes=4 * elements, written_bytes=2 * elements)
    assert work_of(point("softmax", is_backward=True)).bytes == 12 * elements  # autograd's product first
    assert work_of(point("layer_norm", dtype="fp32")) == MemoryPass(
        pattern="norm", read_bytes=4 * elements, written_bytes=4 * elements, rows=ROWS
    )
    gradient = passes(work_of(point("embedding", is_backward=True)))
    assert sum(each.written_bytes for each in gradient if each.pattern == "fill") == 2 * VOCABULARY * WIDTH
    assert math.isclose(sum(each.read_bytes for each in gradient[:SORT_KERNELS]), 16 * ROWS)
    assert work_of(point("gelu_new", runtime="compiled")).bytes == 4 * elements < work_of(point("gelu_new")).bytes


BAD = {
    "unknown": ({"op": "softmaxx"}, "op"), "no backward": ({"op": "copy", "is_backward": True}, "is_backward"),
    "one kernel": ({"op": "add", "runtime": "compiled"}, "runtime"), "fp8": ({"op": "add", "dtype": "fp8"}, "dtype"),
    "fp32 to fp32": ({"op": "to_fp32", "dtype": "fp32"}, "dtype"), "odd rotary": ({"op": "rotary", "width": 15}, "width"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_is_refused_before(name: str) -> None:
    changes, field = BAD[name]
    for refuse in (work_of, lambda of: prepare(of, short_bench())):
        with pytest.raises(InputError) as caught:
            refuse(MemoryPoint(**({"rows": ROWS, "width": WIDTH} | changes)))
        assert caught.value.field == field


def test_compiled_forward_and_backward_agree_with_eager() -> None:
    bench = short_bench()
    for is_backward in (False, True):
        results = []
        for runtime in ("eager", "compiled"):
            call = prepare(point("silu_mul", dtype="fp32", is_backward=is_backward, runtime=runtime), bench).calls[0]
            call()
            results.append(call())
        eager, compiled = ((each,) if isinstance(each, torch.Tensor) else each for each in results)
        for one, other in zip(eager, compiled, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("width", [1, 2, 7, 128, 384])
def test_heads_are_always_copied(width: int) -> None:
    bench = short_bench()
    found = prepare(point("heads_copy", rows=1, width=width, dtype="fp32"), bench).calls[0]()
    assert torch.equal(found.flatten(), bench.operands.take([width], "fp32", 0)[0])
    assert found.data_ptr() != bench.operands.take([width], "fp32", 0)[0].data_ptr()


@pytest.mark.parametrize("op", sorted(set(MEMORY_OPS) - {"cross_entropy", "dropout"}))
def test_the_last_kernel_writes_the_result(op: str) -> None:
    """Leaves out a loss, which is one number, and dropout's mask."""
    result = prepare(point(op), short_bench()).calls[0]()
    assert passes(work_of(point(op)))[-1].written_bytes == result.numel() * result.element_size()


def test_look_ups_take_other_rows_of_one_table() -> None:
    calls = prepare(point("embedding", rows=4), short_bench()).calls
    found = [call() for call in calls]
    assert len(found) == 3
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[0], calls[0]())
