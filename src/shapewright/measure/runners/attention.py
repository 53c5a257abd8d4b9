"""Attention y[b,a,q,d] = softmax(q k^T / sqrt(d)) v: SDPA as torch chooses, one of its backends, or separate kernels (`unfused`).

Fused: q, k, v lie in memory as (b, s, a, d), seen as (b, a, s, d), which is how projections leave them; `enable_gqa` where key heads are
fewer. The named backend runs or the point fails with torch's reasons; another one never steps in.
Unfused is Megatron-LM's sequence of kernels in plain PyTorch, memory (s, b, a, d): key heads repeated where they are shared, `baddbmm` with
the scale as its factor, the causal mask added, softmax in fp32 (as eager Hugging Face models: cast up, softmax, cast back), dropout,
`bmm`. Its result is (b a, q, d); no copy merges the heads.

Causal: each query sees the keys up to its own place counted from the end (bottom right), so one query alone needs no mask, and fewer
queries than keys take torch's lower-right bias where a GPU's `flash` and `efficient` know it, a matrix else. `is_backward` times
the backward pass alone. fp8 is refused: torch's kernels take 16 or 32 bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import InputError
from ..clock import Call, Prepared
from ..operands import torch_dtype
from ..points import AttentionPoint
from . import Bench
from .backward import backward_call
from .precision import with_precision

Function = Callable[[Any, Any, Any], Any]
DROPOUT = 0.1
#: `sdpa` leaves the choice to torch, as models do; the kernel's name in the row says what it took.
BACKENDS = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}


def prepare(point: AttentionPoint, bench: Bench) -> Prepared:
    """One call a copy of q, k, v (backward: and of the gradient); `facts` name the mask that was used."""
    if point.dtype == "fp8":
        raise InputError("attention takes no fp8", hint="queries and keys stay bf16 or fp16", field="dtype")
    queries, keys = (point.batch * count * point.head_dim for count in _tokens_by_heads(point))
    sizes = [queries, keys, keys] + ([queries] if point.is_backward else [])
    # A copy also keeps its scores (unfused, math): their bytes make operands cold and fill memory alike.
    scores = point.batch * point.num_heads * point.query_len * point.kv_len if point.backend in ("unfused", "math") else 1
    copies = bench.operands.copies([*sizes, scores], point.dtype, element_bytes=torch_dtype(point.dtype).itemsize)
    function = with_precision(_function(point, bench), point.dtype)
    calls = []
    for copy in range(copies):
        operands = _laid_out(point, bench.operands.take(sizes, point.dtype, copy))
        if copy == 0 and not point.is_backward and point.backend != "unfused":
            _explained(function, operands[:3], point)
        calls.append(_call(function, operands, point, bench))
    return Prepared(calls=calls, facts={"mask": _mask(point)})


def _tokens_by_heads(point: AttentionPoint) -> tuple[int, int]:
    return point.query_len * point.num_heads, point.kv_len * point.num_kv_heads


def _call(function: Function, operands: Sequence[Any], point: AttentionPoint, bench: Bench) -> Call:
    if not point.is_backward:
        return lambda: function(*operands)

    def once(*inputs: Any) -> Any:
        return _explained(function, inputs, point)

    return with_precision(backward_call(once, operands[:3], operands[3], bench), point.dtype)


def _laid_out(point: AttentionPoint, flat: Sequence[Any]) -> list[Any]:
    """q, k, v (and the result's gradient): (b, a, s, d) over memory (b, s, a, d), or unfused (b a, s, d) over (s, b, a, d)."""
    b, d = point.batch, point.head_dim
    places = [(point.query_len, point.num_heads), (point.kv_len, point.num_kv_heads), (point.kv_len, point.num_kv_heads)]
    sizes = (*places, places[0])
    if point.backend == "unfused":
        return [each.view(length, b * heads, d).transpose(0, 1) for each, (length, heads) in zip(flat, sizes, strict=False)]
    return [each.view(b, length, heads, d).transpose(1, 2) for each, (length, heads) in zip(flat, sizes, strict=False)]


def _mask(point: AttentionPoint) -> str:
    """none, causal (square) or lower_right (fewer queries than keys)."""
    if not point.is_causal or point.query_len == 1:
        return "none"
    return "causal" if point.query_len == point.kv_len else "lower_right"


def _function(point: AttentionPoint, bench: Bench) -> Function:
    return _unfused(point, bench) if point.backend == "unfused" else _fused(point, bench)


def _fused(point: AttentionPoint, bench: Bench) -> Function:
    """q, k, v -> y by the backend of the point and no other."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.bias import causal_lower_right

    backend = getattr(SDPBackend, BACKENDS[point.backend]) if point.backend in BACKENDS else None
    mask = _mask(point)
    bias = None
    if mask == "lower_right":
        is_known = bench.device.is_gpu and point.backend in ("sdpa", "flash", "efficient")
        bias = causal_lower_right(point.query_len, point.kv_len) if is_known else _bias(point, bench)
    chosen = {
        "attn_mask": bias, "is_causal": mask == "causal", "dropout_p": DROPOUT if point.has_dropout else 0.0,
        "enable_gqa": point.num_heads != point.num_kv_heads,
    }  # fmt: skip

    def attend(q: Any, k: Any, v: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, **chosen)

    def attend_by_backend(q: Any, k: Any, v: Any) -> Any:
        assert backend is not None
        with sdpa_kernel(backend):
            return attend(q, k, v)

    return attend if backend is None else attend_by_backend


def _explained(function: Function, operands: Sequence[Any], point: AttentionPoint) -> Any:
    """The result; a backend that refuses fails with the reasons that torch gives as warnings, on one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return function(*operands)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("No available kernel", "No viable backend")):
                raise
            reasons = [" ".join(str(each.message).split("(Triggered internally")[0].split()) for each in caught]
            text = " ".join(reasons) or " ".join(str(error).split())
            raise RuntimeError(f"the {point.backend} backend refuses this attention: {text}") from None


def _unfused(point: AttentionPoint, bench: Bench) -> Function:
    """q (b a, q, d), k and v (b a_kv, s, d) -> (b a, q, d) by separate kernels."""
    import torch

    dtype = torch_dtype(point.dtype)
    group, scale = point.num_heads // point.num_kv_heads, point.head_dim**-0.5
    unused = torch.empty(1, device=bench.device.name, dtype=dtype)  # times beta 0: baddbmm wants it
    bias = _bias(point, bench) if _mask(point) != "none" else None

    def run(q: Any, k: Any, v: Any) -> Any:
        if group > 1:
            k, v = (each.unsqueeze(1).expand(-1, group, -1, -1).reshape(-1, point.kv_len, point.head_dim) for each in (k, v))
        scores = torch.baddbmm(unused, q, k.transpose(1, 2), beta=0.0, alpha=scale)
        if bias is not None:
            scores = scores + bias
        shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(dtype)
        if point.has_dropout:
            shares = torch.nn.functional.dropout(shares, DROPOUT, training=True)
        return torch.bmm(shares, v)

    return run


def _bias(point: AttentionPoint, bench: Bench) -> Any:
    """(q, s): 0 where a query sees a key, minus infinity where it does not, aligned at the end."""
    import torch

    shape = (point.query_len, point.kv_len)
    hidden = torch.full(shape, float("-inf"), device=bench.device.name, dtype=torch_dtype(point.dtype))
    return hidden.triu(point.kv_len - point.query_len + 1)
