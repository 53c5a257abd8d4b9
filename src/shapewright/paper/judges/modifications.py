"""Verdicts on section VI-C (parallel layers, positions, fused attention, SwiGLU) and VII-B, VII-C (SwiGLU widths, inference).

Layers are GPT-3 2.7B's, forward, b = 4, s = 2048, fused attention; where they are measured, in plain PyTorch (`reference`).
Seconds, TFLOP/s.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...measure.hf_fields import parse_changes
from ...measure.points import GemmPoint, LayerPoint
from ...operators.lower import lower
from ...operators.types import Gemm
from ...read.resolve import load_shape
from ...workload import Workload
from ..cases import decode_point, layer_flops
from ..comparing import TIE
from ..evidence import Evidence, NoTimeError
from ..figure import load_figure
from ..judging import Verdict
from .common import listed, percent, power_of_two, verdict

MODEL, TOKENS = "gpt3-2.7b", 8192
#: A change of a layer's time that is no noise, and the largest that is still called slight.
REAL, SLIGHT = 0.01, 0.05
#: Nearer than this to the best rate counts as the top group; below the other share of it lies far below.
TOP, FAR = 0.95, 0.8
#: Widths round 8h/3 of h = 4096, and the rule's own.
SWIGLU_H, SWIGLU_WIDTHS, SWIGLU_RULE, LLAMA_WIDTH = 4096, tuple(range(10824, 11024, 4)), 10922, 11008
GATED_MODELS = ("llama-2-7b", "llama-2-70b", "mistral-7b")
PYTHIA = ("pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b")
#: Architectures for which FlashAttention-2 has no kernels.
WITHOUT_FLASH = ("volta", "turing")


def claim_76(evidence: Evidence) -> Verdict:
    """Parallel against sequential layers, input products fused."""
    h = load_shape(MODEL).hidden_size
    sequential_s, parallel_s = (layer_s(evidence, changes=changes) for changes in ("", "is_parallel=true"))
    apart_s, fused_s = sum(product_s(evidence, n=n * h, k=h) for n in (3, 4)), product_s(evidence, n=7 * h, k=h)
    norm_s, product_gain_s = sequential_s - parallel_s, apart_s - fused_s
    gain = sequential_s / (parallel_s - product_gain_s)
    is_fusion = product_gain_s > norm_s
    word = "disagrees" if gain < 1 - REAL else "agrees" if gain > 1 + REAL and is_fusion else "depends"
    return verdict(
        word, gain, "x",
        f"a parallel layer of h = {h} with fused input products is {gain:.3f} times as fast as a sequential one "
        f"({1e3 * sequential_s:.2f} ms): one norm and one sum less save {1e6 * norm_s:.0f} us, one input product in place of two "
        f"{1e6 * product_gain_s:.0f} us",
    )  # fmt: skip


def claim_77(evidence: Evidence) -> Verdict:
    """Learned, rotary and ALiBi positions."""
    changes = ("", "position_embedding=rotary", "position_embedding=alibi")
    learned, rotary, alibi = (layer_s(evidence, changes=each) for each in changes)
    costs = {"rotary": rotary / learned, "ALiBi": alibi / learned}
    products = {position: layer_products(position) for position in ("learned", "rotary", "alibi")}
    is_same = len(set(products.values())) == 1
    largest = max(costs.values())
    word = "disagrees" if not is_same or largest < 1 - REAL else "agrees" if largest <= 1 + SLIGHT else "depends"
    how = "SDPA given its bias as a mask" if evidence.is_measured else "by a kernel that adds its bias itself"
    return verdict(
        word, largest, "x",
        f"rotary positions in eager kernels add {percent(costs['rotary'])} to a layer with learned ones, ALiBi {percent(costs['ALiBi'])} "
        f"({how}); its {len(products['learned'])} products are {'the same' if is_same else 'not the same'}",
    )  # fmt: skip


def claim_78(evidence: Evidence) -> Verdict:
    """Fused attention over h: how far it falls once its best rate is reached."""
    if evidence.gpu.architecture in WITHOUT_FLASH:
        return verdict("not testable here", None, "", f"FlashAttention-2 has no kernels for {evidence.gpu.full_name}")
    block, kernel = evidence.curve("12", "attention block"), evidence.curve("12", "kernel alone")
    (block_fall, _), (kernel_fall, worst) = fall_after_best(block), fall_after_best(kernel)
    largest = max(block_fall, kernel_fall)
    is_plateau = block_fall <= 1 - FAR
    word = "agrees" if largest <= 1 - FAR else "depends" if is_plateau else "disagrees"
    return verdict(
        word, 100 * largest, "%",
        f"the block reaches {max(block.values()):.0f} TFLOP/s and falls by at most {100 * block_fall:.0f} % beyond; the kernel alone "
        f"reaches {max(kernel.values()):.0f} and is {100 * kernel_fall:.0f} % below it at h/a = {worst // load_figure('12').fixed['a']}",
    )  # fmt: skip


def claim_79(_: Evidence) -> Verdict:
    """Weights of a SwiGLU MLP at 8h/3 against a plain one at 4h."""
    h = 3 * 1024
    ratio = mlp_ratio(h, 8 * h // 3)
    models = listed([f"{name} {gated_ratio(name):.2f}" for name in GATED_MODELS])
    return verdict(ratio == 1, ratio, "x", f"at 8h/3 three matrices hold {ratio:.3g} times the weights of two at 4h; released: {models}")


def claim_85(_: Evidence) -> Verdict:
    """The power of two in int(8h/3)."""
    power = power_of_two(8 * SWIGLU_H // 3)
    widths = range(64, 16385, 64)
    poor = sum(power_of_two(8 * h // 3) < 8 for h in widths)
    return verdict(
        power < 8, float(power), "",
        f"int(8 x {SWIGLU_H} / 3) = {8 * SWIGLU_H // 3} is a multiple of {power}; of {len(widths)} h in multiples of 64 the rule leaves "
        f"{100 * poor / len(widths):.0f} % without a factor of 8",
    )  # fmt: skip


def claim_86(_: Evidence) -> Verdict:
    """Inner widths of Llama 2 over h."""
    small, large = (load_shape(name) for name in ("llama-2-7b", "llama-2-70b"))
    ratios = [shape.intermediate_size / shape.hidden_size for shape in (small, large)]
    weights = gated_ratio("llama-2-70b")
    return verdict(
        ratios == [2.6875, 3.5], ratios[1], "x",
        f"{small.intermediate_size}/{small.hidden_size} = {ratios[0]:.4f} (8/3 = 2.6667), {large.intermediate_size}/{large.hidden_size} = "
        f"{ratios[1]:.1f}: {weights:.2f} times the weights of a plain MLP of 4h",
    )  # fmt: skip


def claim_87(evidence: Evidence) -> Verdict:
    """Rates of MLP products by their width."""
    widths = (*SWIGLU_WIDTHS, SWIGLU_RULE)
    points = [GemmPoint(m=TOKENS, n=width, k=SWIGLU_H, dtype=evidence.dtype) for width in widths]
    seconds = [evidence.seconds(point) for point in points]
    rates = {width: 2 * TOKENS * SWIGLU_H * width / each / 1e12 for width, each in zip(widths, seconds, strict=True)}
    best = max(rates, key=lambda width: rates[width])
    llama, rule = rates[LLAMA_WIDTH] / rates[best], rates[SWIGLU_RULE] / rates[best]
    num_top = sum(rate >= TOP * rates[best] for rate in rates.values())
    word = "disagrees" if llama < TOP else "agrees" if rule <= FAR else "depends"
    return verdict(
        word, llama, "of the best",
        f"{LLAMA_WIDTH} runs at {rates[LLAMA_WIDTH]:.0f} TFLOP/s, {100 * llama:.0f} % of the best ({best}), {SWIGLU_RULE} at "
        f"{rates[SWIGLU_RULE]:.0f}, {100 * rule:.0f} %; {num_top} of {len(rates)} widths lie within {100 * (1 - TOP):.0f} % of the best",
    )  # fmt: skip


def claim_88(evidence: Evidence) -> Verdict:
    """Pythia-1B against Pythia-410M, a token at a time."""
    small, large = (evidence.time(decode_point(name, evidence.dtype, "eager")) for name in ("pythia-410m", "pythia-1b"))
    waited, alone = small.wall_s / large.wall_s, small.time_s / large.time_s
    word = "agrees" if min(waited, alone) > 1 else "depends" if max(waited, alone) > 1 else "disagrees"
    return verdict(
        word, waited, "x",
        f"a token takes {1e3 * small.wall_s:.2f} ms with Pythia-410M and {1e3 * large.wall_s:.2f} ms with Pythia-1B in eager mode: "
        f"{waited:.2f} times as fast; of GPU time alone {alone:.2f} times",
    )  # fmt: skip


def claim_89(_: Evidence) -> Verdict:
    """A loss is trained for, not predicted."""
    return verdict("not testable here", None, "", "a test loss needs a trained model: nothing here trains one, and no time tells it")


def claim_90(evidence: Evidence) -> Verdict:
    """Order of the Pythia models in two engines, and of two of them in training."""
    seconds = [[evidence.time(decode_point(name, evidence.dtype, runtime)).wall_s for name in PYTHIA] for runtime in ("eager", "compiled")]
    same, asked = same_order(*seconds)
    small, large = "pythia-410m", "pythia-1b"
    rates = [3 * layer_flops(load_shape(name)) / layer_s(evidence, model=name, phase="train") / 1e12 for name in (small, large)]
    decoded = seconds[0][PYTHIA.index(small)] > seconds[0][PYTHIA.index(large)]
    is_alike = (rates[1] > rates[0]) == decoded
    word = "agrees" if same == asked and is_alike else "depends" if same >= 0.8 * asked else "disagrees"
    return verdict(
        word, same / asked, "of pairs",
        f"{same} of {asked} pairs of Pythia models stand in the same order eager and compiled; a training layer of Pythia-1B "
        f"runs at {rates[1]:.0f} TFLOP/s against {rates[0]:.0f} of Pythia-410M, the {'slower' if decoded else 'faster'} one to generate",
    )  # fmt: skip


def layer_s(evidence: Evidence, *, model: str = MODEL, changes: str = "", phase: str = "forward") -> float:
    """Seconds of one reference layer."""
    point = LayerPoint(model=model, source="reference", changes=changes, phase=phase, dtype=evidence.dtype)  # pyright: ignore[reportArgumentType]
    return evidence.seconds(point)


def product_s(evidence: Evidence, *, n: int, k: int) -> float:
    """Seconds of (b s, k) x (k, n)."""
    return evidence.seconds(GemmPoint(m=TOKENS, n=n, k=k, dtype=evidence.dtype))


def layer_products(position: str) -> tuple[Gemm, ...]:
    """The products of one layer with such positions, forward, in separate kernels."""
    shape = load_shape(MODEL, **parse_changes(f"position_embedding={position}"))
    kinds = {kind.name for kind in shape.layer_kinds}
    operators = lower(shape, Workload(phase="forward", attention="unfused", dtype="fp16", micro_batch=4, sequence=2048), "fp16")
    return tuple(each.work for each in operators if isinstance(each.work, Gemm) and each.layer in kinds)


def fall_after_best(curve: Mapping[int, float]) -> tuple[float, int]:
    """By what share a curve lies below its best at the worst x beyond the first that comes within a tenth of it, and that x."""
    best = max(curve.values())
    first = min(x for x, y in curve.items() if y >= 0.9 * best)
    worst = min((x for x in curve if x >= first), key=lambda x: curve[x])
    return 1 - curve[worst] / best, worst


def same_order(first: list[float], second: list[float]) -> tuple[int, int]:
    """Pairs in the same order, and pairs that are no tie in either."""
    pairs = [(i, j) for i in range(len(first)) for j in range(i)]
    clear = [(i, j) for i, j in pairs if all(abs(values[i] / values[j] - 1) > TIE for values in (first, second))]
    if not clear:
        raise NoTimeError
    return sum((first[i] > first[j]) == (second[i] > second[j]) for i, j in clear), len(clear)


def mlp_ratio(h: int, width: int) -> float:
    """Weights of three matrices of `width` over those of two of 4h."""
    return 3 * h * width / (2 * h * 4 * h)


def gated_ratio(name: str) -> float:
    shape = load_shape(name)
    return mlp_ratio(shape.hidden_size, shape.intermediate_size)
