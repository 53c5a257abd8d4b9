"""The authors' logs of an A100 (40 GB, PyTorch 1.13, CUDA 11.7, fp16, b = 4, s = 2048): single operators, and the blocks of one layer.

What the rows of paper/layers.csv hold, from the scripts that wrote them (EleutherAI/cookbook, sizing/) and from the numbers:
- `estimate_*` and the sweeps of paper/gemm.csv: one product, the slowest of 200 calls.
- `h_sweep`: `attention`, `mlp` and `transformer` are sums of those products (to 0.1 ms, at every tensor_parallel): no softmax, no norm.
- `tp_h_sweep`: layers of GPT-NeoX as run, on one GPU whatever tensor_parallel says (its MLP takes the same time at 1 and 8): unfused
  attention with dropout, and in `attention` and `transformer` a call that empties the allocator's cache.
- `flash_h_sweep`: the same with fused attention, on another occasion.
Layers are predicted by `lower` and the profile, operator by operator. A sweep's occasion and the emptying of the cache are mapped by the
line pace x time + offset, fitted to hidden sizes that are not scored; `mlp` empties no cache and has a pace alone; `h_sweep` is not mapped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...hardware.load import load_gpu
from ...operators.lower import lower
from ...operators.types import Collective, Gemm, Operator
from ...predict.estimate import Estimate
from ...predict.operators import Machine, estimate_operators
from ...predict.profiles import load_profile
from ...shape import ModelShape
from ...workload import Workload
from ..products import Products
from ..score import fit_line
from ..scored import Array, ScoredSet
from ..sources import TERA, authors_rows, joined
from ..table import Table, read_table
from .gemm import scored_products

GPU, LIBRARY = "a100-40gb", "cuda11.7"
SOURCE = "the paper's authors' logs (EleutherAI/cookbook history, Apache-2.0): fp16, PyTorch 1.13.1, CUDA 11.7, the slowest of 200 calls"
OPERATOR_GOAL_PERCENT, LAYER_GOAL_PERCENT = 7.0, 8.0
BLOCKS = ("attention", "mlp", "transformer")
MLP_OPERATORS = ("mlp_up", "mlp_activation", "mlp_down")
#: Operators of the layer outside its attention and MLP.
BETWEEN = ("norm1", "norm2", "attention_output_dropout", "attention_residual", "mlp_output_dropout", "mlp_residual")
DROPOUT = 0.1
#: The log's vocabulary plays no part in a layer.
VOCABULARY = 50304


def load(folder: Path) -> tuple[ScoredSet, ...]:
    """Operators, and each block of a layer, of the files that are there."""
    path = folder / "paper/layers.csv"
    layers = read_table(path) if path.is_file() else None
    operators = [each.products for each in authors_rows(folder) if each.gpu.name == GPU]
    if layers is not None:
        layers = layers.take(layers.texts("gpu") == "a100")
        operators.append(layer_products(layers))
    products = joined(operators) if operators else None
    sets = [_operator_set(products)] if products is not None and len(products) else []
    sets += _layer_sets(layers) if layers is not None else ()
    return tuple(each for each in sets if each.is_held_out.any())


def layer_products(layers: Table) -> Products:
    """Shapes of the logged operators (Table II of the paper), on one of t GPUs."""
    rows = layers.take(np.char.startswith(layers.texts("component"), "estimate_"))
    h, t, heads = rows.integers("hidden_size"), rows.integers("tensor_parallel"), rows.integers("heads")
    b, s = rows.integers("micro_batch"), rows.integers("sequence")
    tokens, head, per_gpu, one = b * s, h // heads, b * heads // t, np.ones_like(h)
    shapes = {
        "estimate_attention_key_value_query_transform": (one, tokens, 3 * h // t, h),
        "estimate_attention_key_query_prob": (per_gpu, s, s, head),
        "estimate_attention_prob_times_values": (per_gpu, s, head, s),
        "estimate_attention_linear_projection": (one, tokens, h, h // t),
        "estimate_mlp_h_to_4h": (one, tokens, 4 * h // t, h),
        "estimate_mlp_4h_to_h": (one, tokens, h, 4 * h // t),
    }
    component = rows.texts("component")
    masks = [component == name for name in shapes]
    batch, m, n, k = (np.select(masks, [shape[index] for shape in shapes.values()], 1) for index in range(4))
    layout = np.where(component == "estimate_attention_prob_times_values", "NN", "NT")
    time_s = 2.0 * batch * m * n * k / (rows.positive("value") * TERA)
    return Products(batch=batch, m=m, n=n, k=k, dtype=np.full(len(rows), "fp16"), layout=layout, time_s=time_s)


def _operator_set(products: Products) -> ScoredSet:
    scored = scored_products(
        "authors-operators", products, load_gpu(GPU), source=SOURCE, goal_percent=OPERATOR_GOAL_PERCENT, library=LIBRARY
    )
    regimes = {"linear": products.batch == 1, "batched": products.batch > 1}
    return replace(scored, split="by a hash of (n, k): 30 % of the pairs are kept out of the fit", regimes=regimes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTime:
    """Predicted seconds of one block, with its interval and roofline."""

    time_s: float
    low_s: float
    high_s: float
    limit_s: float


def neox_layer(hidden_size: int, heads: int) -> ModelShape:
    """One layer as the authors' scripts build it; `heads` divides `hidden_size`."""
    return ModelShape(
        name="GPT-NeoX layer", hidden_size=hidden_size, num_hidden_layers=1, num_attention_heads=heads, num_key_value_heads=heads,
        head_dim=hidden_size // heads, intermediate_size=4 * hidden_size, vocab_size=VOCABULARY, position_embedding="learned",
        max_position_embeddings=2048, norm="layernorm", hidden_act="gelu", is_gated=False, is_qkv_fused=True, has_qkv_bias=True,
        has_attention_output_bias=True, has_mlp_bias=True, attention_dropout=DROPOUT, hidden_dropout=DROPOUT,
    )  # fmt: skip


def block_times(sweep: str, shape: ModelShape, workload: Workload, machine: Machine) -> Mapping[str, BlockTime]:
    """Each block of one layer on one GPU: of `h_sweep` the products alone. Communication is left out, as in the logs."""
    operators = [each for each in lower(shape, workload, "fp16") if "+" in each.layer and not isinstance(each.work, Collective)]
    if sweep == "h_sweep":
        operators = [each for each in operators if isinstance(each.work, Gemm)]
    timed = list(zip(operators, estimate_operators(operators, machine), strict=True))
    return {name: _sum([estimate for operator, estimate in timed if _is_in(operator, name)]) for name in BLOCKS}


def _is_in(operator: Operator, block: str) -> bool:
    is_mlp = operator.name in MLP_OPERATORS
    return {"mlp": is_mlp, "attention": not is_mlp and operator.name not in BETWEEN, "transformer": True}[block]


def _sum(estimates: list[Estimate]) -> BlockTime:
    """Times add up; errors of the operators are taken to go together."""
    names = ("time_s", "low_s", "high_s", "limit_s")
    return BlockTime(**{name: sum(getattr(each, name) for each in estimates) for name in names})


def _layer_sets(layers: Table) -> Iterator[ScoredSet]:
    """One set a block, over the three sweeps."""
    rows = layers.take((layers.texts("unit") == "seconds") & np.isin(layers.texts("component"), BLOCKS))
    if not len(rows):
        return
    sweep, component, measured = rows.texts("sweep"), rows.texts("component"), rows.positive("value")
    held = held_out_sizes(rows.integers("hidden_size"))
    columns = _predicted_rows(rows)
    for block in BLOCKS:
        inside = component == block
        pace, offset = np.ones(len(rows)), np.zeros(len(rows))
        for name in np.unique(sweep[inside]).tolist():
            of_sweep = inside & (sweep == name)
            pace[of_sweep], offset[of_sweep] = _protocol(name, block, columns["time_s"][of_sweep & ~held], measured[of_sweep & ~held])
        time_s = pace * columns["time_s"] + offset
        low, high = _interval(np.log(measured / time_s), inside & ~held)
        yield ScoredSet(
            name="authors-layer" if block == "transformer" else f"authors-{block}",
            gpu=GPU,
            library=LIBRARY,
            source=SOURCE,
            split="30 % of the hidden sizes, by hash, are kept out of the mapping; the profile saw 70 % of h_sweep's (n, k) at t = 1",
            goal_percent=LAYER_GOAL_PERCENT if block == "transformer" else None,
            measured_s=measured[inside],
            predicted_s=time_s[inside],
            low_s=time_s[inside] * low,
            high_s=time_s[inside] * high,
            limit_s=columns["limit_s"][inside],
            is_held_out=held[inside],
            regimes={name: sweep[inside] == name for name in np.unique(sweep[inside]).tolist()},
        )


def held_out_sizes(hidden_size: Array) -> Array:
    """Which hidden sizes are scored: 30 % of them, in every sweep and block."""
    return np.array([zlib.crc32(f"layer {size}".encode()) % 1000 < 300 for size in hidden_size.tolist()])


def _protocol(sweep: str, block: str, predicted_s: Array, measured_s: Array) -> tuple[float, float]:
    """Pace, and seconds of emptying the cache."""
    if sweep == "h_sweep" or len(measured_s) < 2:
        return 1.0, 0.0
    if block == "mlp":
        return float(np.median(measured_s / predicted_s)), 0.0
    line = fit_line(predicted_s, measured_s)
    return line.factor, line.launch_s


def _interval(error: Array, fitted: Array) -> tuple[float, float]:
    """Factors of the 10th and 90th percentile, from the sizes that the mapping was fitted to."""
    low, high = np.exp(np.quantile(error[fitted], [0.1, 0.9])) if fitted.any() else (0.9, 1.1)
    return float(low), float(high)


def _predicted_rows(rows: Table) -> dict[str, Array]:
    """Predicted seconds and roofline of each row; a layer is lowered once."""
    gpu = load_gpu(GPU)
    machine = Machine(gpu=gpu, profile=load_profile(gpu, LIBRARY))
    known: dict[tuple[str, int, int, int], Mapping[str, BlockTime]] = {}
    found = []
    sizes, heads, parallel = (rows.integers(name).tolist() for name in ("hidden_size", "heads", "tensor_parallel"))
    for row, (sweep, block) in enumerate(zip(rows.texts("sweep").tolist(), rows.texts("component").tolist(), strict=True)):
        key = (sweep, sizes[row], heads[row], parallel[row] if sweep == "h_sweep" else 1)
        if key not in known:
            attention = "flash" if sweep.startswith("flash") else "unfused"
            workload = Workload(phase="forward", micro_batch=4, sequence=2048, attention=attention, dtype="fp16", tensor_parallel=key[3])
            known[key] = block_times(sweep, neox_layer(key[1], key[2]), workload, machine)
        found.append(known[key][block])
    return {name: np.array([getattr(each, name) for each in found]) for name in ("time_s", "limit_s")}
