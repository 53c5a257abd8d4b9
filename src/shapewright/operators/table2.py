"""Table II of "The Case for Co-Designing Model Architectures with Hardware" (Anthony et al. 2024, section III-C), for any shape and t.

Symbols: a heads, b micro-batch, h hidden size, s sequence, t tensor parallel, v vocabulary. FLOPs and bytes are per GPU, of one call. The
paper prints the last product as (b s, v)(v, h), with v inside, and timed it so (Figure 20); models run (b s, h)(h, v). Both are
given, labelled: the FLOPs agree at t = 1, the role of v does not. Beyond the paper, queries may outnumber keys (GQA) and
a gated MLP has a third product. Latent attention has no row in the table and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dtypes import load_dtype
from ..errors import InputError
from ..shape import ModelShape
from ..units import ceil_div
from .types import Gemm

AS_PRINTED = "as printed in the paper"
AS_RUN = "as models run it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table2Row:
    """One row: `operator` as the paper calls it, the figures that time it, and its product, or None for a memory-bound operator.

    `bytes` are of one call; `label` tells two forms of one row apart.
    """

    operator: str
    figures: tuple[str, ...]
    gemm: Gemm | None
    bytes: float
    label: str = ""

    @property
    def flops(self) -> float:
        return self.gemm.flops if self.gemm else 0.0

    @property
    def product(self) -> str:
        """`b x (m, k) x (k, n)` with this row's numbers; empty without a product."""
        if self.gemm is None:
            return ""
        batch = f"{self.gemm.batch} x " if self.gemm.batch > 1 else ""
        return f"{batch}({self.gemm.m}, {self.gemm.k}) x ({self.gemm.k}, {self.gemm.n})"


def table2(shape: ModelShape, *, micro_batch: int, sequence: int, tensor_parallel: int = 1, dtype: str = "fp16") -> tuple[Table2Row, ...]:
    """The rows of Table II in the paper's order."""
    if shape.latent_attention:
        raise InputError("Table II has no row for latent attention", hint="explain lists its operators", field="latent_attention")
    tokens, h, d, t = micro_batch * sequence, shape.hidden_size, shape.head_dim, tensor_parallel
    heads, kv_heads = ceil_div(shape.num_attention_heads, t), ceil_div(shape.num_key_value_heads, t)
    inner = ceil_div(shape.intermediate_size, t)
    stream = float(tokens * h * load_dtype(dtype).size_bytes)

    def product(operator: str, figures: tuple[str, ...], gemm: Gemm, label: str = "") -> Table2Row:
        return Table2Row(operator=operator, figures=figures, gemm=gemm, bytes=gemm.bytes, label=label)

    def memory(operator: str) -> Table2Row:
        return Table2Row(operator=operator, figures=(), gemm=None, bytes=2 * stream)

    batch = micro_batch * heads
    gate = (product("MLP gate", ("10a",), Gemm(m=tokens, n=inner, k=h, dtype=dtype), "gated MLPs only"),) if shape.is_gated else ()
    return (
        memory("Input Embedding"),
        memory("Layer Norm 1"),
        product("QKV Transform", ("15", "16"), Gemm(m=tokens, n=(heads + 2 * kv_heads) * d, k=h, dtype=dtype)),
        product("Attention Score", ("7a", "8"), Gemm(batch=batch, m=sequence, n=sequence, k=d, dtype=dtype, layout="NT")),
        product("Attention over Value", ("7b", "9"), Gemm(batch=batch, m=sequence, n=d, k=sequence, dtype=dtype, layout="NN")),
        product("Linear Projection", ("19",), Gemm(m=tokens, n=h, k=heads * d, dtype=dtype)),
        memory("Layer Norm 2"),
        *gate,
        product("MLP h to 4h", ("10a",), Gemm(m=tokens, n=inner, k=h, dtype=dtype)),
        product("MLP 4h to h", ("10b",), Gemm(m=tokens, n=h, k=inner, dtype=dtype)),
        product("Linear Output", ("20",), Gemm(m=tokens, n=h, k=shape.vocab_size, dtype=dtype), AS_PRINTED),
        product("Linear Output", ("20",), Gemm(m=tokens, n=ceil_div(shape.vocab_size, t), k=h, dtype=dtype), AS_RUN),
    )
