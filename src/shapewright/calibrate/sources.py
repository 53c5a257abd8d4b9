"""Published and own products by source and GPU, as the fits of thin data and of transfer take them.

Files of a data folder: h200/gemm.csv, gpu/gemm.parquet, paper/gemm.csv; one that is absent gives no rows. Layouts in the published table
are named for column-major matrices: its TN is `F.linear`'s NT. Times in seconds. hipBLASLt's files of MI210 and MI250X with bias time some
30 us more than the others for one product, so that they are sources of their own, one a dtype.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..units import MICRO
from .products import Products, read_products
from .scored import Array
from .table import Table, read_table

_LAYOUTS = {"NN": "NN", "TN": "NT", "NT": "TN", "TT": "NT", "": "NT"}
#: Source and GPU as the table names them, our GPU, dtype of the table.
_PUBLISHED = (
    ("aiconfigurator", "A100-SXM4-80GB", "a100-80gb", "bf16"), ("aiconfigurator", "H100-SXM", "h100", "bf16"),
    ("deepbench", "V100-SXM2-16GB", "v100-16gb", "fp16"), ("hipblaslt_logic", "MI210", "mi210", "fp16"),
    ("hipblaslt_logic", "MI210", "mi210", "bf16"), ("hipblaslt_logic", "MI250X-GCD", "mi250x", "fp16"),
    ("hipblaslt_logic", "MI300X", "mi300x", "fp16"), ("hipblaslt_logic", "MI300X", "mi300x", "bf16"),
    ("aiter_tuned", "MI300X", "mi300x", "bf16"), ("aiter_tuned", "MI300X", "mi300x", "fp8_block"),
)  # fmt: skip
_AUTHORS = {"a100": "a100-40gb", "v100": "v100-16gb", "mi250x": "mi250x"}
TERA = 1e12


#: What a replay of our own timing script takes beside its calls: 1,266 products that are also in h200/gemm.csv read 5 us a replay longer.
REPLAY_S = 5e-6
#: Share of the (n, k) of our own rows that no fit may see; they are many, so that few are enough.
OWN_HELD_OUT = 0.05
#: Our own rows of an H200; two older files read 0.2 us a call long below 12 us (docs/log.md) and are neither fitted nor scored.
OWN_FILES = "benchmarks/h200/gemm/random-[3-9].jsonl.gz"
#: Our older rows of products that the library splits along k (few tiles, long k) were timed in replays of a few hundred microseconds, in
#: which they read 3 % short (docs/log.md): those of replays below this many seconds are left out.
SPLIT_TILES, SPLIT_K, SHORT_REPLAY_S = 66, 2048, 1e-3
#: Runs that are fitted too; random and repeated products (random*, repeatability*) stay unseen, to judge by.
RUN_FILES = ("benchmarks/h200/misalignment*.jsonl*", "benchmarks/h200/products-[0-9]*.jsonl*")
#: The repository's batched products as unfused attention has them.
ATTENTION_FILES = ("benchmarks/h200/products-attention*.jsonl*",)
#: Dtypes that a profile's menus are fitted to.
FITTED_DTYPES = ("bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceRows:
    """Products that one source timed on one GPU."""

    source: str
    gpu: Gpu
    products: Products


def source_rows(folder: Path, gpus: Collection[str] | None = None) -> list[SourceRows]:
    """Every source of the folder's products on `gpus` (None: on all), but vidur's, in whole microseconds on an A100."""
    found: list[SourceRows] = []
    if (folder / "h200/gemm.csv").is_file() and (gpus is None or "h200" in gpus):
        gpu = load_gpu("h200")
        found.append(SourceRows(source="graph replay", gpu=gpu, products=read_products(read_table(folder / "h200/gemm.csv"), gpu)))
    if (folder / "gpu/gemm.parquet").is_file():
        table = read_table(folder / "gpu/gemm.parquet")
        found += [each for key in _PUBLISHED if gpus is None or key[2] in gpus for each in _published(table, *key)]
    return found + [each for each in authors_rows(folder) if gpus is None or each.gpu.name in gpus]


def authors_rows(folder: Path) -> list[SourceRows]:
    """The sweeps of torch.mm and torch.bmm in the authors' logs (layout NN, fp16)."""
    path = folder / "paper/gemm.csv"
    if not path.is_file():
        return []
    table = read_table(path)
    flops = 2.0 * table.integers("batch") * table.integers("m") * table.integers("n") * table.integers("k")
    time_s, gpus = flops / (table.positive("tflops") * TERA), table.texts("gpu")
    rows = []
    for name, gpu in _AUTHORS.items():
        keep = gpus == name
        if keep.any():
            products = _products(table.take(keep), "fp16", np.full(int(keep.sum()), "NN"), time_s[keep])
            rows.append(SourceRows(source="authors", gpu=load_gpu(gpu), products=products))
    return rows


def own_rows() -> Products | None:
    """The repository's own products of an H200, where the package runs from a checkout."""
    gpu, parts = load_gpu("h200"), []
    for path in sorted(Path(__file__).parents[3].glob(OWN_FILES)):
        table = read_table(path)
        products, calls = read_products(table, gpu), table.integers("calls")
        tiles = products.batch * (-(-products.m // 128)) * (-(-products.n // 128))
        is_short = (tiles <= SPLIT_TILES) & (products.k >= SPLIT_K) & (products.time_s * calls < SHORT_REPLAY_S)
        parts.append(replace(products, time_s=products.time_s - REPLAY_S / calls).take(~is_short))
    return joined(parts) if parts else None


def run_rows(patterns: Sequence[str] = RUN_FILES) -> Products | None:
    """The eager 16-bit products of the repository's runs, where the package runs from a checkout that has them."""
    files = [path for pattern in patterns for path in sorted(Path(__file__).parents[3].glob(pattern))]
    parts = [run_products(read_table(path)) for path in files]
    return joined(parts) if parts else None


def run_products(table: Table) -> Products:
    """What a fit takes of a run file (`measure.store`): plain eager products of 16-bit operands, as they were timed.

    Its replays are enqueued back to back, so that none of a replay's own start is in them, unlike `own_rows`.
    """
    kept = (table.texts("kind") == "gemm") & (table.texts("runtime") == "eager") & (table.texts("call") != "linear")
    rows = table.take(kept & np.isin(table.texts("dtype"), FITTED_DTYPES))
    return read_products(rows, load_gpu("h200"))


def joined(parts: Sequence[Products]) -> Products:
    """The rows of all parts."""
    return Products(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Products)})


def _published(table: Table, source: str, gpu_name: str, gpu: str, dtype: str) -> list[SourceRows]:
    """Rows of one source and dtype, those of each protocol apart."""
    notes = table.texts("notes")
    keep = (table.texts("source") == source) & (table.texts("gpu") == gpu_name) & (table.texts("dtype") == dtype)
    # hipBLASLt lists the same tuning once with fp16 and once with fp32 output (HSS): the first is what a layer runs.
    keep &= (table.texts("suspect") == "") & (np.char.find(notes, "_HSS_") < 0)
    if not keep.any():
        return []
    rows, notes = table.take(keep), notes[keep]
    has_bias = (np.char.find(notes, "aldebaran") >= 0) & (np.char.find(notes, "Bias") >= 0)
    layouts = np.array([_LAYOUTS[name] for name in rows.texts("layout").tolist()])
    ours = "fp8" if dtype == "fp8_block" else dtype
    products = _products(rows, ours, layouts, rows.positive("latency_us") * MICRO)
    parts = {source: ~has_bias, f"{source} with bias, {dtype}": has_bias}
    return [SourceRows(source=name, gpu=load_gpu(gpu), products=products.take(mask)) for name, mask in parts.items() if mask.any()]


def _products(table: Table, dtype: str, layouts: Array, time_s: Array) -> Products:
    sizes = {name: table.integers(name) for name in ("batch", "m", "n", "k")}
    return Products(**sizes, dtype=np.full(len(table), dtype), layout=layouts, time_s=time_s)
