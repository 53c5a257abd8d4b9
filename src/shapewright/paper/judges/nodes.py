"""Verdicts on section VII-A: nodes of six GPUs. Counts of heads, widths in elements; a step in tokens a second and GPU."""

from __future__ import annotations

from dataclasses import replace

from ...hardware.load import default_node
from ...measure.points import GemmPoint
from ...operators.memory import memory_use
from ...predict.explain import explain
from ...read import catalogue
from ...read.resolve import load_shape
from ...workload import Workload
from ..evidence import Evidence, NoTimeError
from ..judging import Verdict
from .common import listed, power_of_two, verdict

#: 6.4B parameters whose heads and layers divide by six and by eight.
BASE, SHAPE = "gpt3-2.7b", {"hidden_size": 4608, "num_attention_heads": 48, "num_hidden_layers": 24, "vocab_size": 50688}
#: Micro-batches of a step for each GPU.
MICRO_BATCHES = 4
#: Models that were trained on Summit, as the paper has it.
SUMMIT_MODELS = ("redpajama-incite-3b", "redpajama-incite-7b")
#: h with h/6 a multiple of 1, 16, 64 and 32.
WIDTHS = (2562, 2592, 2688, 2880)
#: Rates nearer than this are alike.
ALIKE = 0.05


def claim_80(evidence: Evidence) -> Verdict:
    """The fastest split of two nodes into t and pipeline stages."""
    node = default_node(evidence.gpu)
    if evidence.is_measured or node is None:
        what = "a split over two nodes is predicted alone" if evidence.is_measured else f"no node is known for {evidence.gpu.name}"
        return verdict("not testable here", None, "", what)
    size = node.gpus_per_node
    rates = split_rates(evidence, size)
    best = max(rates, key=lambda t: rates[t])
    said = listed([f"{rate:.0f} at t = {t}" for t, rate in rates.items()])
    how = f"two nodes of {size} {evidence.gpu.name} train 6.4B parameters fastest at t = {best}: {said} tokens/s a GPU, the rest pipeline"
    return verdict(best == size, float(best), "GPUs", how)


def claim_81(_: Evidence) -> Verdict:
    """Models of the catalogue whose heads divide by 8 and not by 6."""
    shapes = [load_shape(name) for name in catalogue.names()]
    eight = [shape for shape in shapes if shape.num_attention_heads % 8 == 0]
    lost = [shape for shape in eight if shape.num_attention_heads % 6]
    base = load_shape(BASE)
    heads, h = base.num_attention_heads, base.hidden_size
    what = f"{heads} heads and h = {h} of {base.name} leave {heads % 6} and {h % 6} over"
    return verdict(
        bool(lost), float(len(lost)), "models",
        f"{len(lost)} of {len(eight)} models of the catalogue whose heads divide by 8 have heads that do not divide by 6; {what}",
    )  # fmt: skip


def claim_82(_: Evidence) -> Verdict:
    """The power of two in h/6 and h/8."""
    both = [h for h in range(24, 16385) if h % 24 == 0]
    smaller = [h for h in both if power_of_two(h // 6) < power_of_two(h // 8)]
    over = -load_shape(BASE).hidden_size % 6
    near = load_shape(BASE).hidden_size + over
    word = "agrees" if smaller else "depends" if power_of_two(near // 6) < 64 else "disagrees"
    return verdict(
        word, float(len(smaller)), "widths",
        f"of {len(both)} widths that 6 and 8 divide, {len(smaller)} have a smaller power of two at t = 6, since h/6 holds four times that "
        f"of h/8; the loss comes where a width is merely rounded up to 6, as {near - over} to {near}, whose h/6 = {near // 6} holds "
        f"{power_of_two(near // 6)}",
    )  # fmt: skip


def claim_83(_: Evidence) -> Verdict:
    """Head counts made for six GPUs on 2, 4 and 8."""
    heads = range(6, 97, 6)
    shares = {t: sum(a % t == 0 for a in heads) / len(heads) for t in (2, 4, 8)}
    said = listed([f"{100 * share:.0f} % by {t}" for t, share in shares.items()])
    return verdict(shares[8] < 1, 100 * shares[8], "%", f"of {len(heads)} head counts in multiples of 6, {said} divide evenly")


def claim_84(evidence: Evidence) -> Verdict:
    """The QKV product of one of six GPUs."""
    rates = {h: 6 * 8192 * h * h / 6 / evidence.seconds(qkv_of_six(h, evidence.dtype)) / 1e12 for h in WIDTHS}
    needless = [h for h in (2592, 2880) if rates[h] >= (1 - ALIKE) * rates[2688]]
    is_poor = rates[2562] < (1 - ALIKE) * rates[2688]
    word = "disagrees" if not is_poor else "depends" if needless else "agrees"
    shapes = [load_shape(name) for name in SUMMIT_MODELS]
    said = listed([f"{rate:.0f} at h = {h} (h/6 a multiple of {power_of_two(h // 6)})" for h, rate in rates.items()])
    left = listed([str(shape.hidden_size % 6) for shape in shapes])
    return verdict(
        word, rates[2562] / rates[2688], "x",
        f"QKV on one of six GPUs runs at {said} TFLOP/s; RedPajama-INCITE's widths {listed([shape.hidden_size for shape in shapes])} leave "
        f"{left} over 6",
    )  # fmt: skip


def split_rates(evidence: Evidence, size: int) -> dict[int, float]:
    """Tokens a second and GPU by t, on two nodes of `size` GPUs that hold the model so; pipeline stages take the rest."""
    shape, total = load_shape(BASE, **SHAPE), 2 * size
    asked = Workload(phase="train", micro_batch=1, global_batch=MICRO_BATCHES * total, sequence=2048, dtype=evidence.dtype)
    rates = {}
    for t in range(1, total + 1):
        if total % t == 0 and shape.num_attention_heads % t == 0 and shape.num_hidden_layers % (total // t) == 0:
            workload = replace(asked, tensor_parallel=t, pipeline_parallel=total // t)
            if memory_use(shape, workload).total <= evidence.gpu.memory_bytes:
                rates[t] = explain(shape, evidence.gpu, workload).step.tokens_per_s / total
    if not rates:
        raise NoTimeError
    return rates


def qkv_of_six(h: int, dtype: str) -> GemmPoint:
    return GemmPoint(m=8192, n=3 * h // 6, k=h, dtype=dtype)
