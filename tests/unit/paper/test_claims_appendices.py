"""Verdicts on sections VIII and IX, the appendices and the decoding chart: words, numbers, and other times that turn them round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, LayerPoint, ModelPoint, Point
from shapewright.paper.evidence import Evidence
from shapewright.paper.judges.appendices import HEAD_SIZES, growth_of
from shapewright.paper.judges.asking import alignment_means
from shapewright.paper.judges.decoding import least_s
from shapewright.paper.judging import all_claims, judged
from shapewright.paper.times import Source, Time
from shapewright.read.resolve import load_shape
from unit.paper.claim_times import Scaled, verdict


@pytest.mark.parametrize(
    ("number", "gpu", "word"),
    [
        (91, "h200", "depends"), (92, "h200", "depends"), (93, "a100-40gb", "depends"), (93, "h200", "depends"), (94, "h200", "agrees"),
        (95, "h200", "not testable here"), (96, "a100-40gb", "agrees"), (96, "mi250x", "depends"), (97, "a100-40gb", "agrees"),
        (97, "h200", "depends"), (97, "mi250x", "disagrees"), (98, "a100-40gb", "depends"), (98, "h200", "depends"),
        (98, "mi250x", "disagrees"), (99, "a100-40gb", "agrees"), (100, "h200", "disagrees"), (101, "h200", "depends"),
        (102, "h200", "disagrees"), (103, "h200", "disagrees"),
    ],
)  # fmt: skip
def test_words(number: int, gpu: str, word: str) -> None:
    assert verdict(number, gpu).word == word


def test_numbers_that_decide() -> None:
    assert verdict(93, "a100-40gb").value == pytest.approx(1.389, rel=0.08)
    assert verdict(98, "h200").value == 8
    assert verdict(100, "h200").value == 2
    assert "8192 and 24576" in verdict(100, "h200").reading
    assert verdict(92, "h200").value == pytest.approx(2.1, abs=0.1)


def test_one_sequence_cannot_outrun_the_reading_of_its_weights() -> None:
    shape, mi210 = load_shape("llama-2-7b"), load_gpu("mi210")
    assert 1 / least_s(shape, mi210, 1, 0) == pytest.approx(1.6e12 / (2 * shape.num_params))
    assert verdict(102, "h200").value == pytest.approx(119, abs=1)
    assert least_s(shape, mi210, 2, 1024) > least_s(shape, mi210, 1, 1024) > least_s(shape, mi210, 1, 0)


def test_kernels_that_tell_one_model_apart_from_another_disagree() -> None:
    found = verdict(91, "a100-40gb", lambda point: 1.5 if isinstance(point, LayerPoint) and point.model == "opt-6.7b" else 1.0)
    assert found.word == "disagrees"


def test_a_gain_that_is_left_with_fused_attention_agrees_and_none_at_all_disagrees() -> None:
    assert verdict(93, "h200", lambda point: 0.7 if isinstance(point, LayerPoint) and point.model == "ours-2" else 1.0).word == "agrees"
    assert (
        verdict(93, "h200", lambda point: 1.6 if isinstance(point, LayerPoint) and point.model.startswith("ours") else 1.0).word
        == "disagrees"
    )


def test_three_orders_of_an_input_are_told_apart_by_a_measurement() -> None:
    assert verdict(95, "h200", source="measured").word == "agrees"
    slow = verdict(95, "h200", lambda point: 1.3 if isinstance(point, GemmPoint) and point.split == 4 else 1.0, source="measured")
    assert slow.word == "disagrees"
    assert slow.value == pytest.approx(30)
    small = verdict(
        95, "h200", lambda point: 1.3 if isinstance(point, GemmPoint) and point.split == 4 and point.k < 512 else 1.0, source="measured"
    )
    assert small.word == "depends"


@pytest.mark.parametrize(("other", "word"), [("one", "agrees"), ("another", "disagrees"), ("", "disagrees")])
def test_orders_that_one_kernel_runs_are_alike_whatever_the_clock(other: str, word: str) -> None:
    def seconds(point: Point) -> float:
        return 1.3 if isinstance(point, GemmPoint) and point.split == 4 else 1.0

    def kernel(point: Point) -> str:
        return other if isinstance(point, GemmPoint) and point.split == 4 else "one"

    claim = next(claim for claim in all_claims() if claim.id == 95)
    found = judged(claim, Evidence(times=Scaled(gpu=load_gpu("h200"), scale=seconds, source="measured", kernel=kernel)))
    assert (found.word, found.value) == (word, pytest.approx(30))
    assert ("clock" in found.reading) == (word == "agrees")


def test_rates_that_shrink_with_h_do_not_agree() -> None:
    assert verdict(96, "a100-40gb", lambda point: point.k**2 if isinstance(point, GemmPoint) else 1.0).word != "agrees"


def test_multiples_of_64_that_win_in_models_agree() -> None:
    def scale(point: Point) -> float:
        return 0.8 if isinstance(point, GemmPoint) and point.n % 64 == 0 and point.k % 64 == 0 else 1.0

    assert verdict(97, "h200", scale).word == "agrees"


def test_heads_of_8_that_are_slow_agree() -> None:
    def scale(point: Point) -> float:
        return 4.0 if isinstance(point, GemmPoint) and min(point.n, point.k) % 16 else 1.0

    found = verdict(98, "h200", scale)
    assert found.word == "agrees"
    assert found.value == 16


def test_heads_of_one_family_have_the_mean_size_of_every_other() -> None:
    assert set(alignment_means({size: float(size) for size in HEAD_SIZES}).values()) == {96.0}
    assert list(alignment_means(dict.fromkeys(HEAD_SIZES, 1.0))) == [1, 2, 4, 8, 16, 32, 64]


def test_growth_is_the_end_of_a_curve_over_its_beginning() -> None:
    assert growth_of({1: 10.0, 4: 20.0, 8: 40.0}) == 4.0


def test_an_engine_bound_by_its_host_gains_what_the_chart_says() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Slow:
        gpu: Gpu
        source: Source = "predicted"

        def of(self, points: Sequence[Point]) -> list[Time | None]:
            return [Time(time_s=0.008, low_s=0.008, high_s=0.008, wall_s=0.016) for _ in points]

    claim = next(claim for claim in all_claims() if claim.id == 101)
    found = judged(claim, Evidence(times=Slow(gpu=load_gpu("h200"))))
    assert found.word == "agrees"
    assert found.value == pytest.approx(2.0)


def test_a_faster_llama_with_the_larger_gain_for_opt_agrees() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Turned:
        gpu: Gpu
        source: Source = "predicted"

        def of(self, points: Sequence[Point]) -> list[Time | None]:
            is_opt = [isinstance(point, ModelPoint) and point.model == "opt-6.7b" for point in points]
            return [Time(time_s=0.009 if opt else 0.008, low_s=0.0, high_s=0.0, wall_s=0.03 if opt else 0.016) for opt in is_opt]

    claim = next(claim for claim in all_claims() if claim.id == 103)
    assert judged(claim, Evidence(times=Turned(gpu=load_gpu("h200")))).word == "agrees"
