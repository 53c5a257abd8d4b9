"""Verdicts on claims 1 to 39: on predictions of four GPUs, without times, and on made-up times that turn them round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pytest

from shapewright.errors import InputError
from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint, MemoryPoint, ModelPoint, Point
from shapewright.paper.evidence import Evidence, recorded_points
from shapewright.paper.judges import layer
from shapewright.paper.judges.common import listed, percent, rank_correlation
from shapewright.paper.judging import WORDS, Claim, Verdict, all_claims, judged
from shapewright.paper.times import Measured, Predicted, Source, Time
from shapewright.read.resolve import load_shape

GPUS = ("a100-40gb", "h200", "v100-16gb", "mi250x")
IDS = range(1, 40)
ARITHMETIC = {4, 5, 7, 12, 13, 15, 16, 17, *range(23, 36), 37, 39}


def claim(number: int) -> Claim:
    return next(each for each in all_claims() if each.id == number)


@cache
def predicted(number: int, gpu: str) -> Verdict:
    """Without the answer that a missing time becomes: predictions have them all."""
    return claim(number).judge(Evidence(times=Predicted(gpu=load_gpu(gpu))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Invented:
    """Seconds by a rule."""

    gpu: Gpu
    seconds: Callable[[Point], float]

    @property
    def source(self) -> Source:
        return "measured"

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        return [Time(time_s=each, low_s=each, high_s=each, wall_s=each) for each in map(self.seconds, points)]


def invented(number: int, seconds: Callable[[Point], float], gpu: str = "a100-40gb") -> Verdict:
    return claim(number).judge(Evidence(times=Invented(gpu=load_gpu(gpu), seconds=seconds)))


def at_one_rate(point: Point) -> float:
    """Products at 100 TFLOP/s whatever their sizes; anything else a millisecond."""
    if isinstance(point, GemmPoint):
        return 2.0 * point.batch * point.m * point.n * point.k / 1e14
    return 1e-3


def test_every_claim_is_there_with_what_it_expects() -> None:
    own = [each for each in all_claims() if each.id in IDS]
    assert [each.id for each in own] == list(IDS)
    assert {each.id for each in own if each.is_arithmetic} == ARITHMETIC
    assert all(each.text and each.expected and each.how and each.where for each in own)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("number", IDS)
def test_predictions_decide(number: int, gpu: str) -> None:
    found = predicted(number, gpu)
    assert found.word in WORDS
    assert (found.value is None) == (found.word == "not testable here") == (number == 38)
    assert len(found.reading) > 30 and "nan" not in found.reading


@pytest.mark.parametrize("number", IDS)
def test_without_times_only_arithmetic_is_decided(number: int) -> None:
    found = judged(claim(number), Evidence(times=Measured(gpu=load_gpu("h200"), rows={})))
    if number in ARITHMETIC:
        assert found == predicted(number, "h200")
    else:
        assert found.word == "not testable here" and found.value is None


@pytest.mark.parametrize("number", sorted(ARITHMETIC))
def test_arithmetic_is_the_same_on_every_gpu(number: int) -> None:
    first, *others = (predicted(number, gpu) for gpu in GPUS)
    assert all(each == first for each in others)
    assert recorded_points([claim(number).judge], load_gpu("h200")) == []


@pytest.mark.parametrize(
    ("number", "word", "value"),
    [
        (4, "agrees", 3), (5, "disagrees", 4), (7, "agrees", 6), (13, "disagrees", 2), (16, "agrees", 128), (17, "agrees", 108),
        (23, "agrees", 6), (24, "agrees", 4), (25, "agrees", 7), (26, "agrees", 12), (27, "agrees", 12), (28, "agrees", 12),
        (29, "agrees", 12), (30, "agrees", 24), (31, "disagrees", 9), (32, "agrees", 2_651_548_160), (33, "depends", 5.09),
        (34, "agrees", 22), (35, "disagrees", 33.44), (37, "disagrees", 12), (39, "agrees", 6),
    ],
)  # fmt: skip
def test_arithmetic_verdicts(number: int, word: str, value: float) -> None:
    """The paper's own errors come out: GPT-Neo's heads, GPUs in no figure, Table II's logits, 12 h^2 L, FLOPs of one layer, Table III."""
    found = predicted(number, "a100-40gb")
    assert (found.word, found.value) == (word, pytest.approx(value, rel=1e-3))


def test_readings_name_what_is_wrong() -> None:
    assert "gpt-neo-2.7b (h, L, a) = (2560, 32, 20)" in predicted(5, "h200").reading
    assert "h100 and mi250x are in none" in predicted(13, "h200").reading
    assert "(8192, 50257) x (50257, 2560)" in predicted(31, "h200").reading
    assert "expanse's processor" in predicted(37, "h200").reading


#: (claim, A100, H200, V100, MI250X)
TIMED = [
    (1, "agrees", "agrees", "agrees", "agrees"),
    (2, "agrees", "agrees", "agrees", "agrees"),
    (3, "agrees", "agrees", "agrees", "agrees"),
    (6, "depends", "depends", "depends", "depends"),
    (8, "agrees", "depends", "depends", "depends"),
    (9, "agrees", "agrees", "agrees", "agrees"),
    (10, "agrees", "agrees", "agrees", "agrees"),
    (14, "agrees", "agrees", "depends", "disagrees"),
    (18, "agrees", "depends", "agrees", "disagrees"),
    (19, "depends", "depends", "disagrees", "disagrees"),
    (20, "agrees", "depends", "agrees", "agrees"),
    (21, "depends", "disagrees", "depends", "depends"),
    (22, "agrees", "agrees", "agrees", "agrees"),
]


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, *words in TIMED])
def test_timed_verdicts(number: int, words: list[str]) -> None:
    assert [predicted(number, gpu).word for gpu in GPUS] == words


@pytest.mark.parametrize(
    ("number", "gpu", "low", "high"),
    [
        (1, "a100-40gb", 36, 50),  # 38.8 in the paper
        (3, "a100-40gb", 1.85, 2.15),  # 1.99 in the paper
        (6, "a100-40gb", 15, 22),  # 17.86 in the paper, forward
        (8, "a100-40gb", 90.9, 98.9),  # 94.9 in the paper
        (18, "a100-40gb", 84, 93),  # 226 of 256 TFLOP/s in the authors' log: 88
        (18, "h200", 93, 99),  # 757 of 782 TFLOP/s over 14,336 products measured: 97
        (18, "v100-16gb", 98, 102),
        (21, "a100-40gb", 1.1, 1.5),
        (14, "a100-40gb", 15, 30),  # about 25 in the paper
    ],
)
def test_timed_values(number: int, gpu: str, low: float, high: float) -> None:
    value = predicted(number, gpu).value
    assert value is not None and low < value < high


def test_fused_attention_leaves_little_of_the_gain() -> None:
    assert "+3.7 %" in predicted(1, "a100-40gb").reading
    assert predicted(6, "a100-40gb").reading.endswith("by +4.2 % with fused attention")


class TestTheOpposite:
    """Times that turn a verdict round."""

    def test_equal_layers(self) -> None:
        assert [invented(number, at_one_rate).word for number in (1, 3, 6)] == ["disagrees"] * 3

    def test_training_in_the_reverse_order(self) -> None:
        def seconds(point: Point) -> float:
            assert isinstance(point, LayerPoint)
            heads = load_shape(point.model).num_attention_heads
            return heads if point.phase == "forward" else 1 / heads

        assert (invented(2, seconds).word, invented(2, seconds).value) == ("disagrees", pytest.approx(-1))
        assert invented(2, lambda point: load_shape(getattr(point, "model")).num_attention_heads).word == "agrees"  # noqa: B009

    def test_a_gain_with_either_attention(self) -> None:
        found = invented(6, lambda point: 1.0 if getattr(point, "model", "") == "ours-1" else 1.2)
        assert (found.word, found.value) == ("agrees", pytest.approx(20))

    def test_products_that_lose_their_share(self) -> None:
        def seconds(point: Point) -> float:
            return {GemmPoint: 1.0, MemoryPoint: 1e-9 * getattr(point, "width", 0) ** 2}.get(type(point), 1.0)

        assert invented(9, lambda point: 1e-3 if isinstance(point, GemmPoint) else 1e-9).word == "agrees"
        assert invented(9, seconds).word == "disagrees"

    def test_shares_of_another_gpu(self) -> None:
        found = invented(8, lambda point: 1.0 if isinstance(point, GemmPoint | AttentionPoint) else 1e-9)
        assert (found.word, found.value) == ("depends", pytest.approx(100, abs=0.01))

    def test_one_rate_for_all_products(self) -> None:
        """No alignment, no tiles, no waves."""
        words = {number: invented(number, at_one_rate).word for number in (10, 18, 20, 21, 22, 36)}
        assert words == {10: "disagrees", 18: "disagrees", 20: "disagrees", 21: "disagrees", 22: "disagrees", 36: "agrees"}
        assert invented(18, at_one_rate, "v100-16gb").word == "disagrees"

    def test_whole_tiles_and_waves_as_the_paper_has_them(self) -> None:
        """One block of 256 x 128 an SM at a time, each wave as long."""

        def seconds(point: Point) -> float:
            assert isinstance(point, GemmPoint)
            blocks = -(-point.m // 256) * -(-point.n // 128)
            return float(-(-blocks // 108))

        assert [(invented(number, seconds).word, invented(number, seconds).value) for number in (20, 21, 22)] == [
            ("agrees", 100), ("agrees", 2), ("agrees", 3)
        ]  # fmt: skip

    def test_further_columns_that_cost_nothing(self) -> None:
        assert invented(20, lambda point: 1.0).word == "not testable here"

    def test_a_vocabulary_that_costs_nothing(self) -> None:
        found = invented(14, lambda point: 1.0 if isinstance(point, ModelPoint) else at_one_rate(point))
        assert (found.word, found.value) == ("disagrees", pytest.approx(0))

    def test_each_power_of_two_gains(self) -> None:
        def seconds(point: Point) -> float:
            assert isinstance(point, GemmPoint)
            return at_one_rate(point) / (point.k & -point.k)

        assert invented(19, seconds).word == "agrees"
        assert invented(19, at_one_rate).word == "depends"

    def test_alignment_of_64_needed_and_not(self) -> None:
        def needs(elements: int) -> Callable[[Point], float]:
            return lambda point: at_one_rate(point) * (1 if getattr(point, "n") % elements == 0 else 3)  # noqa: B009

        assert [invented(18, needs(elements), "h200").word for elements in (64, 8, 4)] == ["agrees", "depends", "disagrees"]
        assert [invented(18, needs(elements), "v100-16gb").word for elements in (64, 8, 4)] == ["disagrees", "agrees", "disagrees"]

    def test_products_whose_rate_hangs_on_the_split(self) -> None:
        found = invented(36, lambda point: at_one_rate(point) * (2 if getattr(point, "k") >= 8192 else 1))  # noqa: B009
        assert found.word == "disagrees"

    def test_a_formula_that_is_wrong(self) -> None:
        found = layer._formula({"qkv": lambda a, h, t: (1, 8192, 2 * h // t, h)})
        assert (found.word, found.value) == ("disagrees", 0)

    def test_encoder_decoders_that_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(layer, "load_shape", lambda source: load_shape("gpt2" if isinstance(source, dict) else source))
        assert claim(23).judge(Evidence(times=Measured(gpu=load_gpu("h200"), rows={}))).word == "disagrees"


def test_encoder_decoders_are_refused() -> None:
    with pytest.raises(InputError, match="encoder-decoder"):
        load_shape({"model_type": "t5", "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128})


def test_the_software_of_a_measurement_stands_beside_the_papers() -> None:
    runs = ({"torch": "2.11.0", "cuda": "13.0"}, {"torch": "2.1.1", "rocm": "5.6"}, {})
    found = claim(38).judge(Evidence(times=Measured(gpu=load_gpu("h200"), rows={}, environments=runs)))
    assert found.reading.endswith("measured here with PyTorch 2.1.1, ROCm 5.6 and PyTorch 2.11.0, CUDA 13.0")


def test_words_for_numbers() -> None:
    assert (percent(1.187), percent(0.9)) == ("+18.7 %", "-10.0 %")
    assert (listed([]), listed(["a"]), listed([1, 2]), listed(["a", "b", "c"])) == ("", "a", "1 and 2", "a, b and c")
    assert rank_correlation([3, 1, 2], [30, 10, 20]) == 1
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1
