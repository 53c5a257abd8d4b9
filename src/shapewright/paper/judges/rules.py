"""Claims 57 to 66: the rules of section VI-B on alignment, tiles, waves and the batch. Rates in TFLOP/s, sizes in elements.

Rules age: each is tried on the products of one GPU and library, and is worth what they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from ...hardware.load import load_gpu
from ...search.waves import PAPER_TILE, WaveFreeShape, WaveQuestion, is_wave_free, wave_free_shapes
from ..comparing import DROP, TIE
from ..evidence import Evidence, NoTimeError
from ..judging import Verdict, Word
from .asking import (
    NUM_TOKENS,
    alignment_means,
    between,
    deepest,
    falls,
    figure_kernels,
    kernel_words,
    layer_rate,
    over_line,
    product_rates,
)
from .common import graded, listed, percent, verdict

#: Widths a little below multiples of 64, so that none begins a tile: by the power of two that divides them.
BASES, BELOW = (4096, 8192), {64: 64, 8: 8, 1: 1}
#: SMs as the paper counts them, and the GPUs meant.
PAPER_SMS = {"v100-16gb": 80, "a100-40gb": 108, "h100": 144}
#: Those and what an H100 SXM has.
NAMED_SMS = (80, 108, 132, 144)
#: What a rule about tiles or waves must gain to be one, and below what it is none.
WORTH, WORTHLESS = 0.02, 0.01
#: Rows of products of few waves and of many; multiples of the first full wave that are looked at.
FEW_ROWS, MULTIPLES = 2048, range(1, 5)
INNER = 4096
#: Part of the growth of the work that a flat time follows at most; twice as much is half flat.
FLAT = 1 / 3


def claim_57(evidence: Evidence) -> Verdict:
    """Products whose n = k is a multiple of 64, of 8 only, or odd."""
    sizes = [(NUM_TOKENS, base - less, base - less) for base in BASES for less in BELOW.values()]
    rates = np.reshape(product_rates(evidence, sizes), (len(BASES), len(BELOW)))
    beyond, first = (float(np.mean(rates[:, i] / rates[:, i + 1])) for i in (0, 1))
    word = alignment_word(first, beyond)
    where = "; most of the gain comes at 8" if first >= 1 + TIE and first > beyond else ""
    reading = f"n = k in multiples of 64 beside those of 8 only: {percent(beyond)}; multiples of 8 beside odd ones: {percent(first)}{where}"
    return verdict(word, 100 * (beyond - 1), "%", reading)


def alignment_word(first: float, beyond: float) -> Word:
    """64 is the rule where it beats 8; half of it is where 8 is all it takes."""
    return "agrees" if beyond >= 1 + TIE else "depends" if first >= 1 + TIE else "disagrees"


def claim_58(evidence: Evidence) -> Verdict:
    """Outputs of whole 128 x 256 tiles, beside those with half a tile left over."""
    widths = range(448, 2113, 64)
    rates = product_rates(evidence, [(NUM_TOKENS, n, INNER) for n in widths])
    loss = {n: 1 / each - 1 for n, each in over_line(dict(zip(widths, rates, strict=True))).items() if n % PAPER_TILE[0]}
    gain, worst = float(np.mean(list(loss.values()))), max(loss, key=lambda n: loss[n])
    reading = (
        f"beside whole tiles half a tile left over costs {100 * gain:.1f} % on average over widths {min(loss)} to {max(loss)}, "
        f"at most {100 * loss[worst]:.1f} % ({worst})"
    )
    return verdict(graded(gain, TIE, WORTHLESS), 100 * gain, "%", reading)


def claim_59(evidence: Evidence) -> Verdict:
    """Products that fill whole waves of the GPU's own SMs beside neighbours; the paper's counts beside datasheets."""
    few, many = (wave_gain(evidence, rows) for rows in (FEW_ROWS, NUM_TOKENS))
    wrong = [f"{name} {load_gpu(name).num_sms}, not {sms}" for name, sms in PAPER_SMS.items() if load_gpu(name).num_sms != sms]
    holds = [gain >= WORTH for gain in (few, many)]
    word = "disagrees" if not any(holds) else "agrees" if all(holds) and not wrong else "depends"
    counts = f"; SMs: {listed(wrong)}" if wrong else ""
    reading = (
        f"whole waves of {evidence.gpu.num_sms} gain {100 * few:+.1f} % with {FEW_ROWS} rows and "
        f"{100 * many:+.1f} % with {NUM_TOKENS}, where waves are many{'' if any(holds) else ': hardly told from others'}{counts}"
    )
    return verdict(word, 100 * few, "%", reading)


def wave_gain(evidence: Evidence, rows: int) -> float:
    """Mean gain of widths at which 256 x 128 tiles fill whole waves over those one tile narrower and wider."""
    tile_n, tile_m = PAPER_TILE
    sms = evidence.gpu.num_sms
    first = tile_n * sms // math.gcd(sms, rows // tile_m)
    widths = [first * multiple + side for multiple in MULTIPLES for side in (-tile_n, 0, tile_n)]
    rates = dict(zip(widths, product_rates(evidence, [(rows, n, INNER) for n in widths]), strict=True))
    return float(np.mean([over_line({n: rates[n] for n in (here - tile_n, here, here + tile_n)})[here] for here in widths[1::3]])) - 1


def claim_60(evidence: Evidence) -> Verdict:
    """How much of the growth of Figure 5b's work within one column of tiles, k = 264 to 384, its time follows."""
    curve = {k: rate for k, rate in between(evidence.curve("5b"), 257, 384).items() if k % 8 == 0}
    if len(curve) < 3:
        raise NoTimeError
    third = max(1, len(curve) // 3)
    places, seconds = list(curve), [k / rate for k, rate in curve.items()]
    work, growth = (float(np.median(values[-third:]) / np.median(values[:third])) - 1 for values in (places, seconds))
    share = growth / work
    word = "agrees" if share <= FLAT else "depends" if share <= 2 * FLAT else "disagrees"
    reading = (
        f"from the first third of k = {places[0]} to {places[-1]} to the last "
        f"the work grows by {100 * work:.0f} %, the time by {100 * growth:.0f} %"
    )
    return verdict(word, 100 * share, "%", reading)


def claim_61(evidence: Evidence) -> Verdict:
    """The condition of whole waves, held against tiles counted one by one."""
    outputs = [(x, y) for x in range(320, 5121, 320) for y in range(320, 5121, 320)]
    wrong = free = 0
    for sms in PAPER_SMS.values():
        for x, y in outputs:
            said = bool(is_wave_free((1, x, y, INNER), WaveQuestion(num_sms=sms)))
            counted = any(len(range(0, x, m)) * len(range(0, y, n)) % sms == 0 for m, n in (PAPER_TILE, PAPER_TILE[::-1]))
            wrong, free = wrong + (said != counted), free + counted
    tried = len(outputs) * len(PAPER_SMS)
    return verdict(wrong == 0, wrong, "mismatches", f"{wrong} of {tried} outputs are told wrongly, {free} of them fill whole waves")


def claim_62(evidence: Evidence) -> Verdict:
    """Aligned shapes of which every product fills whole waves, by the SMs of the GPU and those that the paper names."""
    counts = list(dict.fromkeys((evidence.gpu.num_sms, *NAMED_SMS)))
    found = {sms: wave_free_shapes(WaveQuestion(num_sms=sms)).shapes for sms in counts}
    own = evidence.gpu.num_sms
    listing = "; ".join(f"{sms} SMs: {_examples(shapes, 3 if sms == own else 1)}" for sms, shapes in found.items())
    fewest = min(len(found[sms]) for sms in NAMED_SMS)
    word: Word = "disagrees" if fewest else "depends" if any(found.values()) else "agrees"
    return verdict(word, fewest, "shapes", f"aligned shapes without a partial wave at b s = {NUM_TOKENS}, h up to 32768: {listing}")


def _examples(shapes: tuple[WaveFreeShape, ...], num: int) -> str:
    """How many there are, and the narrowest, of whole tiles where there are such."""
    best = sorted(shapes, key=lambda each: (not each.has_whole_tiles, each.hidden_size, each.num_attention_heads))[:num]
    words = [f"h = {each.hidden_size} with {each.num_attention_heads} heads" for each in best]
    return f"{len(shapes)}, e.g. {listed(words)}" if words else "none"


def claim_63(evidence: Evidence) -> Verdict:
    """Figure 5c runs several kernels and still falls at the ends of waves."""
    curve = evidence.curve("5c")
    kernels, found = figure_kernels(evidence, "5c"), falls(curve, DROP)
    depth, _ = deepest(curve)
    word: Word = "disagrees" if not found else "agrees" if len(set(kernels.values())) > 1 else "depends"
    depths = " to ".join(dict.fromkeys(f"{100 * each:.0f}" for each in (min(found.values()), depth))) if found else ""
    changes = sum(here in found and kernels.get(here) != kernels.get(there) for here, there in pairwise(curve))
    changed = f", {changes} of {len(found)} times with a change of {'kernel' if evidence.is_measured else 'tile'}" if kernels else ""
    none = f"no fall of more than {100 * DROP:.0f} % is left"
    left = f"after k = {listed(list(found))} it still falls by {depths} %{changed}" if found else none
    return verdict(word, 100 * depth, "%", f"{kernel_words(evidence, kernels)}; {left}")


def claim_64(evidence: Evidence) -> Verdict:
    """Logits by the power of two that divides v, as models run them and as the paper prints them."""
    run, printed = (alignment_means(evidence.curve("20a", name)) for name in ("as models run it", "as printed, v inside"))
    word = alignment_word(run[8] / run[1], run[64] / run[8])
    reading = (
        f"as models run it, multiples of 64 are {percent(run[64] / run[8])} beside those of 8, which are {run[8] / run[1]:.2f}x odd ones; "
        f"with v inside, as printed, {percent(printed[64] / printed[8])} and {printed[8] / printed[1]:.2f}x"
    )
    return verdict(word, 100 * (run[64] / run[8] - 1), "%", reading)


def claim_65(evidence: Evidence) -> Verdict:
    """Rate of a layer's products over the micro-batch."""
    curve = {b: layer_rate(evidence, b=b, h=2560, a=20) for b in (1, 2, 4, 8, 16)}
    depth, place = deepest(curve)
    gain = curve[16] / curve[1]
    word = "disagrees" if depth > TIE or gain < 1 - TIE else "agrees" if gain >= 1 + TIE else "depends"
    enough = min(b for b, rate in curve.items() if rate >= (1 - TIE) * max(curve.values()))
    reading = (
        f"from b = 1 to 16 the rate of a layer's products changes by {percent(gain)} (h = 2560, a = 20); "
        f"b = {enough} is within {100 * TIE:.0f} % of the best"
        + (f"; the next step after b = {place} loses {100 * depth:.1f} %" if depth > TIE else "")
    )
    return verdict(word, 100 * (gain - 1), "%", reading)


def claim_66(evidence: Evidence) -> Verdict:
    """What 64 gains over odd values, over 8, and 128 over 64, for each of b s, h/a and h/t."""
    gains = {"b s": _gains_of_tokens(evidence), "h/a": _gains_of_heads(evidence), "h/t": _gains_of_width(evidence)}
    helps = [odd >= 1 + TIE for odd, _, _ in gains.values()]
    is_all = all(helps) and all(beyond <= 1 + TIE for _, _, beyond in gains.values())
    word = "disagrees" if not any(helps) else "agrees" if is_all else "depends"
    words = "; ".join(f"{name} {odd:.2f}x, {eight:.2f}x, {beyond:.2f}x" for name, (odd, eight, beyond) in gains.items())
    none = [name for name, helped in zip(gains, helps, strict=True) if not helped]
    left = f"; {listed(none)} gain{'s' * (len(none) == 1)} nothing over odd" if none else ""
    return verdict(word, min(odd for odd, _, _ in gains.values()), "x", f"64 over odd, 64 over 8, 128 over 64: {words}{left}")


#: What is taken from a multiple of 128 to be one, an odd multiple of 64 on either side, one of 8, and odd.
AROUND = (0, 64, -64, 8, 1)
Gains = tuple[float, float, float]


def _gains(size: int, rates: Mapping[int, float]) -> Gains:
    """64 over odd, 64 over 8, 128 over 64, from rates at `size` less what `AROUND` takes from it.

    Times are set beside the straight line between those of the odd multiples of 64 on either side.
    """
    seconds = {less: (size - less) / rate for less, rate in rates.items()}

    def line(less: int) -> float:
        return (seconds[64] + seconds[-64]) / 2 + less / 64 * (seconds[64] - seconds[-64]) / 2

    return seconds[1] / line(1), seconds[8] / line(8), line(0) / seconds[0]


def _gains_of_tokens(evidence: Evidence) -> Gains:
    """b s around 8192: rows of QKV at h = 2560."""
    rates = product_rates(evidence, [(NUM_TOKENS - less, 7680, 2560) for less in AROUND])
    return _gains(NUM_TOKENS, dict(zip(AROUND, rates, strict=True)))


def _gains_of_width(evidence: Evidence) -> Gains:
    """h/t around 1280: the inner dimension of the attention output at h = 2560."""
    rates = product_rates(evidence, [(NUM_TOKENS, 2560, 1280 - less) for less in AROUND])
    return _gains(1280, dict(zip(AROUND, rates, strict=True)))


def _gains_of_heads(evidence: Evidence) -> Gains:
    """h/a around 128: score and AOV of 32 heads together."""
    cases = [{"a": 32, "h": 32 * (128 - less)} for less in AROUND]
    both = zip(evidence.rates("score", cases), evidence.rates("aov", cases), strict=True)
    return _gains(128, {less: 2 / (1 / score + 1 / aov) for less, (score, aov) in zip(AROUND, both, strict=True)})
