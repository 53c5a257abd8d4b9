"""Matrix products y[b,m,n] = x[b,m,k] w[b,k,n]: `torch.mm`, `F.linear` (2-D or 3-D input), `torch.bmm`, fp8 by `torch._scaled_mm`.

Layout NT stores w as n x k, NN as k x n; TN stores x as k x m (the weight gradient). `mm` and `bmm` write into one output, so that only the
product is timed; `linear` allocates its own, as models do. fp8 operands are e4m3 with one scale a tensor and give bf16.
`runtime` compiled runs the same call through `torch.compile`, which may pad it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..clock import Call, Prepared
from ..operands import torch_dtype
from ..points import GemmPoint
from . import Bench
from .compiled import compiled
from .precision import with_precision

Function = Callable[..., Any]


def prepare(point: GemmPoint, bench: Bench) -> Prepared:
    """One call a copy of the operands."""
    sizes = [point.batch * point.m * point.k, point.batch * point.k * point.n]
    copies = bench.operands.copies(sizes, point.dtype, element_bytes=torch_dtype(point.dtype).itemsize)
    function = compiled(_function(point, bench)) if point.runtime == "compiled" else _function(point, bench)
    function = with_precision(function, point.dtype)
    calls = [_call(function, _operands(point, bench.operands.take(sizes, point.dtype, copy))) for copy in range(copies)]
    return Prepared(calls=calls)


def _call(function: Function, operands: Sequence[Any]) -> Call:
    return lambda: function(*operands)


def _operands(point: GemmPoint, flat: Sequence[Any]) -> tuple[Any, Any]:
    """x (b, m, k) and w (b, k, n) as the layout lays them out, without the batch where there is one product."""
    b, m, n, k = point.batch, point.m, point.n, point.k
    if point.call == "linear":
        return (_split(point, flat[0]) if point.split else flat[0].view(m, k)), flat[1].view(n, k)
    left = flat[0].view(b, k, m).transpose(1, 2) if point.layout == "TN" else flat[0].view(b, m, k)
    right = flat[1].view(b, n, k).transpose(1, 2) if point.layout == "NT" else flat[1].view(b, k, n)
    return (left, right) if point.call == "bmm" else (left[0], right[0])


def _split(point: GemmPoint, flat: Any) -> Any:
    """A (b, s, k) view of numbers that lie in memory in the point's order."""
    sizes = {"b": point.split, "s": point.m // point.split, "k": point.k}
    return flat.view(*(sizes[name] for name in point.order)).permute(*(point.order.index(name) for name in "bsk"))


def _function(point: GemmPoint, bench: Bench) -> Function:
    """x, w -> y."""
    import torch

    if point.dtype == "fp8":
        one = torch.ones((), device=bench.device.name)
        scaled = torch._scaled_mm  # type: ignore[reportPrivateImportUsage] # no public name yet
        if point.call == "linear":
            return lambda x, w: scaled(x.reshape(-1, point.k), w.t(), one, one, out_dtype=torch.bfloat16)
        return lambda x, w: scaled(x, w, one, one, out_dtype=torch.bfloat16)
    if point.call == "linear":
        return torch.nn.functional.linear
    multiply = torch.mm if point.call == "mm" else torch.bmm
    if point.runtime == "compiled":
        return lambda x, w: multiply(x, w)
    shape = (point.m, point.n) if point.call == "mm" else (point.batch, point.m, point.n)
    y = torch.empty(shape, device=bench.device.name, dtype=torch_dtype(point.dtype))
    return lambda x, w: multiply(x, w, out=y)
