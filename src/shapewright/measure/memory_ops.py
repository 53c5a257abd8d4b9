"""Memory-bound operations by name: the kernels that PyTorch runs for each, with the bytes that they move. No torch here.

A kernel is (pattern, bytes read, bytes written) for each element of a tensor of `rows` x `width`; statistics of a few bytes a row are not
counted, their kernels are. Kernels are those that transformers 5.17 ran on an H200 (PyTorch 2.11, bf16; benchmarks/h200/layers), as in
`operators/`. Compiled code makes one pass of a chain. `work_of(point)` is what a predictor is asked for; `runners/memory.py` runs the same
names.

Patterns that stand for serving frameworks' own kernels (`row_norm`, `row_layer_norm`, `row_activation`) have no operation in PyTorch;
`optimizer` has a kind of point of its own. Errors: an unknown operation, a backward pass or compiled form that it lacks, fp8: `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..dtypes import load_dtype
from ..errors import InputError, unknown_name
from ..operators.embedding import SMALL_INDEX, gather_of
from ..operators.scope import FP32_BYTES, INDEX_BYTES, MASK_BYTES, Kernel, chain
from ..operators.types import MemoryChain, MemoryPass, Pattern
from .points import MemoryPoint

#: Rows of the table that `embedding` looks up.
VOCABULARY = 32768
#: Small kernels that sort the tokens before the gradient of a table is added up, and the bytes that they move for each token.
SORT_KERNELS, SORT_BYTES = 20, 16
#: Longest row of a softmax that a warp takes.
WARP_ROW_BYTES = 4096
#: Patterns without an operation in PyTorch: kernels of serving frameworks, and what another kind of point measures.
ELSEWHERE: tuple[Pattern, ...] = ("row_norm", "row_layer_norm", "row_activation", "optimizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of an element of the point's dtype, and of fp32 numbers that stand once a row or once a column, for each element."""

    size: int
    rows: int
    width: int

    @property
    def per_row(self) -> float:
        return 1.0 / self.width

    @property
    def per_column(self) -> float:
        return 1.0 / self.rows

    @property
    def row(self) -> float:
        """An fp32 number a row."""
        return FP32_BYTES / self.width


Kernels = Callable[[Sizes], list[Kernel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOp:
    """Kernels of an operation going forward and backward; compiled ones are None where compiling changes nothing worth a row."""

    forward: Kernels
    backward: Kernels | None = None
    compiled: Kernels | None = None
    compiled_backward: Kernels | None = None
    by_rows: bool = False
    """Whether a block takes a row, so that rows and their width decide the time."""


def _tensors(*reads: int) -> Kernels:
    """Elementwise kernels that read so many tensors each and write one."""
    return lambda s: [("elementwise", count * s.size, s.size) for count in reads]


def _one(pattern: Pattern, reads: float = 1, writes: float = 1) -> Kernels:
    """One kernel that reads and writes so many tensors."""
    return lambda s: [(pattern, reads * s.size, writes * s.size)]


def _rms_norm(s: Sizes) -> list[Kernel]:
    """x -> fp32, square, mean, + eps, rsqrt, x * r, -> dtype, * weight."""
    middle: list[Kernel] = [
        ("elementwise", 4, 4), ("reduction", 4, s.row), ("elementwise", s.row, s.row), ("elementwise", s.row, s.row), ("broadcast", 4, 4),
    ]  # fmt: skip
    if s.size == FP32_BYTES:
        return [*middle, ("broadcast", 4, 4)]
    return [("upcast", s.size, 4), *middle, ("elementwise", 4, s.size), ("strided", s.size, s.size)]


def _rms_norm_backward(s: Sizes) -> list[Kernel]:
    """Gradients of weight, product, root, mean and square, and their sum in fp32."""
    weight: list[Kernel] = [("strided", s.size, s.size), ("elementwise", 2 * s.size, s.size), ("reduction", s.size, 0)]
    root: list[Kernel] = [("elementwise", 8, 4), ("broadcast", 4, 4), ("reduction", 4, s.row), *[_tiny(s)] * 3]
    square: list[Kernel] = [
        ("strided", s.row, 4),
        ("elementwise", 4, 4),
        ("elementwise", 4, 4),
        ("elementwise", 8, 4),
        ("elementwise", 8, 4),
    ]
    if s.size == FP32_BYTES:
        return weight + root + square
    return [*weight, ("upcast", s.size, 4), *root, *square, ("elementwise", 4, s.size)]


def _tiny(s: Sizes) -> Kernel:
    return "elementwise", s.row, s.row


def _rotary(s: Sizes) -> list[Kernel]:
    """x cos, -x2, (-x2, x1), * sin, sum."""
    one: Kernel = ("strided", s.size, s.size)
    return [one, ("strided", s.size / 2, s.size / 2), ("concat", s.size, s.size), one, ("strided", 2 * s.size, s.size)]


def _rotary_backward(s: Sizes) -> list[Kernel]:
    """Gradients of both products; each half is written into zeros and added up. cos and sin have gradients here, which no model asks for:
    a product each, added up over the heads."""
    one: Kernel = ("strided", s.size, s.size)
    half: list[Kernel] = [("fill", 0, s.size), ("strided", s.size / 2, s.size / 2)]
    add: Kernel = ("elementwise", 2 * s.size, s.size)
    angles: list[Kernel] = [("strided", 2 * s.size, s.size), ("reduction", s.size, 0)] * 2
    return [one, ("strided", s.size / 2, s.size / 2), *half, *half, add, one, add, *angles]


def _cross_entropy(s: Sizes) -> list[Kernel]:
    """Logits to fp32, log-softmax, the label's."""
    up: list[Kernel] = [] if s.size == FP32_BYTES else [("upcast", s.size, 4)]
    return [*up, ("warp_softmax" if s.width * FP32_BYTES <= WARP_ROW_BYTES else "softmax", 4, 4), _pick(s)]


def _cross_entropy_backward(s: Sizes) -> list[Kernel]:
    """Zeros, -1 at the labels, gradient of the log-softmax, back to the dtype."""
    down: list[Kernel] = [] if s.size == FP32_BYTES else [("elementwise", 4, s.size)]
    own: Pattern = "warp_softmax_backward" if s.width * FP32_BYTES <= WARP_ROW_BYTES else "softmax_backward"
    return [("fill", 0, 4), _pick(s), (own, 8, 4), *down]


def _pick(s: Sizes) -> Kernel:
    """A label and its number a row."""
    return "gather", (INDEX_BYTES + FP32_BYTES) * s.per_row, FP32_BYTES * s.per_row


def _embedding_backward(s: Sizes) -> list[Kernel]:
    """Tokens sorted, equal ones added up in fp32 and written into zeros of the whole table."""
    each = SORT_BYTES * s.per_row / SORT_KERNELS
    sort: list[Kernel] = [("scatter", each, each)] * SORT_KERNELS
    return [*sort, ("fill", 0, s.size * VOCABULARY / s.rows), ("scatter", s.size, 4), ("scatter", 4, s.size)]


def _norm_backward(s: Sizes) -> list[Kernel]:
    """The input's gradient, then the weight's."""
    return [("norm_backward", 2 * s.size, s.size), ("weight_gradient", 2 * s.size, 0)]


def _fused_norm_backward(s: Sizes) -> list[Kernel]:
    return [("elementwise", 2 * s.size, s.size), ("weight_gradient", 2 * s.size, 0)]


def _look_up(s: Sizes) -> list[Kernel]:
    return [(gather_of(s.rows), s.size, s.size)]


def _index_add(s: Sizes) -> list[Kernel]:
    return [("small_scatter" if s.rows <= SMALL_INDEX else "scatter", 2 * s.size, s.size)]


def _softmax(s: Sizes) -> list[Kernel]:
    """A warp takes a row of up to 2,048 16-bit elements (4 KB), a block a longer one."""
    return [("warp_softmax" if s.width * s.size <= WARP_ROW_BYTES else "softmax", s.size, s.size)]


def _softmax_backward(s: Sizes) -> list[Kernel]:
    """Gradient times result, and the sum of it taken off: two kernels, autograd's product and the softmax's own."""
    own: Pattern = "warp_softmax_backward" if s.width * s.size <= WARP_ROW_BYTES else "softmax_backward"
    return [("elementwise", 2 * s.size, s.size), (own, 2 * s.size, s.size)]


def _transpose(s: Sizes) -> list[Kernel]:
    """A whole matrix; one of few rows is written in nearly whole lines."""
    return [("transpose" if s.rows > SMALL_INDEX else "strided", s.size, s.size)]


def _product_with_column(s: Sizes) -> list[Kernel]:
    """fp32 rows scaled by a column are held back by index arithmetic as `broadcast` says; 16-bit ones go the way of `strided`."""
    return [("broadcast" if s.size == FP32_BYTES else "strided", s.size, s.size)]


_GELU_NEW = (1, 1, 1, 2, 1, 1, 1, 2), (2, 2, 2, 1, 1, 1, 1, 2, 2, 1, 2)
_POINTWISE = {
    "add": MemoryOp(forward=_tensors(2)),
    "mul": MemoryOp(forward=_tensors(2), backward=_tensors(2, 2)),
    "mul_weight": MemoryOp(forward=_one("strided")),
    "mul_column": MemoryOp(forward=_product_with_column),
    "gelu": MemoryOp(forward=_one("gelu"), backward=_one("gelu", 2)),
    "gelu_new": MemoryOp(
        forward=_tensors(*_GELU_NEW[0]), backward=_tensors(*_GELU_NEW[1]), compiled=_tensors(1), compiled_backward=_tensors(2)
    ),
    "silu": MemoryOp(forward=_one("silu"), backward=_tensors(2)),
    "silu_mul": MemoryOp(
        forward=lambda s: [("silu", s.size, s.size), *_tensors(2)(s)], backward=_tensors(2, 2, 2), compiled=_tensors(2),
        compiled_backward=_one("elementwise", 3, 2),
    ),
    "relu": MemoryOp(forward=_tensors(1), backward=_tensors(2)),
    "dropout": MemoryOp(
        forward=lambda s: [("dropout", s.size, s.size + MASK_BYTES)], backward=lambda s: [("elementwise", s.size + MASK_BYTES, s.size)]
    ),
    "to_fp32": MemoryOp(forward=lambda s: [("upcast", s.size, FP32_BYTES)]),
    "to_half": MemoryOp(forward=lambda s: [("elementwise", FP32_BYTES, s.size)]),
    "pow": MemoryOp(forward=_one("power")),
    "pow_tensor": MemoryOp(forward=_one("tensor_power", 2)),
}  # fmt: skip
_MOVED = {
    "copy": MemoryOp(forward=_one("copy")),
    "fill": MemoryOp(forward=_one("fill", 0)),
    "transpose_copy": MemoryOp(forward=_transpose),
    "heads_copy": MemoryOp(forward=_one("strided")),
    "cat": MemoryOp(forward=_one("flat_concat")),
    "rotary": MemoryOp(
        forward=_rotary, backward=_rotary_backward, compiled=_one("elementwise"), compiled_backward=_one("elementwise")
    ),
    "embedding": MemoryOp(forward=_look_up, backward=_embedding_backward, by_rows=True),
    "index_add": MemoryOp(forward=_index_add, by_rows=True),
}  # fmt: skip
_BY_ROWS = {
    "layer_norm": MemoryOp(
        forward=_one("norm"), backward=_norm_backward, compiled=_one("elementwise"), compiled_backward=_fused_norm_backward, by_rows=True
    ),
    "rms_norm": MemoryOp(
        forward=_rms_norm, backward=_rms_norm_backward, compiled=_one("elementwise"), compiled_backward=_fused_norm_backward, by_rows=True
    ),
    "rms_norm_fused": MemoryOp(forward=_one("rms_norm"), backward=_norm_backward, by_rows=True),
    "softmax": MemoryOp(forward=_softmax, backward=_softmax_backward, by_rows=True),
    "cross_entropy": MemoryOp(
        forward=_cross_entropy, backward=_cross_entropy_backward, compiled=_one("softmax", 1, 0), compiled_backward=_one("elementwise"),
        by_rows=True,
    ),
    "mean_rows": MemoryOp(forward=lambda s: [("reduction", s.size, s.size * s.per_row)]),
    "sum_columns": MemoryOp(forward=lambda s: [("column_sum", s.size, s.size * s.per_column)], by_rows=True),
}  # fmt: skip
#: Every operation by name.
MEMORY_OPS: dict[str, MemoryOp] = _POINTWISE | _MOVED | _BY_ROWS


def work_of(point: MemoryPoint) -> MemoryPass | MemoryChain:
    """What the kernels of `point` read and write."""
    op = check_memory(point)
    sizes = Sizes(size=load_dtype(point.dtype).size_bytes, rows=point.rows, width=point.width)
    kernels = (op.backward if point.is_backward else op.forward) if point.runtime == "eager" else _compiled(op, point)
    assert kernels is not None  # checked above
    return chain(point.rows * point.width, *kernels(sizes), rows=point.rows if op.by_rows else 0.0)


def check_memory(point: MemoryPoint) -> MemoryOp:
    """The operation of a point that can be run."""
    if point.op not in MEMORY_OPS:
        raise unknown_name("memory operation", point.op, MEMORY_OPS, field="op")
    op = MEMORY_OPS[point.op]
    if point.is_backward and op.backward is None:
        with_one = ", ".join(name for name, each in MEMORY_OPS.items() if each.backward)
        raise InputError(f"{point.op} has no backward pass to measure", hint=f"these have: {with_one}", field="is_backward")
    if point.runtime == "compiled" and _compiled(op, point) is None:
        with_one = ", ".join(name for name, each in MEMORY_OPS.items() if each.compiled)
        raise InputError(f"{point.op} is one kernel, compiled or not", hint=f"runtime compiled is for {with_one}", field="runtime")
    if point.dtype == "fp8":
        raise InputError("memory operations take no fp8", hint="use bf16, fp16 or fp32", field="dtype")
    if point.op in ("to_fp32", "to_half") and load_dtype(point.dtype).size_bytes == FP32_BYTES:
        raise InputError(f"{point.op} with dtype {point.dtype} changes nothing", hint="use bf16 or fp16", field="dtype")
    if point.op in ("cat", "rotary") and point.width % 2:
        raise InputError(f"{point.op} joins two halves: width {point.width} is odd", field="width")
    return op


def _compiled(op: MemoryOp, point: MemoryPoint) -> Kernels | None:
    return op.compiled_backward if point.is_backward else op.compiled
