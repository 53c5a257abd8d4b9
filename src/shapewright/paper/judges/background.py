"""Judges of claims 15 to 22: what a product is, and how a GPU cuts it into aligned loads, tiles and waves (sections III-A and III-B).

Timed products are (m x k)(k x n) in the evidence's dtype. Those of tiles and waves have m = 128 or 256 rows for each SM, so that every 128
columns are one wave of 128 x 128, or of 256 x 128, tiles on whatever GPU is asked about. Rates in TFLOP/s, times in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...hardware.load import load_gpu
from ...measure.points import GemmPoint
from ...operators.table2 import table2
from ...operators.types import Gemm
from ...read.resolve import load_shape
from ..cases import layer_operators
from ..evidence import Evidence
from ..judging import Verdict, Word
from .common import graded, listed, percent, verdict

#: Elements by which sizes are made smaller to leave them with that largest power of two as a divisor; the tiles stay as many.
LESS = {64: 0, 8: 8, 4: 12, 2: 10, 1: 9}
#: Elements along one side of a tile.
SIDE = 128
#: Inner dimension of the timed tiles.
INNER = 4096


def claim_15(evidence: Evidence) -> Verdict:
    a, b, c = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4), np.arange(8).reshape(2, 4)
    rows = [[2 * sum(a[i, p] * b[p, j] for p in range(3)) + 3 * c[i, j] for j in range(4)] for i in range(2)]
    difference = float(np.abs(2 * a @ b + 3 * c - rows).max())
    operators = layer_operators({"h": 2560, "a": 32, "attention": "unfused"}, evidence.dtype)
    sums = [operator.name for operator in operators if operator.name.endswith("_residual")]
    is_apart = not any(isinstance(operator.work, Gemm) for operator in operators if operator.name in sums)
    reading = (
        f"2 A B + 3 C agrees with its sums element by element within {difference:g}; the layer adds its skip connections in "
        f"{len(sums)} kernels of their own ({listed(sums)}), so that its products have beta = 0"
    )
    return verdict(difference == 0 and is_apart and bool(sums), difference, "", reading)


def claim_16(evidence: Evidence) -> Verdict:
    a, b, c = np.arange(12).reshape(2, 2, 3), np.arange(24).reshape(2, 3, 4), np.arange(16).reshape(2, 2, 4)
    each = [2 * a[i] @ b[i] + 3 * c[i] for i in range(2)]
    difference = float(np.abs(2 * a @ b + 3 * c - np.stack(each)).max())
    batches = {row.operator: row.gemm.batch for row in table2(load_shape("gpt3-2.7b"), micro_batch=4, sequence=2048) if row.gemm}
    batched = [name for name, batch in batches.items() if batch > 1]
    reading = (
        f"a batched product equals its products one by one within {difference:g}; of a layer's products {listed(batched)} are batched, "
        f"{batches['Attention Score']} at b = 4 and a = 32"
    )
    is_attention = batched == ["Attention Score", "Attention over Value"] and batches["Attention Score"] == 4 * 32
    return verdict(difference == 0 and is_attention, batches["Attention Score"], "products", reading)


def claim_17(evidence: Evidence) -> Verdict:
    sms = load_gpu("a100-40gb").num_sms
    others = listed([f"{name} has {load_gpu(name).num_sms}" for name in ("v100-16gb", "h100", "h200", "mi250x")])
    return verdict(sms == 108, sms, "SMs", f"an A100 runs the tiles of a product on {sms} SMs; {others}")


def claim_18(evidence: Evidence) -> Verdict:
    rates = {power: _aligned_rate(evidence, less) for power, less in LESS.items()}
    share = {power: rate / rates[64] for power, rate in rates.items()}
    words = listed([f"{rates[power]:.0f}" for power in sorted(rates)])
    reading = (
        f"products of 8192 rows run at {words} TFLOP/s where n and k are odd and multiples of 2, 4, 8 and 64: a multiple of 8 reaches "
        f"{100 * share[8]:.0f} % of a multiple of 64, one of 4 {100 * share[4]:.0f} %, and 64 adds {percent(1 / share[8])} to 8"
    )
    return verdict(_alignment_word(share, is_volta=evidence.gpu.architecture == "volta"), 100 * share[8], "%", reading)


def claim_19(evidence: Evidence) -> Verdict:
    rates = {power: _score_rate(evidence, power) for power in (1, 2, 4, 8, 16)}
    steps = {power: rates[power] / rates[power // 2] for power in (2, 4, 8, 16)}
    word: Word = "disagrees" if min(steps.values()) < 0.95 else "agrees" if min(steps.values()) > 1.02 else "depends"
    worst = min(steps, key=steps.__getitem__)
    words, changes = listed([f"{rate:.0f}" for rate in rates.values()]), listed([percent(step) for step in steps.values()])
    reading = (
        f"score products of 32 heads around 48, 80 and 112 wide run at {words} TFLOP/s where 1, 2, 4, 8 and 16 is the largest power "
        f"of two in h/a: the doublings change {changes}"
    )
    return verdict(word, 100 * (steps[worst] - 1), "%", reading)


def claim_20(evidence: Evidence) -> Verdict:
    starts = (256, 384, 512, 768, 1024, 2048)
    columns = [start + more for start in starts for more in (0, 8, SIDE)]
    before, first, last = np.array(_wave_seconds(evidence, SIDE, columns)).reshape(-1, 3).sum(axis=0).tolist()
    if last <= before:
        return verdict("not testable here", None, "", f"128 further columns cost no time on {evidence.gpu.name}")
    paid = (first - before) / (last - before)
    efficiency = (starts[0] + 8) / (starts[0] + SIDE)
    reading = (
        f"the first 8 of 128 further columns cost {100 * paid:.0f} % of what all 128 do (added up over {len(starts)} widths of "
        f"{starts[0]} to {starts[-1]}), where 6 % would be in proportion; {starts[0] + 8} columns use {100 * efficiency:.0f} % "
        "of whole tiles of 128"
    )
    return verdict(graded(paid, 0.75, 0.25), 100 * paid, "%", reading)


def claim_21(evidence: Evidence) -> Verdict:
    sms = evidence.gpu.num_sms
    sizes = [(side * blocks, n) for side, n in ((SIDE, 256), (256, SIDE)) for blocks in (sms, sms + 1)]
    full, over, full_turned, over_turned = [
        evidence.seconds(GemmPoint(m=m, n=n, k=INNER, dtype=evidence.dtype, layout="NN")) for m, n in sizes
    ]
    ratios = over / full, over_turned / full_turned
    reading = (
        f"one block more than the {sms} SMs takes {ratios[0]:.2f} times as long with blocks of 128 x 256, {ratios[1]:.2f} times with "
        "256 x 128; two whole waves would take 2.00 times"
    )
    return verdict(graded(max(ratios), 1.8, 1.1), max(ratios), "x", reading)


def claim_22(evidence: Evidence) -> Verdict:
    columns = list(range(64, 513, 8))
    seconds = _wave_seconds(evidence, 256, columns)
    rates = {n: n / time_s for n, time_s in zip(columns, seconds, strict=True)}
    falls = {n: 1 - rates[after] / rates[n] for n, after in pairwise(columns)}
    edges = {edge: max(falls[n] for n in (edge - 8, edge, edge + 8)) for edge in (128, 256, 384)}
    held = [edge for edge, fall in edges.items() if fall > 0.08]
    elsewhere = [n for n, fall in falls.items() if fall > 0.08 and min(abs(n - edge) for edge in edges) > 8]
    others = f"; it also drops after {listed(elsewhere)}" if elsewhere else ""
    words = listed([f"{percent(1 - fall)} after {edge}" for edge, fall in edges.items()])
    reading = (
        f"with 256 rows for each of {evidence.gpu.num_sms} SMs, where each 128 columns fill a wave, the rate changes {words} columns"
        f"{others}"
    )
    return verdict(graded(len(held), 2, 1), len(held), "of 3 drops", reading)


def _aligned_rate(evidence: Evidence, less: int) -> float:
    """Mean TFLOP/s of products of 8192 rows whose n = k lies `less` elements below whole tiles."""
    sizes = [base - less for base in (4096, 6144, 8192)]
    points = [GemmPoint(m=8192, n=n, k=n, dtype=evidence.dtype) for n in sizes]
    return float(np.mean([2 * 8192 * n * n / evidence.seconds(point) / 1e12 for n, point in zip(sizes, points, strict=True)]))


def _alignment_word(share: dict[int, float], *, is_volta: bool) -> Word:
    """Whether full rate needs multiples of 8 (V100), of 64 (every later GPU), or neither: rates relative to those at 64."""
    if is_volta:
        return "agrees" if share[8] >= 0.95 and share[4] < 0.95 else "disagrees"
    if share[8] < 0.93:
        return "agrees"
    return "depends" if share[4] < 0.9 else "disagrees"


def _score_rate(evidence: Evidence, power: int) -> float:
    """Mean TFLOP/s of score products of 32 heads whose size has `power` as its largest power of two; mean sizes are 48, 80 and 112."""
    less = power % 16
    widths = sorted({middle + way * less for middle in (48, 80, 112) for way in (-1, 1)})
    return float(np.mean(evidence.rates("score", [{"h": 32 * width, "a": 32} for width in widths])))


def _wave_seconds(evidence: Evidence, rows: int, columns: Sequence[int]) -> list[float]:
    """Seconds of products with `rows` rows for each SM, by their columns."""
    m = rows * evidence.gpu.num_sms
    return [evidence.seconds(GemmPoint(m=m, n=n, k=INNER, dtype=evidence.dtype, layout="NN")) for n in columns]
