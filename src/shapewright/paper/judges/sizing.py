"""Claims 67 to 75: the rules of section VI-B on how a model is cut over GPUs, and what they do for GPT-3 2.7B.

Rates in TFLOP/s, sizes in elements, shares of a layer in percent, times in seconds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...read.resolve import load_shape
from ...search.saturation import saturation_point
from ...shape import override
from ...units import ceil_div
from ..cases import LAYER_MODEL, MICRO_BATCH, SEQUENCE, layer_point, operator_seconds
from ..comparing import TIE
from ..evidence import Evidence, NoTimeError
from ..judging import Verdict, Word
from .asking import layer_rate, layer_shares, over_line
from .common import listed, percent, verdict

#: From this h on Figure 16 is judged: narrower products are short of blocks, whatever t is.
WIDE = 4096
#: Part of its rate that a product keeps on 8 GPUs for the split to cost it nothing, or some.
KEPT, HALF_KEPT = 0.9, 0.7
#: The speed-up that section VI-B reports, less what the figure's reading allows.
SPEEDUP = 1.15
#: Share of the large layer below which score and AOV are small.
SMALL_SHARE = 10.0
#: A rate this near to the plateau is saturated, and one that gets there at up to `NEAR` is of use to real models.
WITHIN, NEAR = 0.1, 8192


def claim_67(evidence: Evidence) -> Verdict:
    """Whether (b a)/t is whole, beside whether heads are: b = 4."""
    pairs = [(a, t) for a in range(1, 129) for t in (2, 4, 6, 8)]
    whole = [(a, t) for a, t in pairs if MICRO_BATCH * a % t == 0]
    heads = [(a, t) for a, t in pairs if a % t == 0]
    is_needed, is_enough = set(heads) <= set(whole), set(whole) <= set(heads)
    word: Word = "agrees" if is_needed and is_enough else "depends" if is_needed else "disagrees"
    example = next(((a, t) for a, t in whole if a % t), None)
    cut = f", e.g. {example[0]} on {example[1]} GPUs" if example else ""
    reading = (
        f"{'needed' if is_needed else 'not needed'}, but not enough: of {len(whole)} pairs of a and t with a whole (b a)/t "
        f"at b = {MICRO_BATCH}, {len(whole) - len(heads)} cut heads apart{cut}"
    )
    return verdict(word, 100 * len(heads) / len(whole), "%", "needed, and enough" if is_enough else reading)


def claim_68(evidence: Evidence) -> Verdict:
    """Rate that QKV keeps on 8 GPUs, beside the curves that the paper prints."""
    kept = {t: rate_kept(evidence, "t=", t) for t in (2, 4, 8)}
    printed = rate_kept(evidence, "as printed, t=", 8)
    word: Word = "disagrees" if kept[8] >= KEPT else "depends" if kept[8] >= HALF_KEPT else "agrees"
    values = listed([f"{100 * kept[t]:.0f} %" for t in kept])
    reading = (
        f"QKV split over t = 2, 4, 8 GPUs keeps {values} of its rate; "
        f"the printed {100 * printed:.1f} % at t = 8 only divides the FLOPs of the same run by t"
    )
    return verdict(word, 100 * kept[8], "%", reading)


def rate_kept(evidence: Evidence, name: str, t: int) -> float:
    """Median over the wide h of Figure 16 of the rate on t GPUs over that on one."""
    one, split = (evidence.curve("16", f"{name}{each}") for each in (1, t))
    ratios = [split[h] / one[h] for h in split if h in one and h >= WIDE]
    if not ratios:
        raise NoTimeError
    return float(np.median(ratios))


def claim_69(evidence: Evidence) -> Verdict:
    """A layer's products at odd b beside the mean of the even b around it."""
    curve = {b: layer_rate(evidence, b=b, h=2560, a=20) for b in range(2, 9)}
    ratios = {b: ratio for b, ratio in over_line(curve).items() if b % 2}
    worst = min(ratios, key=lambda b: ratios[b])
    tokens = worst * SEQUENCE
    reading = (
        f"at b = {worst} the rate of a layer's products is {percent(ratios[worst])} off the line from {worst - 1} to {worst + 1}, "
        f"the worst of b = {listed(list(ratios))}; b s = {tokens} is still a multiple of {tokens & -tokens}"
    )
    return verdict(ratios[worst] >= 1 - TIE, ratios[worst], "x", reading)


def claim_70(evidence: Evidence) -> Verdict:
    """Layers of GPT-3 2.7B over stages: what the fullest stage costs."""
    layers = load_shape(LAYER_MODEL).num_hidden_layers
    pace = {stages: layers / (stages * ceil_div(layers, stages)) for stages in range(2, 17)}
    even = [stages for stages, each in pace.items() if each == 1]
    worst = min(pace, key=lambda stages: pace[stages])
    is_so = even == [stages for stages in pace if layers % stages == 0] and pace[worst] < 1
    reading = (
        f"{layers} layers: no stage waits where there are {listed(even)}; {worst} are the worst of up to {max(pace)}: "
        f"the fullest holds {ceil_div(layers, worst)}, as if there were {worst * ceil_div(layers, worst)} layers"
    )
    return verdict(is_so, 100 * (1 - pace[worst]), "%", reading)


def claim_71(evidence: Evidence) -> Verdict:
    """Figure 1's bars: 20 heads over 32, and 40 heads of an aligned size, which alignment alone would place higher."""
    bars = {str(row.x): row.y for row in evidence.rows("1")}
    if not {"GPT-3 (2.7B)", "Ours 1", "C2"} <= set(bars):
        raise NoTimeError
    gain, aligned = (bars[name] / bars["GPT-3 (2.7B)"] for name in ("Ours 1", "C2"))
    word: Word = "disagrees" if gain < SPEEDUP else "agrees" if aligned >= 1 else "depends"
    why = "so heads, not their alignment, make the gain" if aligned < 1 else "so alignment helps too"
    reading = f"20 heads of 128 run {gain:.2f}x as fast as 32 of 80; but 40 of 64, aligned as well, run {aligned:.2f}x, {why}"
    return verdict(word, gain, "x", f"{reading}{_with_fused_attention(evidence)}")


def _with_fused_attention(evidence: Evidence) -> str:
    """The same gain of a layer whose attention is one kernel, where its time is known."""
    points = [replace(layer_point(model, evidence.dtype), attention="sdpa") for model in ("gpt3-2.7b", "ours-1")]
    before, after = evidence.times.of(points)
    return f"; with fused attention 20 heads run {before.time_s / after.time_s:.2f}x" if before and after else ""


def claim_72(evidence: Evidence) -> Verdict:
    """Parameters of GPT-3 2.7B at h = 4096."""
    shape = load_shape(LAYER_MODEL)
    wide, _ = override(shape, hidden_size=4096)
    ratio = wide.num_params / shape.num_params
    reading = f"{shape.num_params / 1e9:.2f} billion become {wide.num_params / 1e9:.2f} billion: {ratio:.2f} times as many"
    return verdict(abs(ratio - 2) <= 2 * TIE, ratio, "x", reading)


def claim_73(evidence: Evidence) -> Verdict:
    """Accuracy is no matter of times."""
    reading = (
        "times say nothing of accuracy, which no experiment of the paper or of this package tests; "
        "the linter's advice of fewer heads (SW203) warns of it"
    )
    return verdict("not testable here", None, "", reading)


def claim_74(evidence: Evidence) -> Verdict:
    """Share of score and AOV in the large layer and in the small one."""
    small, large = (sum(layer_shares(evidence, case)[name] for name in ("Score", "AOV")) for case in ("Small", "Large"))
    reading = (
        f"score and AOV take {large:.1f} % of the large layer ({small:.1f} % of the small one): twice as slow, they would add as much again"
    )
    return verdict(large < SMALL_SHARE, large, "%", reading)


def claim_75(evidence: Evidence) -> Verdict:
    """Fused attention in the small layer, and the h at which both products of the MLP are saturated."""
    layers = [operator_seconds({"h": 2560, "a": 20, "attention": kind}, evidence.times, evidence.dtype) for kind in ("unfused", "flash")]
    seconds = [sum(each.values()) for each in layers if each is not None]
    if len(seconds) != len(layers):
        raise NoTimeError
    speedup, reached = seconds[0] / seconds[1], []
    for figure in ("10a", "10b"):
        curve = evidence.curve(figure)
        reached.append(saturation_point(list(curve), list(curve.values()), WITHIN)[1])
    sizes = [h for h in reached if h is not None and h <= NEAR]
    is_quicker, is_saturated = speedup >= 1 + TIE, len(sizes) == len(reached)
    word: Word = "agrees" if is_quicker and is_saturated else "depends" if is_quicker or is_saturated else "disagrees"
    reading = (
        f"fused attention makes the layer of h = 2560 and 20 heads {speedup:.2f}x as fast; "
        f"MLP up and down are within {100 * WITHIN:.0f} % of their plateau from h = {listed(reached)}"
    )
    return verdict(word, speedup, "x", reading)
