"""Verdicts on claims 57 to 75 (the rules of section VI-B): predicted on four GPUs, unmeasured, and on times that say the opposite."""

from __future__ import annotations

import pytest

from shapewright.hardware.load import gpu_names, load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint, MemoryPoint, Point, key_of
from shapewright.paper.evidence import Evidence, recorded_points
from shapewright.paper.judging import WORDS
from shapewright.paper.times import Measured, Predicted
from unit.paper.claim_times import GPUS, bent, claim, columns, made, said, unmeasured

IDS = range(57, 76)
ARITHMETIC = {61, 62, 67, 70, 72}
#: (claim, A100, H200, V100, MI250X)
PREDICTED = [
    (57, "agrees", "depends", "depends", "disagrees"),
    (58, "depends", "depends", "depends", "disagrees"),
    (59, "depends", "disagrees", "depends", "depends"),
    (60, "agrees", "depends", "agrees", "agrees"),
    (61, "agrees", "agrees", "agrees", "agrees"),
    (62, "disagrees", "disagrees", "disagrees", "disagrees"),
    (63, "agrees", "disagrees", "agrees", "agrees"),
    (64, "depends", "depends", "depends", "disagrees"),
    (65, "agrees", "agrees", "depends", "agrees"),
    (66, "depends", "depends", "depends", "disagrees"),
    (67, "depends", "depends", "depends", "depends"),
    (68, "disagrees", "disagrees", "disagrees", "disagrees"),
    (69, "agrees", "agrees", "agrees", "agrees"),
    (70, "agrees", "agrees", "agrees", "agrees"),
    (71, "depends", "depends", "depends", "depends"),
    (72, "disagrees", "disagrees", "disagrees", "disagrees"),
    (73, *["not testable here"] * 4),
    (74, "agrees", "agrees", "agrees", "agrees"),
    (75, "agrees", "agrees", "agrees", "agrees"),
]


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("number", IDS)
def test_predictions_decide(number: int, gpu: str) -> None:
    found = said(number, gpu)
    assert (found.value is None) == (found.word == "not testable here") == (number == 73)
    assert any(letter.isdigit() for letter in found.reading) and "nan" not in found.reading


@pytest.mark.parametrize("gpu", gpu_names())
def test_every_gpu_of_the_catalogue_is_judged(gpu: str) -> None:
    assert all(said(number, gpu).word in WORDS for number in range(40, 76))


@pytest.mark.parametrize("number", IDS)
def test_without_rows_only_arithmetic_is_decided(number: int) -> None:
    found = unmeasured(number)
    assert found == said(number, "h200") if number in ARITHMETIC else (found.word, found.value) == ("not testable here", None)


@pytest.mark.parametrize("number", [each for each in range(40, 76) if each not in {73, *ARITHMETIC, *(47, 48, 53)}])
def test_measuring_what_a_judge_asks_for_decides_its_claim(number: int) -> None:
    """Rows of exactly those points, with predicted times, give the same number but for the last digits of bulk arithmetic."""
    gpu = load_gpu("h200")
    points = recorded_points([claim(number).judge], gpu)
    times = Predicted(gpu=gpu).of(points)
    rows = {key_of(point): {"status": "ok", "time_s": time.time_s} for point, time in zip(points, times, strict=True) if time is not None}
    found = claim(number).judge(Evidence(times=Measured(gpu=gpu, rows=rows)))
    assert (found.value, found.unit) == (pytest.approx(said(number, "h200").value, abs=1e-3), said(number, "h200").unit)


@pytest.mark.parametrize("number", sorted(ARITHMETIC))
def test_arithmetic_is_the_same_on_every_gpu(number: int) -> None:
    assert len({(said(number, gpu).word, said(number, gpu).value) for gpu in GPUS}) == 1


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, *words in PREDICTED])
def test_words(number: int, words: list[str]) -> None:
    assert [said(number, gpu).word for gpu in GPUS] == words


@pytest.mark.parametrize(
    ("number", "gpu", "value", "within"),
    [
        (57, "a100-40gb", 13, 4), (60, "a100-40gb", 8, 8), (61, "h200", 0, 0), (62, "h200", 24, 0), (67, "h200", 36.7, 0.1),
        (68, "a100-40gb", 95, 5), (70, "h200", 28.9, 0.1), (71, "a100-40gb", 1.18, 0.05), (72, "h200", 2.511, 0.001),
        (74, "a100-40gb", 5.1, 2),
    ],
)  # fmt: skip
def test_values(number: int, gpu: str, value: float, within: float) -> None:
    """What the authors' logs and notebook, or a line of arithmetic, give."""
    assert said(number, gpu).value == pytest.approx(value, abs=within)


def test_known_errors_are_named() -> None:
    assert "h100 132, not 144" in said(59, "h200").reading and "whole waves of 132" in said(59, "h200").reading
    assert "hardly told from others" in said(59, "h200").reading and "most of the gain comes at 8" in said(57, "h200").reading
    assert "4 of 4 times with a change of tile" in said(63, "v100-16gb").reading
    assert "b s gains nothing over odd" in said(66, "h200").reading
    assert "132 SMs: 24, e.g. h = 4224 with 33 heads" in said(62, "h200").reading
    assert "110 SMs: 13, e.g. h = 7040 with 55 heads" in said(62, "mi250x").reading
    assert "the printed 12.5 % at t = 8" in said(68, "h200").reading
    assert "heads, not their alignment, make the gain; with fused attention 20 heads run 1.0" in said(71, "h200").reading
    assert "6.66 billion: 2.51 times" in said(72, "h200").reading
    assert "SW203" in said(73, "h200").reading


def slow_if(condition: bool, by: float = 10.0) -> float:
    return by if condition else 1.0


def work(point: Point) -> float:
    """FLOPs of a product as seconds: one rate whatever the sizes."""
    return 2.0 * point.batch * point.m * point.n * point.k if isinstance(point, GemmPoint) else 1.0


@pytest.mark.parametrize("number", [57, 58, 59, 63, 66])
def test_a_gpu_of_one_rate_knows_no_rules(number: int) -> None:
    assert made(number, work, "h200").word == "disagrees"


@pytest.mark.parametrize("number", [57, 64])
def test_a_gpu_that_needs_64_agrees(number: int) -> None:
    """On the H200, where prediction sees the gain end at 8."""
    assert said(number, "h200").word == "depends"
    found = bent(number, lambda point: slow_if(isinstance(point, GemmPoint) and (point.n % 64 > 0 or point.k % 64 > 0), 1.5), "h200")
    assert found.word == "agrees"


def test_whole_tiles_and_waves_that_pay_agree_but_for_the_count_of_an_h100() -> None:
    assert bent(58, lambda point: slow_if(columns(point) % 128 > 0, 1.2)).word == "agrees"
    found = bent(59, lambda point: slow_if(columns(point) % 3456 > 0, 1.2))
    assert found.word == "depends" and found.value is not None and found.value > 15


def test_a_time_that_grows_with_the_work_shows_its_tiles() -> None:
    found = made(60, work)
    assert found.word == "disagrees" and found.value == pytest.approx(100)


def test_kernel_names_decide_whether_the_library_chose() -> None:
    assert bent(63, lambda _: 1, source="measured", kernel="gemm_128x128").word == "depends"


def test_batches_that_lose_disagree() -> None:
    found = bent(65, lambda point: slow_if(isinstance(point, GemmPoint) and point.m > 4096 * 2, 2))
    assert found.word == "disagrees" and "the next step after b = 4 loses" in found.reading
    assert bent(69, lambda point: slow_if(isinstance(point, GemmPoint) and point.m == 3 * 2048, 2)).word == "disagrees"


def test_split_products_that_slow_down_agree() -> None:
    """As many seconds on 8 GPUs as on one: what the printed figure would mean."""
    assert bent(68, lambda point: slow_if(isinstance(point, GemmPoint) and point.n < 3 * point.k, 8)).word == "agrees"


def test_alignment_would_explain_the_gain_where_aligned_heads_were_quick() -> None:
    found = bent(71, lambda point: slow_if(isinstance(point, LayerPoint) and point.model == "c2", 0.5))
    assert found.word == "agrees" and "alignment helps too" in found.reading
    assert bent(71, lambda point: slow_if(isinstance(point, LayerPoint) and point.model == "ours-1", 1.2)).word == "disagrees"


def test_slow_attention_is_no_small_part() -> None:
    assert bent(74, lambda point: slow_if(isinstance(point, GemmPoint) and point.call == "bmm")).word == "disagrees"


def test_advice_that_brings_nothing_is_told() -> None:
    """Fused attention as slow as its parts, and a rate that grows to the end."""
    slow = bent(75, lambda point: slow_if(isinstance(point, AttentionPoint)))
    assert slow.word == "depends" and slow.value is not None and slow.value < 1
    endless = made(
        75, lambda point: work(point) ** 0.5 if isinstance(point, GemmPoint) else slow_if(not isinstance(point, MemoryPoint), 1e9)
    )
    assert endless.word == "disagrees"
