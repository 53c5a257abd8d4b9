"""Claims 40 to 46: plain and batched products over their size (section V, Figures 5 and 6). Rates in TFLOP/s, sizes in elements."""

from __future__ import annotations

from ...hardware.load import load_gpu
from ..comparing import DROP, TIE
from ..evidence import Evidence, on_gpu
from ..judging import Verdict
from .asking import between, deepest, falls, figure_kernels, kernel_words, series_of
from .common import listed, verdict

#: Figure 5a and its products: (m, 4096) x (4096, m).
INNER = 4096
#: From this m on the blocks of Figure 5a's products fill a GPU; smaller ones gain nothing by a larger GPU.
FULL = 1024
#: A product counts as bound by memory that reaches this share of the bandwidth.
LEAST_BANDWIDTH = 0.5
#: A fall this deep is what the authors' log of Figure 5b shows at the end of a wave.
DEEP_FALL = 0.15
#: Falls no deeper than this part of another figure's are lessened.
LESSENED = 0.8
#: Widths of tiles are multiples of it: where a new column of them may begin, at one aligned width in four.
COLUMN = 32
#: Batches of 1024 x 1024 products, one more at a time: an eighth to a third of a wave each.
FINE_SIZE, FINE_BATCHES = 1024, range(1, 17)


def claim_40(evidence: Evidence) -> Verdict:
    """Rates of Figure 5a from m = 128 to 4096 do not fall."""
    curve = between(evidence.curve("5a"), 128, 4096)
    first, last = min(curve), max(curve)
    low, high = curve[first], curve[last]
    depth, _ = deepest(curve)
    word = "agrees" if depth <= TIE and high > low else "depends" if high > low else "disagrees"
    reading = f"{low:.3g} TFLOP/s at m = {first}, {high:.3g} at m = {last}; the deepest fall on the way is {100 * depth:.1f} %"
    return verdict(word, 100 * depth, "%", reading)


def claim_41(evidence: Evidence) -> Verdict:
    """The small products of Figure 5a reach the memory's bandwidth."""
    gpu = evidence.gpu
    curve = between(evidence.curve("5a"), 1, 128)
    m = max(curve)
    intensity = m * INNER / (2 * INNER + m)  # 2 m m 4096 FLOPs over 2 (2 x 4096 m + m m) bytes
    ridge = gpu.peak_flops_per_s(evidence.dtype) / gpu.memory_bytes_per_s
    share = curve[m] * 1e12 / intensity / gpu.memory_bytes_per_s
    word = "disagrees" if intensity >= ridge else "agrees" if share >= LEAST_BANDWIDTH else "depends"
    cause = "the bytes set its time" if share >= LEAST_BANDWIDTH else "neither FLOPs nor bytes set its time, but few blocks and fixed costs"
    side = "below" if intensity < ridge else "not below"
    reading = f"at m = {m} the {intensity:.0f} FLOP/B are {side} the ridge of {ridge:.0f}, at {100 * share:.0f} % of the bandwidth: {cause}"
    return verdict(word, 100 * share, "%", reading)


def envelope(evidence: Evidence) -> dict[int, float]:
    """Figure 5b at aligned widths: other even ones lie lower and hide the waves."""
    return {k: rate for k, rate in between(evidence.curve("5b"), 64, 512).items() if k % 8 == 0}


def at_edges(evidence: Evidence) -> dict[int, float]:
    """Falls of Figure 5b where a column of tiles may end."""
    return {k: depth for k, depth in falls(envelope(evidence), 0).items() if k % COLUMN == 0}


def claim_42(evidence: Evidence) -> Verdict:
    """Figure 5b falls where a column of tiles, nearly a wave, is begun."""
    found, edges = falls(envelope(evidence), DROP), at_edges(evidence)
    place = max(edges, key=lambda k: edges[k], default=None)
    depth = edges[place] if place else 0.0
    others = {k: each for k, each in found.items() if k % COLUMN}
    is_clear = depth >= DEEP_FALL and 2 * len(others) < len(found)
    word = "agrees" if is_clear else "depends" if found else "disagrees"
    count = f"{len(found) - len(others)} of {len(found)} falls of more than {100 * DROP:.0f} % stand where a column of tiles may end"
    most = f", the deepest of {100 * depth:.0f} % after k = {place}" if place else ""
    rest = f"; others after k = {listed([f'{k} ({100 * each:.0f} %)' for k, each in others.items()])}" if others else ""
    return verdict(word, 100 * depth, "%", f"{count} ({evidence.gpu.num_sms} SMs){most}{rest}")


def claim_43(evidence: Evidence) -> Verdict:
    """Figure 5c falls less deep than 5b, since the library changes tiles."""
    tall = max(at_edges(evidence).values(), default=0.0)
    wide, place = deepest(evidence.curve("5c"))
    kernels = figure_kernels(evidence, "5c")
    is_lessened, is_chosen = wide <= LESSENED * tall, len(set(kernels.values())) != 1
    word = "agrees" if is_lessened and is_chosen else "depends" if wide < tall else "disagrees"
    after = f" (after k = {place})" if place else ""
    falling = f"the deepest fall is {100 * wide:.0f} %{after} in 5c, {100 * tall:.0f} % at a column's end in 5b"
    return verdict(word, 100 * wide, "%", f"{falling}; {kernel_words(evidence, kernels)}")


def claim_44(evidence: Evidence) -> Verdict:
    """The A100 is above the V100 in Figure 5a; another GPU is put beside the A100."""
    own = between(evidence.curve("5a"), FULL, 8192)
    pair = []
    for name in ("a100-40gb", "v100-16gb"):
        is_own = evidence.gpu.name == name
        pair.append(own if is_own else between(on_gpu(evidence, load_gpu(name)).curve("5a"), FULL, 8192))
    newer, older = pair
    ratios = [newer[m] / older[m] for m in own if m in newer and m in older]
    top = max(own)
    other = "" if own in pair else f"; {evidence.gpu.name} at m = {top}: {own[top] / newer[top]:.2f}x the A100"
    reading = f"the A100 is {min(ratios):.2f} to {max(ratios):.2f} times the V100 from m = {min(own)} on{other}"
    return verdict("agrees" if min(ratios) > 1 else "depends" if max(ratios) > 1 else "disagrees", min(ratios), "x", reading)


def claim_45(evidence: Evidence) -> Verdict:
    """Rates of Figure 6 rise with the size and the number of products, and stay."""
    by_size = series_of(evidence, "6c")
    curves = {**series_of(evidence, "6a"), **by_size}
    lost = {name: 1 - curve[max(curve)] / max(curve.values()) for name, curve in curves.items()}
    worst = max(lost, key=lambda name: lost[name])
    rises = [max(curve.values()) / curve[min(curve)] for curve in by_size.values()]
    is_rising = min(rises) >= 2
    word = "disagrees" if not is_rising else "agrees" if lost[worst] <= TIE else "depends"
    fallen = [name for name, each in lost.items() if each > TIE]
    end = (
        f"but {listed(fallen)} end{'s' * (len(fallen) == 1)} up to {100 * lost[worst]:.0f} % below their best"
        if fallen
        else "no curve ends below"
    )
    reading = f"rates grow {min(rises):.3g}- to {max(rises):.3g}-fold with m, {end}"
    return verdict(word, 100 * lost[worst], "%", reading)


def claim_46(evidence: Evidence) -> Verdict:
    """No falls that are regained one product at a time; those over Figure 6's powers of two cannot be waves.

    Twice the tiles take at most twice the waves, so that no doubling can leave the last wave emptier.
    """
    num_own = sum(len(regained(curve)) for figure in ("6a", "6c") for curve in series_of(evidence, figure).values())
    rates = evidence.rates("square_products", [{"b": b, "m": FINE_SIZE} for b in FINE_BATCHES])
    fine = regained(dict(zip(FINE_BATCHES, rates, strict=True)))
    depth = max(fine.values(), default=0.0)
    places = f" (after b = {listed(list(fine))})" if fine else ""
    doubling = ", which waves cannot make, twice the tiles being at most twice the waves" if num_own else ""
    reading = (
        f"falls of more than {100 * DROP:.0f} % that are regained: {len(fine)} one product of {FINE_SIZE} at a time{places}, "
        f"{num_own} over Figure 6's powers of two{doubling}"
    )
    return verdict("depends" if fine else "agrees", 100 * depth, "%", reading)


def regained(curve: dict[int, float]) -> dict[int, float]:
    """Falls after which the curve comes back to where it was: the teeth of a saw, not the end of a rise."""
    return {
        x: depth for x, depth in falls(curve, DROP).items() if max(y for later, y in curve.items() if later > x) >= (1 - TIE) * curve[x]
    }
