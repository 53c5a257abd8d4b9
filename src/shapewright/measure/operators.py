"""Between the operators that `operators/lower` gives and the points that measure them, both ways. No torch here.

`points_of(operator)`: points whose times add up to one call of the operator; none where one GPU cannot measure it, and `why_not(operator)`
says why. `works_of(point)`: the work that a point measures, for whoever predicts it.

- products: `mm`, or `bmm` where there is a batch; experts are one `bmm` of the mean rows of those visited, or a loop of `mm`
- attention: SDPA as torch chooses, or one backend by name
- kernels bound by memory: for each the operation of the same pattern whose share of reads is nearest, as large as its bytes say
- the optimizer: fp32 AdamW, which moves 28 bytes a parameter as mixed precision does, in parts of at most `MAX_PARAMS`
"""

from __future__ import annotations

from ..dtypes import load_dtype
from ..operators.optimizer import launches_of
from ..operators.scope import FP32_BYTES, MASK_BYTES, Kernel, chain, chains
from ..operators.types import (
    Collective,
    FlashAttention,
    Gemm,
    GroupedGemm,
    Layout,
    MemoryChain,
    MemoryPass,
    Operator,
    Pattern,
    Work,
)
from ..units import ceil_div
from .memory_ops import ELSEWHERE, MEMORY_OPS, Sizes, work_of
from .points import (
    AttentionBackend,
    AttentionPoint,
    CollectivePoint,
    GemmPoint,
    MemoryPoint,
    OptimizerPoint,
    Point,
)

#: Operations that stand for a pattern.
STANDS_FOR: dict[Pattern, tuple[str, ...]] = {
    "elementwise": ("add", "relu"), "gelu": ("gelu",), "silu": ("silu",), "dropout": ("dropout",),
    "strided": ("heads_copy", "mul_weight"), "broadcast": ("mul_column",),
    "upcast": ("to_fp32",), "concat": ("cat",), "norm": ("layer_norm",), "norm_backward": ("layer_norm",), "softmax": ("softmax",),
    "reduction": ("sum_columns",), "gather": ("embedding",), "scatter": ("index_add",), "fill": ("fill",), "copy": ("copy",),
    "power": ("pow",), "tensor_power": ("pow_tensor",), "transpose": ("transpose_copy",), "flat_concat": ("cat",),
    "small_gather": ("embedding",), "small_scatter": ("index_add",), "rms_norm": ("rms_norm_fused",), "column_sum": ("sum_columns",),
    "weight_gradient": ("layer_norm",), "softmax_backward": ("softmax",), "warp_softmax": ("softmax",),
    "warp_softmax_backward": ("softmax",),
}  # fmt: skip
#: Patterns that only gradients have: their operations are run backward.
OF_BACKWARD: tuple[Pattern, ...] = ("norm_backward", "weight_gradient", "softmax_backward", "warp_softmax_backward")
#: Width of a row, in elements, where the operator does not say how many rows it has.
WIDTH = 4096
#: Parameters of one optimizer point: 16 bytes each stay within 9 GB.
MAX_PARAMS = 2**29
#: Bytes that one AdamW step moves for a parameter: fp32, or mixed precision with fp32 states.
STEP_BYTES = 28
#: Elements that a step moves for a parameter: weight, gradient and states in, all but the gradient out.
STEP_READS, STEP_WRITES = 4, 3


def points_of(operator: Operator, *, dtype: str = "bf16", backend: AttentionBackend = "sdpa") -> tuple[Point, ...]:
    """Points whose times add up to one call; `dtype` is that of activations, which memory-bound work does not name."""
    work = operator.work
    if why_not(operator):
        return ()
    if isinstance(work, Gemm):
        return (_product(work),)
    if isinstance(work, GroupedGemm):
        return _experts(work)
    if isinstance(work, FlashAttention):
        return (_attention(work, backend),)
    if isinstance(work, Collective):
        return (CollectivePoint(name=work.name, message_bytes=_whole(work.message_bytes), group_size=work.group_size, dtype=dtype),)
    return tuple(point for each in _passes(work) for point in _memory(each, load_dtype(dtype).output_bytes, dtype))


def why_not(operator: Operator) -> str:
    """Why one GPU (collectives: one node) cannot measure the operator, or nothing."""
    work = operator.work
    if isinstance(work, Gemm | GroupedGemm) and work.dtype == "fp8" and work.layout != "NT":
        return f"fp8 products run in layout NT, not {work.layout}"
    if isinstance(work, FlashAttention):
        if work.v_head_dim != work.qk_head_dim:
            return f"keys of {work.qk_head_dim} and values of {work.v_head_dim} elements: a point has one head size"
        if work.window is not None and work.window < work.kv_len:
            return f"a window of {work.window} tokens: torch's attention has none"
        if work.is_causal and work.query_len > work.kv_len:
            return "more queries than keys"
    if isinstance(work, Collective) and work.stride > 1:
        return "its GPUs are no neighbours"
    if isinstance(work, MemoryPass | MemoryChain):
        missing = [each.pattern for each in _passes(work) if each.pattern in ELSEWHERE and each.pattern != "optimizer"]
        return f"{missing[0]} kernels are not PyTorch's" if missing else ""
    return ""


def works_of(point: Point) -> tuple[Work, ...]:
    """What a point of a plain kind runs, one after another; nothing for a kind whose time is no operator's (host, layer, model)."""
    if isinstance(point, GemmPoint):
        return (Gemm(m=point.m, n=point.n, k=point.k, batch=point.batch, dtype=point.dtype, layout=point.layout),)
    if isinstance(point, AttentionPoint):
        return _attention_works(point)
    if isinstance(point, MemoryPoint):
        return (work_of(point),)
    if isinstance(point, OptimizerPoint):
        size = float(load_dtype(point.dtype).size_bytes * point.num_params)
        launches, chunks = launches_of(point.num_params, point.num_tensors)
        return (
            MemoryPass(
                pattern="optimizer", read_bytes=STEP_READS * size, written_bytes=STEP_WRITES * size, num_kernels=launches,
                rows=chunks / launches,
            ),
        )  # fmt: skip
    if isinstance(point, CollectivePoint):
        return (Collective(name=point.name, message_bytes=float(point.message_bytes), group_size=point.group_size),)
    return ()


def _product(work: Gemm) -> GemmPoint:
    call = "bmm" if work.batch > 1 else "mm"
    return GemmPoint(m=work.m, n=work.n, k=work.k, batch=work.batch, dtype=work.dtype, layout=work.layout, call=call)


def _experts(work: GroupedGemm) -> tuple[GemmPoint, ...]:
    """Rows and experts rounded to whole ones; wgrad (TN) contracts the rows."""
    experts, rows = max(1, round(work.num_active_groups)), max(1, round(work.rows_per_group))
    m, n, k = (work.n, work.k, rows) if work.layout == "TN" else (rows, work.n, work.k)
    if work.is_loop or work.dtype == "fp8":  # no batched fp8 product either
        return (_product(Gemm(m=m, n=n, k=k, dtype=work.dtype, layout=work.layout)),) * experts
    return (_product(Gemm(m=m, n=n, k=k, batch=experts, dtype=work.dtype, layout=work.layout)),)


def _attention(work: FlashAttention, backend: AttentionBackend) -> AttentionPoint:
    return AttentionPoint(
        batch=work.batch, num_heads=work.num_heads, num_kv_heads=work.num_kv_heads, query_len=work.query_len, kv_len=work.kv_len,
        head_dim=work.qk_head_dim, dtype=work.dtype, is_causal=work.is_causal, is_backward=work.is_backward,
        has_dropout=work.has_dropout, backend=backend,
    )  # fmt: skip


def _passes(work: MemoryPass | MemoryChain) -> tuple[MemoryPass, ...]:
    return work.passes if isinstance(work, MemoryChain) else (work,)


def _memory(work: MemoryPass, size: int, dtype: str) -> tuple[Point, ...]:
    """A point for each kernel of a pass."""
    if work.pattern == "optimizer":
        return _optimizer(work)
    is_wide = work.pattern == "broadcast" or (size == FP32_BYTES and work.pattern != "upcast")
    dtype = "fp32" if is_wide else dtype if dtype in ("bf16", "fp16") else "bf16"
    each, rows = work.bytes / work.num_kernels, work.rows
    name = min(STANDS_FOR[work.pattern], key=lambda op: abs(_read_share(op, work.pattern, dtype) - work.read_bytes / max(work.bytes, 1)))
    unit = _element_bytes(name, work.pattern, dtype)
    elements = max(1, round(each / unit))
    count = max(1, round(rows) if rows else elements // WIDTH)
    width = max(1, round(elements / count))
    width += width % 2 if name == "cat" else 0
    is_backward = work.pattern in OF_BACKWARD
    return (MemoryPoint(op=name, rows=count, width=width, dtype=dtype, is_backward=is_backward),) * work.num_kernels


def _kernels(op: str, pattern: Pattern, dtype: str) -> list[Kernel]:
    """What the operation runs in the direction that its pattern belongs to."""
    found = MEMORY_OPS[op]
    run = found.backward if pattern in OF_BACKWARD else found.forward
    assert run is not None
    return run(Sizes(size=load_dtype(dtype).size_bytes, rows=WIDTH, width=WIDTH))


def _element_bytes(op: str, pattern: Pattern, dtype: str) -> float:
    return sum(read + written for _, read, written in _kernels(op, pattern, dtype))


def _read_share(op: str, pattern: Pattern, dtype: str) -> float:
    return sum(read for _, read, _ in _kernels(op, pattern, dtype)) / _element_bytes(op, pattern, dtype)


def _optimizer(work: MemoryPass) -> tuple[OptimizerPoint, ...]:
    """Equal parts of a step, each small enough for a point."""
    params = max(1, round(work.bytes / STEP_BYTES))
    parts = ceil_div(params, MAX_PARAMS)
    each = ceil_div(params, parts)
    return (OptimizerPoint(num_params=each, num_tensors=min(16, each), dtype="fp32"),) * parts


def _attention_works(point: AttentionPoint) -> tuple[Work, ...]:
    if point.backend != "unfused":
        fused = FlashAttention(
            batch=point.batch, num_heads=point.num_heads, num_kv_heads=point.num_kv_heads, query_len=point.query_len, kv_len=point.kv_len,
            qk_head_dim=point.head_dim, v_head_dim=point.head_dim, dtype=point.dtype, is_causal=point.is_causal,
            is_backward=point.is_backward, has_dropout=point.has_dropout,
        )  # fmt: skip
        return (fused,)
    return _unfused_backward(point) if point.is_backward else _unfused_forward(point)


def _unfused_forward(point: AttentionPoint) -> tuple[Work, ...]:
    """Key heads repeated, scores, mask, softmax in fp32, dropout, the product with the values: what `runners/attention.py` runs."""
    size, scores = load_dtype(point.dtype).size_bytes, _num_scores(point)
    middle = _softmax(point.dtype, size)
    if point.is_causal and point.query_len > 1:
        middle.insert(0, ("strided", size, size))
    if point.has_dropout:
        middle.append(("elementwise", size, size + MASK_BYTES))
    q, kv, d = point.query_len, point.kv_len, point.head_dim
    return (*_repeated(point, size), _bmm(point, q, kv, d, "NT"), chain(scores, *middle), _bmm(point, q, d, kv, "NN"))


def _unfused_backward(point: AttentionPoint) -> tuple[Work, ...]:
    """Gradients of values and shares, dropout, softmax, queries and keys; those of repeated heads are summed."""
    size, scores = load_dtype(point.dtype).size_bytes, _num_scores(point)
    q, kv, d, group = point.query_len, point.kv_len, point.head_dim, point.num_heads // point.num_kv_heads
    middle: list[Kernel] = [("elementwise", size + MASK_BYTES, size)] if point.has_dropout else []
    if size != FP32_BYTES:
        middle.append(("upcast", size, 4))
    # autograd multiplies gradient and result in a kernel of its own before the softmax's.
    middle.append(("elementwise", 8, 4))
    middle.append(("softmax_backward", 8, 4))
    if size != FP32_BYTES:
        middle.append(("elementwise", 4, size))
    rows = point.batch * point.num_heads * d
    scaled = chains(chain(rows * q, ("elementwise", size, size)), chain(rows * kv, ("elementwise", size, size)))
    shared = (chain(2 * rows * kv, ("reduction", size, size / group)),) if group > 1 else ()
    values = _bmm(point, kv, d, q, "TN"), _bmm(point, q, kv, d, "NT")
    return (*values, chain(scores, *middle), _bmm(point, q, d, kv, "NN"), _bmm(point, kv, d, q, "TN"), scaled, *shared)


def _num_scores(point: AttentionPoint) -> int:
    return point.batch * point.num_heads * point.query_len * point.kv_len


def _bmm(point: AttentionPoint, m: int, n: int, k: int, layout: Layout) -> Gemm:
    return Gemm(batch=point.batch * point.num_heads, m=m, n=n, k=k, dtype=point.dtype, layout=layout)


def _softmax(dtype: str, size: int) -> list[Kernel]:
    """torch casts bf16 up before an fp32 softmax, and fp16 within it."""
    if size == FP32_BYTES:
        return [("softmax", 4, 4)]
    if dtype == "fp16":
        return [("softmax", size, 4), ("elementwise", 4, size)]
    return [("upcast", size, 4), ("softmax", 4, 4), ("elementwise", 4, size)]


def _repeated(point: AttentionPoint, size: int) -> tuple[Work, ...]:
    group = point.num_heads // point.num_kv_heads
    elements = 2 * point.batch * point.kv_len * point.num_heads * point.head_dim
    return (chain(elements, ("strided", size / group, size)),) if group > 1 else ()


def _whole(size: float) -> int:
    return max(1, round(size))
