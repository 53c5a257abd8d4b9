"""Verdicts on the appendices: Figures 14 to 47 and their families. Rates in TFLOP/s; families are powers of two that divide h/a."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from ..comparing import DROP, value_at
from ..curves import curves
from ..evidence import Evidence, NoTimeError
from ..figure import load_figure
from ..judging import Verdict
from .asking import alignment_means, falls, figure_kernels
from .common import listed, verdict

#: Head sizes from 64 to 128, 96 in the mean of each power of two: larger heads are faster by themselves.
HEAD_SIZES = (81, 95, 97, 111, 82, 94, 98, 110, 84, 92, 100, 108, 72, 88, 104, 120, 80, 112, 96, 64, 128)
#: Rates nearer than this are alike, and what a step of families or a family's loss must exceed to hurt greatly.
ALIKE, GREATLY = 0.05, 0.2
FIGURE_14 = ("(2048, 4, n)", "(4, 2048, n)", "(8192, n)")


def claim_95(evidence: Evidence) -> Verdict:
    """Three orders of the same input."""
    lines = [evidence.curve("14", name) for name in FIGURE_14]
    if not evidence.is_measured:
        what = "a 3-D input is priced as its 2-D product: only a measurement can tell them apart"
        return verdict("not testable here", None, "", what)
    common = sorted(set.intersection(*(set(line) for line in lines)))
    if not any(n >= 1024 for n in common):
        raise NoTimeError
    gaps = {n: max(line[n] for line in lines) / min(line[n] for line in lines) - 1 for n in common}
    worst = max(gaps, key=lambda n: gaps[n])
    large = max(gap for n, gap in gaps.items() if n >= 1024)
    ran = [figure_kernels(evidence, "14", name) for name in FIGURE_14]
    same = [n for n in common if all(n in each for each in ran) and len({each[n] for each in ran}) == 1]
    is_clock = gaps[worst] > 2 * ALIKE and same == common
    word = "agrees" if gaps[worst] <= 2 * ALIKE or is_clock else "depends" if large <= 2 * ALIKE else "disagrees"
    why = ", yet one and the same kernel runs all three at every n: what differs is the card's clock at its power limit" if is_clock else ""
    reading = f"the three differ by at most {100 * gaps[worst]:.1f} % (n = {worst}), by {100 * large:.1f} % from n = 1024 on{why}"
    return verdict(word, 100 * gaps[worst], "%", reading)


def claim_96(evidence: Evidence) -> Verdict:
    """Growth with h, and families of h/a."""
    lines = {name: evidence.curve(figure) for figure, name in (("15", "QKV"), ("17", "score"), ("18", "AOV"), ("19", "output"))}
    growth = {name: growth_of(line) for name, line in lines.items()}
    families = {name: alignment_means({h // 128: rate for h, rate in lines[name].items()}) for name in ("score", "AOV")}
    gains = {name: float(np.mean([rate for power, rate in own.items() if power >= 8])) / own[1] for name, own in families.items()}
    grows, depends = min(growth.values()) > 1, min(gains.values()) > 1 + ALIKE
    word = "agrees" if grows and depends else "depends" if grows or depends else "disagrees"
    return verdict(
        word, min(growth.values()), "x",
        f"the upper half of h runs {named(growth)} times as fast as its first eighth; h/a with a factor of 8 {named(gains)} "
        "times as fast as odd h/a",
    )  # fmt: skip


def claim_97(evidence: Evidence) -> Verdict:
    """Families of v and h in the logit product."""
    printed, real = "as printed, v inside", "as models run it"
    places = {f"{axis} {how}": alignment_means(evidence.curve(figure, series)) for figure, axis in (("20a", "v"), ("20b", "h"))
              for series, how in ((printed, "as printed"), (real, "in models"))}  # fmt: skip
    over_odd = min(own[64] / own[1] for own in places.values())
    over_eight = {name: own[64] / own[8] for name, own in places.items()}
    in_models = max(ratio for name, ratio in over_eight.items() if name.endswith("models"))
    word = "disagrees" if over_odd < 1 + ALIKE else "agrees" if in_models > 1 + ALIKE else "depends"
    said = "; ".join(f"{name} at {own[1]:.0f}, {own[8]:.0f}, {own[64]:.0f}" for name, own in places.items())
    return verdict(word, in_models, "x", f"odd sizes, odd multiples of 8, multiples of 64 run in TFLOP/s: {said}")


def claim_98(evidence: Evidence) -> Verdict:
    """Where the step between families of h/a lies."""
    families = [head_families(evidence, operator) for operator in ("score", "aov")]
    means = {power: float(np.mean([own[power] for own in families])) for power in families[0]}
    powers = sorted(means)
    step = max(pairwise(powers), key=lambda pair: means[pair[1]] / means[pair[0]])
    best = max(means[power] for power in powers if power >= 16)
    hurt = [power for power in powers if means[power] < (1 - GREATLY) * best]
    word = "disagrees" if not {1, 2, 4} & set(hurt) else "agrees" if 8 in hurt and step[0] >= 8 else "depends"
    said = listed([f"{means[power]:.0f} ({power})" for power in powers])
    return verdict(
        word, float(step[1]), "",
        f"mean rates by the power of two in h/a are {said} TFLOP/s; the largest step is from {step[0]} to {step[1]}: a factor of "
        f"{means[step[1]] / means[step[0]]:.2f}",
    )  # fmt: skip


def claim_99(evidence: Evidence) -> Verdict:
    """Growth with h, order by heads, drops."""
    lines = {series.fixed["a"]: evidence.curve("34", series.name) for series in load_figure("34").series}
    growth = min(line[max(line)] / line[min(line)] for line in lines.values())
    low, high = max(min(line) for line in lines.values()), min(max(line) for line in lines.values())
    few, many = min(lines), max(lines)
    shared = [h for h in lines[many] if low <= h <= high]
    ordered = [h for h in shared if (value_at(lines[few], h) or 0.0) > lines[many][h]]
    names = [series.name for series in load_figure("9").series]
    waves = sum(len(falls(evidence.curve("9", name), DROP)) for name in names)
    is_grown, is_ordered = growth > 1, len(ordered) == len(shared)
    word = "disagrees" if not (is_grown or is_ordered) else "agrees" if is_grown and is_ordered and waves else "depends"
    return verdict(
        word, growth, "x",
        f"every score curve ends at {growth:.1f} times its start or more; {few} heads are above {many} at {len(ordered)} of {len(shared)} "
        f"h; Figure 9 shows {waves} drops of more than 8 %",
    )  # fmt: skip


def claim_100(_: Evidence) -> Verdict:
    """The h of the family 16 with 512 heads, which no h/a = 16 could give twice."""
    a = load_figure("33").fixed["a"]
    found = {curve.name: [item.x for item in curve.items] for curve in curves(load_figure("33"))}["pow2=16"]
    sizes = [h // a for h in found]
    return verdict(
        sizes == [16], float(len(found)), "points",
        f"with {a} heads the family 16 has the points h = {listed(found)}, whose h/a is {listed(sizes)}: what divides h/a, not its value",
    )  # fmt: skip


def named(ratios: Mapping[str, float]) -> str:
    return listed([f"{ratio:.2f} ({name})" for name, ratio in ratios.items()])


def growth_of(line: Mapping[int, float]) -> float:
    """Mean rate of the upper half of the axis over that of its first eighth."""
    end = max(line)
    late, early = [y for x, y in line.items() if x > end / 2], [y for x, y in line.items() if x <= end / 8]
    if not early:
        raise NoTimeError
    return float(np.mean(late) / np.mean(early))


def head_families(evidence: Evidence, operator: str) -> dict[int, float]:
    """Mean rates of 32 heads by the power of two in their size."""
    rates = evidence.rates(operator, [{"h": 32 * size, "a": 32} for size in HEAD_SIZES])
    return alignment_means(dict(zip(HEAD_SIZES, rates, strict=True)))
