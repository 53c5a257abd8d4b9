"""`shapewright bench gemm|bmm|attention|memory`: single kernels in graph replay with cold operands; values may be lists (10922,10923)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .bench import BenchFlags, bench, product, sizes, words

Size = Annotated[str, Parameter(help="Elements; several as 10922,10923.")]
Dtypes = Annotated[str, Parameter(help="bf16, fp16, fp32, tf32 or fp8; several with commas.")]
Layouts = Annotated[str, Parameter(help="NT, NN or TN; several with commas.")]
Runtimes = Annotated[str, Parameter(help="eager or compiled (through torch.compile); several with commas.")]


def bench_gemm(
    m: Size,
    n: Size,
    k: Size,
    /,
    *,
    batch: Annotated[str, Parameter(help="Independent products, run by torch.bmm where there are several.")] = "1",
    dtype: Dtypes = "bf16",
    layout: Layouts = "NT",
    call: Annotated[str, Parameter(help="mm, linear (F.linear) or bmm; default mm, or bmm with --batch.")] = "",
    split: Annotated[str, Parameter(help="Cut the m rows into a 3-D input of so many parts (call linear); 0: 2-D.")] = "0",
    order: Annotated[str, Parameter(help="How that 3-D input lies in memory, slowest first: bsk, sbk, ...")] = "bsk",
    runtime: Runtimes = "eager",
    flags: BenchFlags | None = None,
) -> int:
    """Measure matrix products y[m,n] = x[m,k] w[k,n].

    Each runs alone: by CUDA-graph replay on a GPU, with operands that no cache holds. M, N and K are numbers of elements; several values of
    arguments and flags make every combination of them.
    """
    batches = sizes(batch, "--batch")
    chosen = words(call, "--call") if call else ["bmm" if max(batches) > 1 else "mm"]
    choices = {
        "batch": batches, "m": sizes(m, "M"), "n": sizes(n, "N"), "k": sizes(k, "K"), "dtype": words(dtype, "--dtype"),
        "layout": words(layout, "--layout"), "call": chosen, "split": sizes(split, "--split"), "order": words(order, "--order"),
        "runtime": words(runtime, "--runtime"),
    }  # fmt: skip
    return bench(product("gemm", choices), flags or BenchFlags(), name="gemm")


def bench_bmm(
    b: Size,
    m: Size,
    n: Size,
    k: Size,
    /,
    *,
    dtype: Dtypes = "bf16",
    layout: Layouts = "NT",
    runtime: Runtimes = "eager",
    flags: BenchFlags | None = None,
) -> int:
    """Measure batched matrix products y[b,m,n] = x[b,m,k] w[b,k,n] (torch.bmm).

    Several values of arguments and flags make every combination of them.
    """
    choices = {
        "batch": sizes(b, "B"), "m": sizes(m, "M"), "n": sizes(n, "N"), "k": sizes(k, "K"), "dtype": words(dtype, "--dtype"),
        "layout": words(layout, "--layout"), "runtime": words(runtime, "--runtime"),
    }  # fmt: skip
    return bench(product("gemm", choices, call="bmm"), flags or BenchFlags(), name="bmm")


def bench_attention(
    *,
    batch: Annotated[str, Parameter(help="Sequences (b).")] = "4",
    heads: Annotated[str, Parameter(help="Query heads (a).")] = "32",
    kv_heads: Annotated[str, Parameter(help="Key and value heads; default: as many as query heads.")] = "",
    query_len: Annotated[str, Parameter(help="New tokens of each sequence (s).")] = "2048",
    kv_len: Annotated[str, Parameter(help="Keys; default: as many as queries.")] = "",
    head_dim: Annotated[str, Parameter(help="Width of one head.")] = "128",
    backend: Annotated[str, Parameter(help="sdpa (as torch chooses), flash, efficient, cudnn, math or unfused; with commas.")] = "sdpa",
    backward: Annotated[bool, Parameter(negative="", help="The backward pass alone.")] = False,
    dropout: Annotated[bool, Parameter(negative="", help="With dropout on the scores.")] = False,
    causal: Annotated[bool, Parameter(help="Later tokens are hidden.")] = True,
    dtype: Dtypes = "bf16",
    flags: BenchFlags | None = None,
) -> int:
    """Measure attention, fused by one of torch's backends or in separate kernels.

    Several values of flags make every combination of them. A backend that cannot run a point gives a failed row with torch's reason.
    """
    choices = {
        "batch": sizes(batch, "--batch"), "num_heads": sizes(heads, "--heads"), "query_len": sizes(query_len, "--query-len"),
        "head_dim": sizes(head_dim, "--head-dim"), "backend": words(backend, "--backend"), "dtype": words(dtype, "--dtype"),
    }  # fmt: skip
    fixed = {"is_causal": causal, "is_backward": backward, "has_dropout": dropout}
    points = []
    for queries in choices.pop("query_len"):
        for query_heads in choices["num_heads"]:
            own = {**choices, "num_heads": [query_heads], "query_len": [queries]}
            own["num_kv_heads"] = sizes(kv_heads, "--kv-heads") if kv_heads else [query_heads]
            own["kv_len"] = sizes(kv_len, "--kv-len") if kv_len else [queries]
            points += product("attention", own, **fixed)
    return bench(points, flags or BenchFlags(), name="attention")


def bench_memory(
    op: Annotated[str, Parameter(help="Operations, such as layer_norm, rms_norm, softmax, gelu, add, copy; several with commas.")],
    rows: Size,
    width: Size,
    /,
    *,
    backward: Annotated[bool, Parameter(negative="", help="The backward pass alone.")] = False,
    dtype: Dtypes = "bf16",
    runtime: Runtimes = "eager",
    flags: BenchFlags | None = None,
) -> int:
    """Measure kernels bound by memory: an operation over a tensor of ROWS x WIDTH elements.

    Several values of arguments and flags make every combination of them.
    """
    from ..errors import unknown_name
    from ..measure.memory_ops import MEMORY_OPS

    for name in words(op, "OP"):
        if name not in MEMORY_OPS:
            raise unknown_name("memory operation", name, MEMORY_OPS)
    choices = {
        "op": words(op, "OP"),
        "rows": sizes(rows, "ROWS"),
        "width": sizes(width, "WIDTH"),
        "dtype": words(dtype, "--dtype"),
        "runtime": words(runtime, "--runtime"),
    }
    return bench(product("memory", choices, is_backward=backward), flags or BenchFlags(), name="memory")
