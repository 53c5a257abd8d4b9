"""Claims 47 to 56: the products of attention over heads and hidden size (section VI-A, Figures 7 to 9 and 11).

Rates in TFLOP/s, sizes in elements, shares of a layer in percent. d is the head size h/a.
"""

from __future__ import annotations

from itertools import combinations, pairwise

from ...operators.types import Gemm
from ..cases import MICRO_BATCH, SEQUENCE, layer_operators
from ..comparing import TIE, value_at
from ..curves import curves
from ..evidence import Evidence, NoTimeError
from ..figure import FAMILIES, load_figure
from ..judging import Verdict, Word
from .asking import falls, family_means, layer_shares, over_line, series_of
from .common import listed, percent, verdict

#: Figures 7a and 7b, and what they show.
SPLIT = {"7a": "score", "7b": "AOV"}
#: Pairs of curves in the claimed order for it to hold, and for it to hold mostly.
ORDERED, MOSTLY = 0.95, 0.7
#: Rates at one head size that lie no farther apart depend on it alone.
ALIKE = 0.1
#: A product counts as bound by memory that reaches this share of the memory roofline.
LEAST_ROOF = 0.5
#: Width of the tiles at whose ends the curves of Figure 9 fall.
TILE = 128
#: Fewer points than this show no teeth.
LEAST_POINTS = 5
#: Heads of Figure 7, and heads sizes in multiples of 64 around those of 128.
HEADS, BEYOND = 32, range(192, 513, 64)


def claim_47(evidence: Evidence) -> Verdict:
    """Number and size of the scores' products by heads, as lowered."""
    found, h = {}, 4096
    for a in (16, 32, 64):
        (work,) = (
            each.work for each in layer_operators({"h": h, "a": a, "attention": "unfused"}, "fp16") if each.name == "attention_score"
        )
        assert isinstance(work, Gemm)
        found[a] = (work.batch, work.m, work.n, work.k)
    is_so = all(size == (MICRO_BATCH * a, SEQUENCE, SEQUENCE, h // a) for a, size in found.items())
    words = listed([f"{size[0]} products with k = {size[3]} at a = {a}" for a, size in found.items()])
    return verdict(is_so, found[32][0], "products", f"h = {h}: {words}")


def claim_48(evidence: Evidence) -> Verdict:
    """Whether a or h varies in Figure 6, and in Figures 7 to 9."""
    six = [figure for figure in ("6a", "6b", "6c", "6d") if varied(figure) & {"a", "h"}]
    later = [figure for figure in ("7a", "7b", "8", "9") if varied(figure) & {"a", "h"}]
    axes = listed(sorted(set().union(*(varied(figure) for figure in ("6a", "6b", "6c", "6d")))))
    reading = f"Figure 6 varies {axes}: {len(six)} of its 4 panels vary a or h; {len(later)} of the 4 in Figures 7 to 9 do"
    return verdict(bool(six), len(six), "panels", reading)


def varied(figure: str) -> set[str]:
    """Variables that a figure's axis and curves vary."""
    found = load_figure(figure)
    assert found.axis is not None
    return {found.axis.name}.union(*(series.fixed for series in found.series))


def claim_49(evidence: Evidence) -> Verdict:
    """Means of the families of Figure 7 rise with the power of two, ties allowed; 64 is best."""
    words: list[Word] = []
    readings, gains = [], []
    for figure, name in SPLIT.items():
        means = family_means(evidence, figure)
        wrong = [f"{high} is below {low}" for low, high in pairwise(FAMILIES) if means[high] < (1 - TIE) * means[low]]
        is_best = means[64] >= (1 - TIE) * max(means.values())
        gains.append(means[64] / means[1])
        words.append("disagrees" if not is_best or gains[-1] < 1 + TIE else "depends" if wrong else "agrees")
        order = f"; {listed(wrong)}" if wrong else ""
        readings.append(f"{name}: 8 over odd {means[8] / means[1]:.2f}x, 64 over 8 {means[64] / means[8]:.2f}x{order}")
    word = words[0] if words[0] == words[1] else "depends"
    return verdict(word, min(gains), "x", f"{'. '.join(readings)}; 64 over odd at least {min(gains):.2f}x")


def claim_50(evidence: Evidence) -> Verdict:
    """The last family that helps by more than a tie, and what heads of multiples of 128 gain over odd multiples of 64."""
    last, gains = 1, {}
    for figure, operator in (("7a", "score"), ("7b", "aov")):
        last = max(last, last_that_helps(family_means(evidence, figure)))
        rates = evidence.rates(operator, [{"a": HEADS, "h": HEADS * d} for d in BEYOND])
        around = over_line(dict(zip(BEYOND, rates, strict=True)))
        gains |= {f"{SPLIT[figure]} {d}": gain for d, gain in around.items() if d % 128 == 0}
    beyond = max(gains.values())
    word = "agrees" if last == 64 and beyond <= 1 + TIE else "disagrees" if last < 8 else "depends"
    step = f"the last power of two that adds more than {100 * TIE:.0f} % is {last}" if last > 1 else "no power of two adds more than a tie"
    sizes = ", ".join(f"{name} {percent(gain)}" for name, gain in gains.items())
    return verdict(word, last, "elements", f"{step}; h/a in multiples of 128 beside odd multiples of 64: {sizes}")


def last_that_helps(means: dict[int, float]) -> int:
    """The largest power of two whose family is above all smaller ones by more than a tie."""
    last, best = 1, means[1]
    for family in FAMILIES[1:]:
        if means[family] > (1 + TIE) * best:
            last = family
        best = max(best, means[family])
    return last


def claim_51(evidence: Evidence) -> Verdict:
    """At equal h, curves of fewer heads lie above those of more."""
    answers: list[bool] = []
    for figure in ("8", "9"):
        found = {int(name.removeprefix("a=")): curve for name, curve in series_of(evidence, figure).items()}
        for fewer, more in combinations(sorted(found), 2):
            known = {x: value_at(found[fewer], x) for x in found[more]}
            answers += [value >= (1 - TIE) * found[more][x] for x, value in known.items() if value is not None]
    same = [y for name, curve in series_of(evidence, "8").items() for h, y in curve.items() if h == 128 * int(name.removeprefix("a="))]
    if not answers or not same:
        raise NoTimeError
    share, spread = sum(answers) / len(answers), max(same) / min(same) - 1
    word: Word = "agrees" if share >= ORDERED else "depends" if share >= MOSTLY else "disagrees"
    cause = "d counts, hardly a itself" if spread <= ALIKE else "a counts beside d"
    collapse = f"at d = 128 the scores of 12 to 96 heads differ by {100 * spread:.0f} %: {cause}"
    return verdict(word, 100 * share, "%", f"fewer heads are as fast or faster in {100 * share:.0f} % of {len(answers)} pairs; {collapse}")


def claim_52(evidence: Evidence) -> Verdict:
    """Head size up to which a score's intensity is below the ridge, and what is reached of the memory roofline at d = 64."""
    gpu = evidence.gpu
    rates = [evidence.rate(operator, a=HEADS, h=HEADS * 64) * 1e12 for operator in ("score", "aov")]
    ridge = gpu.peak_flops_per_s(evidence.dtype) / gpu.memory_bytes_per_s
    limit = ridge * SEQUENCE / (SEQUENCE - 2 * ridge) if 2 * ridge < SEQUENCE else None
    roof = SEQUENCE * 64 / (2 * 64 + SEQUENCE) * gpu.memory_bytes_per_s
    reached = min(rates) / roof
    is_always = limit is None or limit >= BEYOND.stop
    word = "disagrees" if reached < LEAST_ROOF or (limit or SEQUENCE) <= 64 else "agrees" if is_always else "depends"
    up_to = "for every d" if limit is None else f"up to d = {limit:.0f}"
    reading = (
        f"s d / (2 d + s) is below the ridge of {ridge:.0f} FLOP/B {up_to}; "
        f"at d = 64 score and AOV reach {100 * rates[0] / roof:.0f} and {100 * rates[1] / roof:.0f} % of the memory roofline"
    )
    return verdict(word, limit, "elements", reading)


def claim_53(evidence: Evidence) -> Verdict:
    """Distinct h/a on the first curve of Figures 8 and 9."""
    counts, steps = [], []
    for figure in ("8", "9"):
        for curve, series in zip(curves(load_figure(figure)), load_figure(figure).series, strict=True):
            a = series.fixed["a"]
            counts.append(len({item.x // a for item in curve.items}))
            steps += [item.x % (64 * a) for item in curve.items]
    lines = "every h is a multiple of 64 a" if not any(steps) else "h is no multiple of 64 a"
    reading = f"a curve holds {min(counts)} to {max(counts)} values of h/a, not one; {lines}"
    return verdict(max(counts) == 1, max(counts), "values of h/a", reading)


def claim_54(evidence: Evidence) -> Verdict:
    """Falls of the curves of Figure 9 and how far apart they lie, in h and in h/a."""
    found = {int(name.removeprefix("a=")): curve for name, curve in series_of(evidence, "9").items() if len(curve) >= LEAST_POINTS}
    after = {a: {h // a: depth for h, depth in falls(curve, TIE).items()} for a, curve in found.items()}
    toothed = [a for a, each in after.items() if each]
    depth = max((depth for each in after.values() for depth in each.values()), default=0.0)
    word: Word = "agrees" if len(toothed) > len(found) / 2 else "depends" if toothed else "disagrees"
    return verdict(word, 100 * depth, "%", f"{len(toothed)} of {len(found)} curves fall by more than {100 * TIE:.0f} %{_teeth(after)}")


def _teeth(after: dict[int, dict[int, float]]) -> str:
    """Where the falls lie, and why the period differs with a."""
    places = sorted({d for each in after.values() for d in each})
    if not places:
        return ""
    depth = max(depth for each in after.values() for depth in each.values())
    is_column = len(places) > 2 and all(d % TILE == 0 for d in places)
    cause = ": ends of columns of tiles, the same in h/a for every a, so that in h the period grows with a" if is_column else ""
    return f", at most by {100 * depth:.0f} %, after h/a = {listed(places)}{cause}"


def claim_55(evidence: Evidence) -> Verdict:
    """Products take more of the large layer than of the small one; QKV and MLP are its three largest."""
    small, large = (layer_shares(evidence, case) for case in ("Small", "Large"))
    products = {name: share for name, share in large.items() if name != "Non-GEMM"}
    top = sorted(products, key=lambda name: -products[name])[:3]
    grows, is_top = large["Non-GEMM"] < small["Non-GEMM"], set(top) == {"QKV", "MLP h to 4h", "MLP 4h to h"}
    share = sum(products[name] for name in top)
    word = "agrees" if grows and is_top else "depends" if grows or is_top else "disagrees"
    reading = (
        f"products take {100 - small['Non-GEMM']:.0f} % of the small layer and {100 - large['Non-GEMM']:.0f} % of the large one, "
        f"there {listed(top)} {share:.0f} % together"
    )
    return verdict(word, share, "%", reading)


def claim_56(evidence: Evidence) -> Verdict:
    """AOV is the smallest product of the large layer, and wider heads quicken both it and the score."""
    large = {name: share for name, share in layer_shares(evidence, "Large").items() if name != "Non-GEMM"}
    smallest = min(large, key=lambda name: large[name])
    gains = []
    for operator in ("score", "aov"):
        narrow, wide = evidence.rates(operator, [{"h": 2560, "a": 40}, {"h": 2560, "a": 20}])
        gains.append(wide / narrow)
    rises = min(gains) > 1 + TIE
    word = "agrees" if smallest == "AOV" and rises else "depends" if smallest == "AOV" or rises else "disagrees"
    reading = (
        f"{smallest} is the smallest with {large[smallest]:.1f} % of the large layer "
        f"(AOV {large['AOV']:.1f}, score {large['Score']:.1f} %); "
        f"heads of 128 for 64 at h = 2560 quicken the score {gains[0]:.2f}x and AOV {gains[1]:.2f}x"
    )
    return verdict(word, large["AOV"], "%", reading)
