"""Matrix products: one H200 (random shapes, misaligned ones included), and published tables of A100 and H100, as scored sets.

Files: h200/gemm.csv, gpu/gemm.parquet, and in a checkout of the repository the products of benchmarks/h200/gemm. One that is not there
gives no set. Linear and batched products are sets of their own. Rows are held out by (n, k), by the function that the fit uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...dtypes import load_dtype
from ...hardware.gpu import Gpu
from ...hardware.load import load_gpu
from ...units import MICRO
from ..gemm import is_held_out
from ..products import Products, classes_of, predicted, read_products
from ..scored import Array, ScoredSet
from ..sources import OWN_FILES, OWN_HELD_OUT, own_rows
from ..table import Table, read_table

SPLIT = "by a hash of (n, k): {:.0%} of the pairs, with every m, batch, layout and dtype, are kept out of the fit"
HELD_OUT = 0.3
#: Bounds of the regimes: FLOPs of a large product, rows of a decode step, seconds of a tiny one.
LARGE_FLOPS, DECODE_ROWS, TINY_S = 1e11, 64, 6e-6
_H200 = "measured for this project on one H200 (driver 580.159, PyTorch 2.11.0+cu130): CUDA-graph replay, cold operands, median of 5"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Rows of gpu/gemm.parquet: those of `source` on `gpu_name`, as F.linear runs them (layout NT)."""

    name: str
    source: str
    gpu_name: str
    gpu: str
    dtype: str
    goal_percent: float
    said: str


_PUBLISHED = (
    _Published(
        name="gemm-a100-80gb", source="aiconfigurator", gpu_name="A100-SXM4-80GB", gpu="a100-80gb", dtype="bf16", goal_percent=5.0,
        said="aiconfigurator (NVIDIA, Apache-2.0): CUDA-graph timing, all n and k multiples of 32",
    ),
    _Published(
        name="gemm-h100", source="aiconfigurator", gpu_name="H100-SXM", gpu="h100", dtype="bf16", goal_percent=5.0,
        said="aiconfigurator (NVIDIA, Apache-2.0): CUDA-graph timing, all n and k multiples of 32",
    ),
    _Published(
        name="gemm-a100-80gb-vidur", source="vidur", gpu_name="A100-SXM4-80GB", gpu="a100-80gb", dtype="fp16", goal_percent=5.0,
        said="vidur (MIT): kernel durations without launch, shapes of nine models",
    ),
)  # fmt: skip


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """The sets whose file is there."""
    found: list[ScoredSet] = []
    if (folder / "h200/gemm.csv").is_file():
        found += product_sets("gemm-h200", read_table(folder / "h200/gemm.csv"), load_gpu("h200"), source=_H200, goal_percent=4.0)
    rows = own_rows()
    if rows is not None:
        source = f"{OWN_FILES} of the repository: another draw of shapes on another occasion, {_H200}"
        found += _sets_of("gemm-h200-repository", rows, load_gpu("h200"), source=source, goal_percent=4.0, share=OWN_HELD_OUT)
    if (folder / "gpu/gemm.parquet").is_file():
        table = read_table(folder / "gpu/gemm.parquet")
        found += [each for published in _PUBLISHED for each in _published_sets(table, published)]
    return tuple(found)


def product_sets(name: str, table: Table, gpu: Gpu, *, source: str, goal_percent: float | None = None) -> Iterator[ScoredSet]:
    """The linear products of a table (columns m, n, k, us; batch, dtype, layout) as the set `name`, the batched ones as `name`-batched."""
    return _sets_of(name, read_products(table, gpu), gpu, source=source, goal_percent=goal_percent)


def _sets_of(
    name: str, products: Products, gpu: Gpu, *, source: str, goal_percent: float | None, share: float = HELD_OUT
) -> Iterator[ScoredSet]:
    is_batched = products.batch > 1
    for label, mask in ((name, ~is_batched), (f"{name}-batched", is_batched)):
        kept = products.take(mask)
        if len(kept):
            yield scored_products(label, kept, gpu, source=source, goal_percent=goal_percent, share=share)


def scored_products(
    name: str, products: Products, gpu: Gpu, *, source: str, goal_percent: float | None = None, share: float = HELD_OUT,
    library: str | None = None,
) -> ScoredSet:  # fmt: skip
    """Products beside what the predictor in force says of them."""
    answer = predicted(products, gpu, library)
    return ScoredSet(
        name=name,
        gpu=gpu.name,
        library=answer.library or next(iter(gpu.libraries), ""),
        source=source,
        split=SPLIT.format(share),
        goal_percent=goal_percent,
        measured_s=products.time_s,
        predicted_s=answer.time_s,
        low_s=answer.low_s,
        high_s=answer.high_s,
        limit_s=answer.limit_s,
        is_held_out=is_held_out(products.n, products.k, share),
        regimes=regimes(products),
    )


def regimes(products: Products) -> Mapping[str, Array]:
    """Masks over the rows; they overlap."""
    is_misaligned = np.zeros(len(products), bool)
    for dtype in np.unique(products.dtype).tolist():
        rows = np.flatnonzero(products.dtype == dtype)
        classes, _ = classes_of(products.take(rows), load_dtype(dtype).size_bytes)
        is_misaligned[rows] = (classes == "half") | (classes == "odd")
    return {
        "large": products.flops > LARGE_FLOPS,
        "decode-size": products.m <= DECODE_ROWS,
        "aligned": ~is_misaligned,
        "misaligned": is_misaligned,
        "tiny": products.time_s < TINY_S,
    }


def _published_sets(table: Table, published: _Published) -> Iterator[ScoredSet]:
    """The linear products of one published table; rows whose operands sat in cache are left out."""
    keep = (table.texts("source") == published.source) & (table.texts("gpu") == published.gpu_name)
    keep &= (table.texts("dtype") == published.dtype) & (table.texts("op") == "linear") & (table.texts("suspect") == "")
    rows = table.take(keep)
    if not len(rows):
        return
    products = Products(
        batch=rows.integers("batch"),
        m=rows.integers("m"),
        n=rows.integers("n"),
        k=rows.integers("k"),
        dtype=rows.texts("dtype"),
        layout=np.full(len(rows), "NT"),
        time_s=rows.positive("latency_us") * MICRO,
    )
    gpu = load_gpu(published.gpu)
    yield from _sets_of(published.name, products, gpu, source=published.said, goal_percent=published.goal_percent)
