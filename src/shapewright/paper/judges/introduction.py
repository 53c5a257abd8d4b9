"""Judges of claims 1 to 14: abstract, introduction and related work.

Layers are Figure 1's five shapes of 2.7B parameters: forward with attention as separate kernels, as the paper runs them, and with fused
attention beside it, as most code runs it now. Training steps are forward + backward of the same layers. Rates in TFLOP/s, times of the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from ...hardware.load import load_gpu
from ...lint.rule import load_rules
from ...measure.points import GemmPoint, LayerPoint, ModelPoint
from ...operators.types import Gemm
from ...read.resolve import load_shape
from ...units import ceil_div
from ..cases import layer_operators, layer_point, operator_seconds
from ..evidence import Evidence, NoTimeError, on_gpu
from ..figure import all_figures, load_figure
from ..judging import Verdict
from ..rows import published_rows
from .common import graded, listed, percent, rank_correlation, verdict

#: The layers of Figure 1.
SHAPES = ("c1", "c2", "gpt3-2.7b", "ours-1", "ours-2")
BASE = SHAPES.index("gpt3-2.7b")
#: Operators of a layer that are matrix products.
PRODUCTS = ("qkv", "attention_score", "attention_over_value", "attention_output", "mlp_up", "mlp_down")
#: The GPUs that section II-B names.
PAPER_GPUS = ("v100-16gb", "a100-40gb", "h100", "mi250x")
Attention = Literal["sdpa", "eager", "unfused"]


def claim_1(evidence: Evidence) -> Verdict:
    counts = [load_shape(model).num_params for model in SHAPES]
    separate, fused = (layer_seconds(evidence, attention) for attention in ("unfused", "sdpa"))
    gain, now = (times[BASE] / min(times) for times in (separate, fused))
    best = SHAPES[int(np.argmin(separate))]
    reading = (
        f"with separate kernels of attention {best} has {percent(gain)} throughput forward over GPT-3 2.7B, and C1 takes "
        f"{separate[0] / min(separate):.2f} times as long as {best}, parameters being equal within "
        f"{100 * (max(counts) / min(counts) - 1):.2f} %; with fused attention the best of them has {percent(now)}; accuracy is not tested"
    )
    return verdict(graded(gain - 1, 0.3, 0.1), 100 * (gain - 1), "%", reading)


def claim_2(evidence: Evidence) -> Verdict:
    forward, train = layer_seconds(evidence, "unfused"), layer_seconds(evidence, "eager", "train")
    found = rank_correlation(forward, train)
    gains = [percent(times[BASE] / times[SHAPES.index("ours-1")]) for times in (forward, train)]
    reading = (
        f"the five layers of Figure 1 stand in {'the same' if found > 0.999 else 'another'} order forward and in training "
        f"(rank correlation {found:.2f}); 20 heads in place of 32 give {gains[0]} forward and {gains[1]} in training"
    )
    return verdict(found > 0.9, found, "", reading)


def claim_3(evidence: Evidence) -> Verdict:
    separate, fused = (layer_seconds(evidence, attention) for attention in ("unfused", "sdpa"))
    spread, now = (max(times) / min(times) for times in (separate, fused))
    reading = f"layers of equal parameters differ {spread:.2f}-fold in time with separate kernels of attention, {now:.2f}-fold with fused"
    return verdict(graded(spread, 1.5, 1.15), spread, "x", reading)


def claim_4(evidence: Evidence) -> Verdict:
    expected = {"c1": (2560, 64, 40), "c2": (2560, 40, 64), "gpt3-2.7b": (2560, 32, 80)}
    found = {model: (shape.hidden_size, shape.num_attention_heads, shape.head_dim) for model in expected for shape in [load_shape(model)]}
    right = sum(found[model] == sizes for model, sizes in expected.items())
    sizes = listed([f"{model} {heads} heads of {size}" for model, (_, heads, size) in found.items()])
    unnamed = listed([f"{model} ({load_shape(model).num_attention_heads})" for model in ("ours-1", "ours-2")])
    reading = f"the catalogue has {sizes}, all at h = 2560; the heads of {unnamed} are inferred from the bars"
    return verdict(right == len(expected), right, f"of {len(expected)} shapes", reading)


def claim_5(evidence: Evidence) -> Verdict:
    models = ("opt-2.7b", "gpt-neo-2.7b", "cerebras-gpt-2.7b", "redpajama-incite-3b", "pythia-2.8b")
    found = {model: (s.hidden_size, s.num_hidden_layers, s.num_attention_heads) for model in models for s in [load_shape(model)]}
    others = [f"{model} (h, L, a) = {sizes}" for model, sizes in found.items() if sizes != (2560, 32, 32)]
    right = len(models) - len(others)
    reading = f"{right} of {len(models)} have h = 2560, L = 32, a = 32" + (f"; not so {listed(others)}" if others else "")
    return verdict(not others, right, f"of {len(models)} models", reading)


def claim_6(evidence: Evidence) -> Verdict:
    pairs = (layer_seconds(evidence, attention, "train", models=("gpt3-2.7b", "ours-1")) for attention in ("eager", "sdpa"))
    separate, fused = (before / after for before, after in pairs)
    holds = [gain >= 1.15 for gain in (separate, fused)]
    reading = (
        f"20 heads in place of 32 change the throughput of a layer in training by {percent(separate)} with separate kernels of attention, "
        f"by {percent(fused)} with fused attention"
    )
    return verdict("agrees" if all(holds) else "depends" if any(holds) else "disagrees", 100 * (separate - 1), "%", reading)


def claim_7(evidence: Evidence) -> Verdict:
    operators = layer_operators({"h": 2560, "a": 32, "attention": "unfused"}, evidence.dtype)
    products = [operator.name for operator in operators if isinstance(operator.work, Gemm)]
    signal, kernel = np.arange(32), np.array([3, -1, 4, 1, 5])
    lowered = np.lib.stride_tricks.sliding_window_view(signal, len(kernel)) @ kernel
    is_product = bool((lowered == np.correlate(signal, kernel)).all())
    reading = (
        f"a layer has {len(products)} products, {listed(products)}; a convolution written out as a product gives "
        f"{'the same' if is_product else 'other'} numbers"
    )
    return verdict(set(products) == set(PRODUCTS) and is_product, len(products), "products", reading)


def claim_8(evidence: Evidence) -> Verdict:
    figure = load_figure("2")
    cases = [case["name"] for case in figure.cases if case["attention"] == "unfused"]
    found = {row.x: row.y for row in evidence.rows("2") if row.series == "GEMMs"}
    said = {row.x: row.y for row in published_rows(figure) if row.series == "GEMMs" and row.quality == "exact"}
    if not all(case in found for case in cases):
        raise NoTimeError
    shares, expected = ([source[case] for case in cases] for source in (found, said))
    off = max(abs(share - wanted) for share, wanted in zip(shares, expected, strict=True))
    reading = (
        f"products take {shares[0]:.1f} % of the layer with h = 2560 and {shares[1]:.1f} % of that with h = 16384, "
        f"against {expected[0]} and {expected[1]} % on the paper's A100"
    )
    return verdict("agrees" if off <= 4 else "depends", shares[1], "%", reading)


def claim_9(evidence: Evidence) -> Verdict:
    sizes = (2560, 5120, 10240, 16384)
    shares = [_product_share(evidence, h) for h in sizes]
    falls = [before - after for before, after in pairwise(shares)]
    words = listed([f"{share:.1f} %" for share in shares])
    reading = f"products take {words} of a layer with heads of 128 at h = {listed(sizes)}"
    return verdict(max(falls) < 0.5, shares[-1] - shares[0], "points", reading)


def claim_10(evidence: Evidence) -> Verdict:
    sizes = [(8192, 4096 - less, 4096 - less) for less in (0, 8, 12, 10, 9)] + [(32768, 32768, 128)]
    times = [evidence.time(GemmPoint(m=m, n=n, k=k, dtype=evidence.dtype)) for m, n, k in sizes]
    rates = [2 * m * n * k / time.time_s / 1e12 for (m, n, k), time in zip(sizes, times, strict=True)]
    kernels = sorted({time.kernel.split("<")[0][:48] for time in times if time.kernel})
    reading = (
        f"{len(sizes)} products of the same FLOPs within 1 % run at {min(rates):.0f} to {max(rates):.0f} TFLOP/s: n = k = 4096 at "
        f"{rates[0]:.0f}, 4087 at {rates[4]:.0f}, k = 128 at {rates[5]:.0f}"
        + (f", by {len(kernels)} kernels: {listed(kernels)}" if kernels else "")
    )
    spread = max(rates) / min(rates)
    return verdict(graded(spread, 1.25, 1.1), spread, "x", reading)


def claim_11(evidence: Evidence) -> Verdict:
    widths = range(2304, 2881, 64)
    here = _layer_rates(evidence, widths)
    others = [name for name in PAPER_GPUS if name != evidence.gpu.name]
    picks = {name: int(_layer_rates(on_gpu(evidence, load_gpu(name)), widths).argmax()) for name in others}
    losses = {name: 100 * (1 - here[pick] / here.max()) for name, pick in picks.items()}
    is_best_at_home = max(losses.values()) >= 1
    helps = all(here[pick] >= np.median(here) for pick in picks.values())
    words = listed([f"{name}'s pick of h = {widths[picks[name]]} is {loss:.1f} % slower" for name, loss in losses.items()])
    reading = (
        f"of hidden sizes from {widths[0]} to {widths[-1]} the products of h = {widths[int(here.argmax())]} run fastest here; {words}, and "
        f"{'all are' if helps else 'not all are'} at least as fast as the median width"
    )
    word = "agrees" if is_best_at_home and helps else "depends" if is_best_at_home or helps else "disagrees"
    return verdict(word, max(losses.values()), "%", reading)


def claim_12(evidence: Evidence) -> Verdict:
    operators = layer_operators({"h": 2560, "a": 32, "attention": "unfused"}, evidence.dtype)
    mapped = sum(isinstance(operator.work, Gemm) for operator in operators)
    rules = len(load_rules())
    reading = f"a layer is mapped to {mapped} products among {len(operators)} operators, and {rules} rules find shapes that run badly"
    return verdict(mapped == len(PRODUCTS) and rules > 0, rules, "rules", reading)


def claim_13(evidence: Evidence) -> Verdict:
    shown = {row.gpu for figure in all_figures() for row in published_rows(figure)} & set(PAPER_GPUS)
    missing = [name for name in PAPER_GPUS if name not in shown]
    reading = f"the figures show {listed(sorted(shown))}; {listed(missing)} are in none, though every figure can be drawn for them here"
    return verdict(not missing, len(shown), f"of {len(PAPER_GPUS)} GPUs", reading)


def claim_14(evidence: Evidence) -> Verdict:
    padded = 64 * ceil_div(50257, 64)
    common = {"model": "gpt2", "phase": "train", "micro_batch": 12, "sequence": 1024, "dtype": evidence.dtype}
    times = [evidence.seconds(ModelPoint(**common, changes=f"vocab_size={vocabulary}")) for vocabulary in (50257, padded)]  # pyright: ignore
    odd, even = evidence.rates("logits", [{"h": 768, "v": vocabulary} for vocabulary in (50257, padded)])
    gain = times[0] / times[1]
    reading = (
        f"50257 rounds up to {padded}; an eager training step of GPT-2 (12 sequences of 1024) then gains {percent(gain)}, "
        f"its logit product going from {odd:.0f} to {even:.0f} TFLOP/s"
    )
    return verdict(graded(gain - 1, 0.15, 0.03), 100 * (gain - 1), "%", reading)


def layer_seconds(
    evidence: Evidence, attention: Attention, phase: Literal["forward", "train"] = "forward", models: Sequence[str] = SHAPES
) -> list[float]:
    """GPU seconds of one layer of each of Figure 1's shapes, or of some."""
    points: list[LayerPoint] = [replace(layer_point(model, evidence.dtype), attention=attention, phase=phase) for model in models]
    return [evidence.seconds(point) for point in points]


def _product_share(evidence: Evidence, h: int) -> float:
    """Percent of a layer's time, heads of 128, that its products take."""
    seconds = operator_seconds({"h": h, "a": h // 128, "attention": "unfused"}, evidence.times, evidence.dtype)
    if seconds is None:
        raise NoTimeError
    return 100 * sum(seconds[name] for name in PRODUCTS) / sum(seconds.values())


def _layer_rates(evidence: Evidence, widths: Sequence[int]) -> np.ndarray:
    """TFLOP/s of a layer's products with weights, together, at each hidden size."""
    flops = {"qkv": 6, "projection": 2, "mlp_up": 8, "mlp_down": 8}
    cases = [{"h": h} for h in widths]
    seconds = sum(share / np.array(evidence.rates(operator, cases)) for operator, share in flops.items())
    return sum(flops.values()) / np.asarray(seconds)
