"""Memory-bound operations as PyTorch runs them: `measure/memory_ops.py` names them and knows their bytes, this module calls them.

A tensor is (rows, width), contiguous, of the point's dtype; results are new tensors, as in models. `heads_copy` copies heads of up to 128
elements (rows, heads, d) to (heads, rows, d), `transpose_copy` the whole matrix; `rotary` turns rows of one head each (width = head size),
32 heads a token where they divide. `embedding` looks random tokens up in a table of `VOCABULARY` rows; `index_add` adds rows to random
ones. `runtime` compiled runs the same function through Inductor. `is_backward`: autograd's gradients alone (`backward.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..clock import Call, Prepared
from ..memory_ops import VOCABULARY, check_memory
from ..operands import torch_dtype
from ..points import MemoryPoint
from . import Bench
from .backward import backward_call
from .compiled import compiled

Function = Callable[..., Any]
#: What an operation takes: x, y (rows, width), weight (width), column (rows, 1), table (VOCABULARY, width), angles (tokens, width) twice,
#: tokens, labels and places (rows) of whole numbers. Others take x alone.
OPERANDS: dict[str, tuple[str, ...]] = {
    "add": ("x", "y"), "mul": ("x", "y"), "silu_mul": ("x", "y"), "pow_tensor": ("x", "y"), "mul_weight": ("x", "weight"),
    "mul_column": ("x", "column"), "rotary": ("x", "cos", "sin"), "embedding": ("table", "tokens"), "index_add": ("x", "y", "places"),
    "layer_norm": ("x", "weight", "bias"), "rms_norm": ("x", "weight"), "rms_norm_fused": ("x", "weight"), "cross_entropy": ("x", "labels"),
}  # fmt: skip
EPSILON = 1e-5
DROPOUT = 0.1
EXPONENT = 1.7
#: Heads a token of `rotary`, and the largest head of `heads_copy`.
NUM_HEADS, MAX_HEAD_DIM = 32, 128


def prepare(point: MemoryPoint, bench: Bench) -> Prepared:
    """One call a copy of the operands."""
    check_memory(point)
    function = functions()[point.op]
    if point.runtime == "compiled":
        function = compiled(function)
    dtype = "fp32" if point.op == "to_half" else point.dtype
    shapes = _shapes(point)
    sizes = [math.prod(shape) for shape in shapes.values()]
    if point.is_backward:
        sizes.append(point.rows * point.width)
    # Every look-up takes other rows of one table; its gradient writes the whole table, which leaves nothing in the cache.
    is_look_up = point.op == "embedding" and not point.is_backward
    read = [point.rows * point.width] if is_look_up else sizes
    copies = bench.operands.copies(read, dtype, element_bytes=torch_dtype(dtype).itemsize)
    calls: list[Call] = []
    table = bench.operands.take(sizes, dtype, 0) if is_look_up else None
    for copy in range(copies):
        flat = table or bench.operands.take(sizes, dtype, copy)
        found = {name: each.view(shape) for (name, shape), each in zip(shapes.items(), flat, strict=False)}
        operands = [found[name] if name in found else _whole_numbers(name, point, bench) for name in _names(point)]
        gradient = flat[-1].view(point.rows, point.width) if point.is_backward and point.op != "cross_entropy" else None
        calls.append(_call(function, _fitted(point, operands), gradient, point, bench))
    return Prepared(calls=calls)


def _call(function: Function, operands: list[Any], gradient: Any, point: MemoryPoint, bench: Bench) -> Call:
    if point.is_backward:
        return backward_call(function, operands, None if gradient is None else _fitted(point, [gradient])[0], bench)
    return lambda: function(*operands)


def _names(point: MemoryPoint) -> tuple[str, ...]:
    return OPERANDS.get(point.op, ("x",))


def _shapes(point: MemoryPoint) -> dict[str, tuple[int, ...]]:
    """Shapes of the operands of real numbers."""
    rows, width = point.rows, point.width
    tokens = rows // _num_heads(point)
    known = {
        "x": (rows, width), "y": (rows, width), "weight": (width,), "bias": (width,), "column": (rows, 1), "table": (VOCABULARY, width),
        "cos": (tokens, width), "sin": (tokens, width),
    }  # fmt: skip
    return {name: known[name] for name in _names(point) if name in known}


def _whole_numbers(name: str, point: MemoryPoint, bench: Bench) -> Any:
    """Random tokens, labels or places of the rows."""
    import torch

    limit = {"tokens": VOCABULARY, "labels": point.width, "places": point.rows}[name]
    return torch.randint(limit, (point.rows,), device=bench.device.name)


def _head_dim(width: int) -> int:
    """Elements of a head: the largest power of two up to `MAX_HEAD_DIM` that gives two heads at least; 1 of an odd width."""
    found = math.gcd(width, MAX_HEAD_DIM)
    return found if found < width else max(1, width // 2)


def _num_heads(point: MemoryPoint) -> int:
    return NUM_HEADS if point.rows % NUM_HEADS == 0 else 1


def _fitted(point: MemoryPoint, operands: list[Any]) -> list[Any]:
    """Operands in the shape that the operation walks: rotary's (heads, tokens, d) over memory (tokens, heads, d)."""
    if point.op == "rotary":
        heads = operands[0].view(-1, _num_heads(point), point.width).transpose(0, 1)
        return [heads, *operands[1:]]
    if point.op == "heads_copy":
        return [operands[0].view(point.rows, -1, _head_dim(point.width))]
    if point.op == "to_half":  # an empty tensor tells the function which format
        return [operands[0], operands[0].new_empty(0, dtype=torch_dtype(point.dtype))]
    return operands


def functions() -> Mapping[str, Function]:
    """Every operation by name."""
    import torch

    return {**_pointwise(torch), **_moved(torch), **_by_rows(torch)}


def _pointwise(torch: Any) -> dict[str, Function]:
    nn = torch.nn.functional

    def gelu_new(x: Any) -> Any:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))

    return {
        "add": torch.add,
        "mul": torch.mul,
        "mul_weight": torch.mul,
        "mul_column": torch.mul,
        "gelu": nn.gelu,
        "gelu_new": gelu_new,
        "silu": nn.silu,
        "silu_mul": lambda gate, up: nn.silu(gate) * up,
        "relu": nn.relu,
        "dropout": lambda x: nn.dropout(x, DROPOUT, training=True),
        "to_fp32": lambda x: x.float(),
        "to_half": lambda x, like: x.to(like.dtype),
        "pow": lambda x: torch.pow(x, EXPONENT),
        "pow_tensor": torch.pow,
    }


def _moved(torch: Any) -> dict[str, Function]:
    nn = torch.nn.functional

    def rotary(x: Any, cos: Any, sin: Any) -> Any:
        half = x.shape[-1] // 2
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin

    return {
        "copy": torch.clone,
        "fill": lambda x: torch.full_like(x, 1.0),
        "transpose_copy": lambda x: x.t().clone(memory_format=torch.contiguous_format),
        "heads_copy": lambda x: x.transpose(0, 1).clone(memory_format=torch.contiguous_format),
        "cat": lambda x: torch.cat(x.chunk(2, dim=-1), dim=-1),
        "rotary": rotary,
        "embedding": lambda table, tokens: nn.embedding(tokens, table),
        "index_add": lambda x, y, places: x.index_add_(0, places, y, alpha=0.0),
    }


def _by_rows(torch: Any) -> dict[str, Function]:
    nn = torch.nn.functional

    def rms_norm(x: Any, weight: Any) -> Any:
        wide = x.to(torch.float32)
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)).to(x.dtype)

    return {
        "layer_norm": lambda x, weight, bias: nn.layer_norm(x, weight.shape, weight, bias, EPSILON),
        "rms_norm": rms_norm,
        "rms_norm_fused": lambda x, weight: nn.rms_norm(x, weight.shape, weight, EPSILON),
        "softmax": lambda x: torch.softmax(x, dim=-1),
        "cross_entropy": lambda x, labels: nn.cross_entropy(x.float(), labels),
        "mean_rows": lambda x: x.mean(-1),
        "sum_columns": lambda x: x.sum(0),
    }
