"""Judges of claims 23 to 39: the layer as products, its parameters and FLOPs (section III-C), systems and software (III-C and IV).

What the paper writes as formulas of a, b, h, L, s, t, v (Table I) is held against what the package lowers models to. GPT-3's shapes stand
for the paper's layer: learned positions, GELU, intermediate size 4h. b = 4 and s = 2048 as in the authors' logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ...errors import InputError
from ...hardware.load import load_gpu, load_node
from ...hardware.node import Node
from ...operators.lower import lower
from ...operators.table2 import table2
from ...operators.types import Gemm
from ...parameters import weights
from ...read import catalogue
from ...read.neox import shape_from_neox
from ...read.resolve import load_shape
from ...shape import ModelShape
from ...workload import Workload
from ..cases import MICRO_BATCH as B
from ..cases import SEQUENCE as S
from ..cases import layer_flops
from ..evidence import Evidence
from ..judging import Verdict
from ..times import Measured
from .common import graded, listed, verdict
from .introduction import PRODUCTS

MODELS = ("gpt3-2.7b", "gpt3-6.7b", "gpt3-175b")
SPLITS = (1, 2, 4, 8)
#: Products that are one in a decoder of GPT-2's style.
_FUSED = {"query": "qkv", "key": "qkv", "value": "qkv"}
#: batch, m, n, k.
Size = tuple[int, int, int, int]


def claim_23(evidence: Evidence) -> Verdict:
    decoder, encoders = list(_products(load_shape("gpt3-2.7b"))), ("bert-base-uncased", "roberta-base")
    names = {model: {_FUSED.get(name, name) for name in _products(load_shape(model))} for model in encoders}
    shared = [name for name in decoder if all(name in own for own in names.values())]
    refused = ""
    try:
        load_shape({"model_type": "t5", "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128})
    except InputError as error:
        refused = error.what
    reading = f"{listed(encoders)} run {len(shared)} of a decoder's {len(decoder)} products; encoder-decoders refused: {refused or 'no'}"
    return verdict(shared == decoder and bool(refused), len(shared), f"of {len(decoder)} products", reading)


def claim_24(evidence: Evidence) -> Verdict:
    shape = load_shape("gpt3-2.7b")
    h, v, s = shape.hidden_size, shape.vocab_size, shape.max_position_embeddings or 0
    expected = {"embedding": v * h, "position_embedding": s * h, "mlp_up": 4 * h * h + 4 * h, "mlp_down": 4 * h * h + h}
    found = {name: sum(each.num_params_per_call for each in weights(shape) if each.operator == name) for name in expected}
    right = sum(found[name] == size for name, size in expected.items())
    words = listed([f"{name} {found[name]:,}" for name in expected])
    return verdict(right == len(expected), right, f"of {len(expected)} tables", f"parameters of GPT-3 2.7B, biases included: {words}")


def claim_25(evidence: Evidence) -> Verdict:
    names = {each.name for kind in (ModelShape, Workload) for each in fields(kind)}
    symbols = {
        "a": "num_attention_heads", "b": "micro_batch", "h": "hidden_size", "L": "num_hidden_layers", "s": "sequence",
        "t": "tensor_parallel", "v": "vocab_size",
    }  # fmt: skip
    known = [symbol for symbol, name in symbols.items() if name in names]
    words = listed([f"{symbol} {symbols[symbol]}" for symbol in known])
    return verdict(len(known) == len(symbols), len(known), f"of {len(symbols)} symbols", f"a shape and its workload hold {words}")


def claim_26(evidence: Evidence) -> Verdict:
    return _formula({"qkv": lambda a, h, t: (1, B * S, 3 * h // t, h)})


def claim_27(evidence: Evidence) -> Verdict:
    return _formula({"attention_score": lambda a, h, t: (B * a // t, S, S, h // a)})


def claim_28(evidence: Evidence) -> Verdict:
    return _formula({"attention_over_value": lambda a, h, t: (B * a // t, S, h // a, S)})


def claim_29(evidence: Evidence) -> Verdict:
    return _formula({"attention_output": lambda a, h, t: (1, B * S, h, h // t)})


def claim_30(evidence: Evidence) -> Verdict:
    return _formula({"mlp_up": lambda a, h, t: (1, B * S, 4 * h // t, h), "mlp_down": lambda a, h, t: (1, B * S, h, 4 * h // t)})


def claim_31(evidence: Evidence) -> Verdict:
    shape = load_shape("gpt3-2.7b")
    run = {_size(gemm) for gemm in _products(shape, with_head=True).values()}
    rows = [row for row in table2(shape, micro_batch=B, sequence=S) if row.label != "as models run it"]
    wrong = [row for row in rows if row.gemm and _size(row.gemm) not in run]
    words = listed([f"{row.operator} {row.product}" for row in wrong])
    right = len(rows) - len(wrong)
    head = table2(shape, micro_batch=B, sequence=S)[-1]
    reading = (
        f"{right} of {len(rows)} rows are what a model runs; {words} has the vocabulary inside, models run {head.product}: "
        "as many FLOPs, another product"
    )
    return verdict(not wrong, right, f"of {len(rows)} rows", reading if wrong else f"all {len(rows)} rows are what a model runs")


def claim_32(evidence: Evidence) -> Verdict:
    shape = load_shape("gpt3-2.7b")
    said, rest = _paper_params(shape), 2 * shape.hidden_size
    reading = f"the formula gives {said:,}, the model has {shape.num_params:,}: {shape.num_params - said:,} more, its final norm's 2h"
    return verdict(shape.num_params - said == rest, said, "parameters", reading)


def claim_33(evidence: Evidence) -> Verdict:
    models = ("gpt3-125m", "gpt3-1.3b", "gpt3-2.7b", "gpt3-6.7b", "gpt3-175b")
    shapes = {model: load_shape(model) for model in models}
    low = {model: 100 * (1 - 12 * s.hidden_size**2 * s.num_hidden_layers / s.num_params) for model, s in shapes.items()}
    within = sum(error <= 5 for error in low.values())
    word = "agrees" if within == len(models) else "depends" if within else "disagrees"
    words = listed([f"{error:.1f} % for {model}" for model, error in low.items()])
    return verdict(word, low["gpt3-2.7b"], "%", f"12 h^2 L falls short by {words}: within 5 % for {within} of {len(models)}")


def claim_34(evidence: Evidence) -> Verdict:
    family = [name for name in catalogue.names() if name.startswith(("gpt3", "pythia", "gpt-neox", "mt-nlg", "bloom"))]
    others = [name for name in catalogue.names() if name not in family and not _has_whole_heads(load_shape(name))]
    right = sum(_has_whole_heads(load_shape(name)) for name in family)
    reading = (
        f"{right} of {len(family)} models trained with Megatron or GPT-NeoX (or of GPT-3's shapes) have heads of h/a; "
        f"{len(others)} of {len(catalogue.names())} in the catalogue have others, {others[0]} for one"
    )
    return verdict(right == len(family), right, f"of {len(family)} models", reading)


def claim_35(evidence: Evidence) -> Verdict:
    shape = load_shape("gpt3-2.7b")
    h, formula = shape.hidden_size, layer_flops(shape)
    layer = sum(gemm.flops for gemm in _products(shape).values())
    whole = shape.num_hidden_layers * layer + 2 * B * S * h * shape.vocab_size
    is_layer = abs(layer / formula - 1) < 1e-12 and abs(24 * B * S * h**2 + 4 * B * S**2 * h - formula) < 1e-9 * formula
    reading = (
        f"the formula gives {formula / 1e12:.3f} TFLOP for GPT-3 2.7B, the products of one layer {layer / 1e12:.3f}; the whole pass, "
        f"{shape.num_hidden_layers} layers and logits, has {whole / formula:.1f} times as many"
    )
    return verdict(is_layer and whole == formula, whole / formula, "x", reading)


def claim_36(evidence: Evidence) -> Verdict:
    cases = [{"h": h, "t": t} for h in (8192, 16384) for t in (4, 1)]
    off = {}
    for operator in ("qkv", "projection", "mlp_up", "mlp_down"):
        split_low, _, split_high, _ = evidence.rates(operator, cases)
        own_low, own_high = evidence.rates(operator, [{"h": 2048}, {"h": 4096}])
        off[operator] = max(abs(split_low / own_low - 1), abs(split_high / own_high - 1))
    worst = max(off, key=off.__getitem__)
    reading = (
        f"a product on one of 4 GPUs runs within {100 * off[worst]:.1f} % of the rate of the layer with a quarter of the hidden size, "
        f"{worst} being the farthest (h = 8192 and 16384); pipelines and sequence parallelism are outside the paper"
    )
    return verdict(graded(-off[worst], -0.1, -0.25), 100 * off[worst], "%", reading)


def claim_37(evidence: Evidence) -> Verdict:
    said = {
        "aws-p4d": ("a100-40gb", 8, "8275CL", 400, 600),
        "summit": ("v100-16gb", 6, "POWER9", 200, 100),
        "expanse": ("v100-32gb", 4, "EPYC 7742", 200, 100),
    }
    names = ("GPU", "GPUs a node", "processor", "network", "NVLink")
    wrong = [
        f"{system}'s {name}" for system, row in said.items()
        for name, is_right in zip(names, _system_facts(load_node(system), row), strict=True) if not is_right
    ]  # fmt: skip
    num_facts = len(said) * len(names)
    reading = (
        f"{num_facts - len(wrong)} of {num_facts} facts stand in the node files too, {listed(wrong)} not (the links of a GPU both "
        "ways together, as the first row counts them); no system with an H100 or MI250X is listed"
    )
    return verdict(not wrong, num_facts - len(wrong), f"of {num_facts} facts", reading)


def claim_38(evidence: Evidence) -> Verdict:
    said = {"v100-16gb": "cuda11.3", "a100-40gb": "cuda11.7", "h100": "cuda12.2", "mi250x": "rocm5.6"}
    known = [f"{gpu} {library}" for gpu, library in said.items() if library in load_gpu(gpu).libraries]
    runs = evidence.times.environments if isinstance(evidence.times, Measured) else ()
    here = sorted({_software(run) for run in runs if run.get("torch")})
    own = f"measured here with {listed(here)}" if here else f"{evidence.gpu.name} is predicted with {listed(evidence.gpu.libraries[:1])}"
    reading = f"what was installed cannot be checked; predictions know {listed(known)} of the {len(said)}; {own}"
    return verdict("not testable here", None, "", reading)


def claim_39(evidence: Evidence) -> Verdict:
    shape = load_shape("gpt3-2.7b")
    text = "hidden_size: 2560\nnum_layers: 32\nnum_attention_heads: 32\nmax_position_embeddings: 2048\nseq_length: 2048\n"
    neox = shape_from_neox(text, name="neox").shape
    ours, theirs = ({name: _size(gemm) for name, gemm in _products(each).items()} for each in (shape, neox))
    same = [name for name in ours if theirs.get(name) == ours[name]]
    reading = (
        f"a GPT-NeoX configuration of GPT-3 2.7B's sizes runs {len(same)} of the same {len(PRODUCTS)} products, its norms "
        f"{neox.norm_placement}-attention and MLP; times here are medians with their 10th and 90th percentile, the authors' log has the "
        "slowest of 200 calls"
    )
    return verdict(len(same) == len(PRODUCTS) and neox.norm_placement == "pre", len(same), f"of {len(PRODUCTS)} products", reading)


def _software(run: Mapping[str, Any]) -> str:
    """PyTorch and its CUDA or ROCm, of the environment of a run."""
    toolkit = f"ROCm {run['rocm']}" if run.get("rocm") else f"CUDA {run.get('cuda', 'unknown')}"
    return f"PyTorch {run['torch']}, {toolkit}"


def _products(shape: ModelShape, *, split: int = 1, with_head: bool = False) -> Mapping[str, Gemm]:
    """Products of one layer on one of `split` GPUs by operator; `with_head`: the logits too."""
    workload = Workload(
        phase="forward", attention="unfused", dtype="fp16", micro_batch=B, sequence=min(S, shape.max_position_embeddings or S),
        tensor_parallel=split,
    )  # fmt: skip
    layers = {kind.name for kind in shape.layer_kinds} | ({"head"} if with_head else set())
    return {each.name: each.work for each in lower(shape, workload, "fp16") if isinstance(each.work, Gemm) and each.layer in layers}


def _size(gemm: Gemm) -> Size:
    return gemm.batch, gemm.m, gemm.n, gemm.k


def _formula(formulas: Mapping[str, Callable[[int, int, int], Size]]) -> Verdict:
    """Sizes by formulas of a, h, t against those that models are lowered to, t = 1, 2, 4, 8."""
    right = tried = 0
    for shape in map(load_shape, MODELS):
        for split in SPLITS:
            products = _products(shape, split=split)
            sizes = {name: formula(shape.num_attention_heads, shape.hidden_size, split) for name, formula in formulas.items()}
            right += sum(_size(products[name]) == size for name, size in sizes.items())
            tried += len(sizes)
    where = f"{listed(list(formulas))} of {listed(MODELS)} at t = {listed(SPLITS)}"
    reading = f"{right} of {tried} products ({where}) have the sizes of the formula"
    return verdict(right == tried, right, f"of {tried} products", reading)


def _paper_params(shape: ModelShape) -> int:
    """12 h^2 L + 13 h L + (v + s) h."""
    h, num_layers = shape.hidden_size, shape.num_hidden_layers
    return 12 * h**2 * num_layers + 13 * h * num_layers + (shape.vocab_size + (shape.max_position_embeddings or 0)) * h


def _has_whole_heads(shape: ModelShape) -> bool:
    """Whether a head is h/a wide."""
    return shape.latent_attention is None and shape.head_dim * shape.num_attention_heads == shape.hidden_size


def _system_facts(node: Node, row: tuple[str, int, str, int, int]) -> tuple[bool, ...]:
    """Which facts of a row of Table III agree with the node's file: GPU, number, processor, Gbit/s of the node, GB/s of a GPU both ways."""
    gpu, num_gpus, cpu, network_gbit, link_gb = row
    network = 8 * node.network_bytes_per_s * node.gpus_per_node / 1e9
    link = 2 * node.link_bytes_per_s / 1e9
    return (
        node.gpu == gpu, node.gpus_per_node == num_gpus, cpu in node.cpu,
        abs(network / network_gbit - 1) < 0.01, abs(link / link_gb - 1) < 0.01,
    )  # fmt: skip
