"""Verdicts on sections VIII and IX: kernels as a measure of models, H100 against A100, the largest gain, new GPUs. Seconds, TFLOP/s."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...calibrate.compare import Compared, compare_points
from ...hardware.gpu import Gpu
from ...hardware.load import gpu_names, load_gpu
from ...measure.operators import points_of
from ...measure.points import GemmPoint, LayerPoint
from ...operators.lower import lower
from ...operators.types import Gemm
from ...predict.explain import explain
from ...read.resolve import load_shape
from ...search.comparison import Comparison, compare
from ...workload import Workload
from ..cases import layer_point
from ..evidence import Evidence, on_gpu
from ..judging import Verdict
from .common import listed, percent, verdict

#: Libraries and sizes: GPT-NeoX's family twice and OPT.
MODELS = ("pythia-410m", "pythia-2.8b", "opt-6.7b")
#: How far layer / kernels may differ between models for the one to tell the other: all kernels, and products alone.
SAME_KERNELS, SAME_PRODUCTS = 1.1, 1.25
#: The gain of the conclusion, and what counts as reaching it.
GAIN, REACHED = 1.389, 1.30
PAPERS_RATIO = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKernels:
    """One layer, and its kernels timed alone: all, and products."""

    layer_s: float
    kernels_s: float
    products_s: float


def claim_91(evidence: Evidence) -> Verdict:
    """Layers against the sum of their kernels."""
    found = {name: layer_kernels(evidence, name) for name in MODELS}
    shares = [each.kernels_s / each.layer_s for each in found.values()]
    products = [each.products_s / each.layer_s for each in found.values()]
    is_kernels, is_products = max(shares) <= SAME_KERNELS * min(shares), max(products) <= SAME_PRODUCTS * min(products)
    word = "agrees" if is_kernels and is_products else "depends" if is_kernels else "disagrees"
    worst = max(shares, key=lambda share: abs(share - 1))
    said = listed([f"{100 * share:.0f} and {100 * part:.0f} % ({name})" for name, share, part in zip(found, shares, products, strict=True)])
    how = (
        ""
        if evidence.is_measured
        else "; predicted, layers are made of these kernels, and only the power limit of a long run sets them apart"
    )
    return verdict(word, 100 * (worst - 1), "%", f"kernels timed alone add up to, and products alone are, {said} of the layer{how}")


def claim_92(evidence: Evidence) -> Verdict:
    """H100 against A100: products, and BERT-large."""
    is_hopper, is_a100 = (evidence.gpu.name.startswith(name) for name in (("h100", "h200"), "a100"))
    if evidence.is_measured and not (is_hopper or is_a100):
        what = f"{evidence.gpu.name} is neither of the two GPUs: nothing measured on it tells their ratio"
        return verdict("not testable here", None, "", what)
    hopper = evidence if is_hopper else on_gpu(evidence, load_gpu("h100"))
    a100 = evidence if is_a100 else on_gpu(evidence, load_gpu("a100-80gb"))
    products = hopper.rate("mlp_up", h=8192, a=64) / a100.rate("mlp_up", h=8192, a=64)
    same, eight_bit = (bert(dtype) for dtype in ("bf16", "fp8"))
    step = same.speedups[1]
    word = "agrees" if step.high >= PAPERS_RATIO else "depends" if eight_bit.speedups[1].high >= PAPERS_RATIO else "disagrees"
    return verdict(
        word, step.value, "x",
        f"products of h = 8192 run {products:.2f} times as fast on {hopper.gpu.name} as on {a100.gpu.name}; BERT-large's step "
        f"is predicted {step.value:.1f} times as fast on an H100 as on an A100-80GB in bf16 ({step.low:.1f} to {step.high:.1f}), "
        f"with fp8 products {eight_bit.speedups[1].value:.1f} times; peaks stand {same.peak_ratios[1]:.2f} : 1, bandwidths "
        f"{same.bandwidth_ratios[1]:.2f} : 1",
    )  # fmt: skip


def claim_93(evidence: Evidence) -> Verdict:
    """The largest gain of Figure 1, unfused and fused."""
    models = ("gpt3-2.7b", "ours-1", "ours-2")
    base_s, *others_s = (evidence.seconds(layer_point(name, evidence.dtype)) for name in models)
    fused_s, *others_fused_s = (evidence.seconds(LayerPoint(model=name, source="reference", dtype=evidence.dtype)) for name in models)
    gain, fused = base_s / min(others_s), fused_s / min(others_fused_s)
    word = "disagrees" if gain < REACHED else "agrees" if fused >= REACHED else "depends"
    return verdict(
        word, gain, "x",
        f"the best shape of Figure 1 is {percent(gain)} on GPT-3 2.7B's with attention in separate kernels ({percent(GAIN)} claimed), "
        f"{percent(fused)} with fused attention",
    )  # fmt: skip


def claim_94(_: Evidence) -> Verdict:
    """Every GPU of the catalogue, by its file alone."""
    point = GemmPoint(m=8192, n=4 * 8192, k=8192, dtype="fp16")
    found = {name: compare_points([point], load_gpu(name))[0] for name in gpu_names()}
    known = {name: each for name, each in found.items() if isinstance(each, Compared)}
    shares = {name: share_of_peak(each, load_gpu(name)) for name, each in known.items()}
    carried = [name for name, each in known.items() if each.provenance != "calibrated"]
    is_sane = all(0.2 < share <= 1 for share in shares.values()) and len(known) == len(found)
    return verdict(
        is_sane and bool(carried), float(len(known)), "GPUs",
        f"{len(known)} of {len(found)} GPUs are priced from one file each, {len(carried)} of them without a product measured on them "
        f"({', '.join(carried)}): {100 * min(shares.values()):.0f} to {100 * max(shares.values()):.0f} % of the peak in an MLP product of "
        "h = 8192",
    )  # fmt: skip


def layer_kernels(evidence: Evidence, model: str) -> LayerKernels:
    """One layer of `model`, forward without dropout, fused attention."""
    shape = replace(load_shape(model), attention_dropout=0.0, hidden_dropout=0.0)
    asked = Workload(phase="forward", attention="flash", dtype=evidence.dtype, micro_batch=4, sequence=2048)
    kinds = {kind.name: kind.count for kind in shape.layer_kinds}
    kernels_s, products_s = 0.0, 0.0
    for operator in lower(shape, asked, evidence.dtype):
        if operator.layer in kinds:
            each_s = evidence.seconds(*points_of(operator, dtype=evidence.dtype)) * operator.count / kinds[operator.layer]
            kernels_s += each_s
            products_s += each_s if isinstance(operator.work, Gemm) else 0.0
    layer_s = evidence.seconds(LayerPoint(model=model, source="reference", dtype=evidence.dtype))
    return LayerKernels(layer_s=layer_s, kernels_s=kernels_s, products_s=products_s)


def bert(dtype: str) -> Comparison:
    """A training step of BERT-large at 512 tokens, H100 in `dtype` against A100 in bf16."""
    shape, asked = load_shape("bert-large-uncased"), Workload(sequence=512, micro_batch=32, dtype="bf16")
    return compare([explain(shape, "a100-80gb", asked), explain(shape, "h100", replace(asked, dtype=dtype))])


def share_of_peak(said: Compared, gpu: Gpu) -> float:
    return 2 * 8192 * 8192 * 4 * 8192 / said.predicted_s / gpu.peak_flops_per_s("fp16")
