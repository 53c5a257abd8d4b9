"""Verdicts on claims 40 to 56 (products, attention's too): predicted on four GPUs, unmeasured, and on times that say the opposite."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, MemoryPoint, Point
from shapewright.paper.evidence import Evidence
from shapewright.paper.figure import load_figure
from shapewright.paper.judges.asking import deepest, falls, over_line
from shapewright.paper.judges.products import regained
from shapewright.paper.judging import WORDS
from shapewright.paper.logs import log_rows
from shapewright.paper.times import Measured
from unit.paper.claim_times import GPUS, bent, claim, columns, made, said, unmeasured

IDS = range(40, 57)
ARITHMETIC = {47, 48, 53}
LOGS = Path(__file__).parents[4] / "shared" / "data" / "paper"
#: (claim, A100, H200, V100, MI250X)
PREDICTED = [
    (40, "agrees", "agrees", "agrees", "agrees"),
    (41, "depends", "depends", "depends", "depends"),
    (42, "agrees", "agrees", "agrees", "agrees"),
    (43, "agrees", "agrees", "agrees", "depends"),
    (44, "agrees", "agrees", "agrees", "agrees"),
    (45, "depends", "agrees", "depends", "agrees"),
    (46, "agrees", "depends", "agrees", "agrees"),
    (47, "agrees", "agrees", "agrees", "agrees"),
    (48, "disagrees", "disagrees", "disagrees", "disagrees"),
    (49, "agrees", "agrees", "depends", "disagrees"),
    (51, "agrees", "agrees", "agrees", "agrees"),
    (52, "depends", "depends", "depends", "disagrees"),
    (53, "disagrees", "disagrees", "disagrees", "disagrees"),
    (54, "agrees", "disagrees", "agrees", "agrees"),
    (55, "agrees", "agrees", "agrees", "agrees"),
    (56, "agrees", "agrees", "agrees", "depends"),
]


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("number", IDS)
def test_predictions_decide(number: int, gpu: str) -> None:
    found = said(number, gpu)
    assert found.word in WORDS[:3]
    assert found.value is not None and found.value == found.value
    assert any(letter.isdigit() for letter in found.reading) and "nan" not in found.reading


@pytest.mark.parametrize("number", IDS)
def test_without_rows_only_arithmetic_is_decided(number: int) -> None:
    found = unmeasured(number)
    assert found == said(number, "h200") if number in ARITHMETIC else (found.word, found.value) == ("not testable here", None)


@pytest.mark.parametrize(("number", "words"), [(number, words) for number, *words in PREDICTED])
def test_words(number: int, words: list[str]) -> None:
    assert [said(number, gpu).word for gpu in GPUS] == words


@pytest.mark.parametrize(
    ("number", "gpu", "value", "within"),
    [
        (42, "a100-40gb", 25, 3), (43, "a100-40gb", 14, 4), (44, "a100-40gb", 1.5, 0.3), (45, "a100-40gb", 18, 5),
        (47, "h200", 128, 0), (48, "h200", 0, 0), (52, "a100-40gb", 250, 1), (52, "v100-16gb", 161, 1), (52, "h200", 258, 1),
        (53, "h200", 21, 0), (55, "a100-40gb", 82.8, 4),
    ],
)  # fmt: skip
def test_values(number: int, gpu: str, value: float, within: float) -> None:
    """What the authors' logs and notebook, or a line of arithmetic, give."""
    assert said(number, gpu).value == pytest.approx(value, abs=within)


def test_readings_say_what_is_found() -> None:
    assert "25 % at a column's end in 5b" in said(43, "v100-16gb").reading and "tiles over the sweep" in said(43, "v100-16gb").reading
    assert "varies b and m: 0 of its 4 panels" in said(48, "h200").reading
    assert "8 over odd" in said(49, "h200").reading and "64 over 8 1.0" in said(49, "h200").reading
    assert "after h/a = 256, 512" in said(54, "a100-40gb").reading and "columns of tiles" in said(54, "a100-40gb").reading
    assert "the A100" in said(44, "h200").reading and "h200 at m = 8192: 2." in said(44, "h200").reading


def slow_if(condition: bool, by: float = 10.0) -> float:
    return by if condition else 1.0


def test_a_rate_that_falls_with_size_disagrees() -> None:
    found = made(40, lambda point: float(columns(point)) ** 3)
    assert found.word == "disagrees" and found.value == pytest.approx(50)


def test_small_products_at_the_bandwidth_agree() -> None:
    found = bent(41, lambda _: 1 / 25)
    assert found.word == "agrees" and "the bytes set its time" in found.reading
    assert found.unit == "%" and found.value is not None and found.value > 50


def test_times_in_proportion_to_the_columns_show_no_waves() -> None:
    found = made(42, lambda point: 1e-6 * columns(point))
    assert found.word == "disagrees" and found.value == pytest.approx(0, abs=1e-6)
    assert made(43, lambda point: 1e-6 * columns(point) * slow_if(columns(point) > 3000, 2)).word == "disagrees"


def test_a_slow_a100_does_not_lead() -> None:
    assert bent(44, lambda _: 10).word == "disagrees"


def test_batches_at_one_rate_do_not_rise_and_those_that_keep_their_best_agree() -> None:
    assert made(45, work).word == "disagrees"
    assert made(45, lambda point: work(point) ** 0.5).word == "agrees"


def work(point: Point) -> float:
    """FLOPs of a product as seconds."""
    return 2.0 * point.batch * point.m * point.n * point.k if isinstance(point, GemmPoint) else 1.0


def test_a_saw_in_steps_of_one_product_is_seen() -> None:
    found = bent(46, lambda point: slow_if(isinstance(point, GemmPoint) and point.batch in (5, 9), 1.5))
    assert found.word == "depends" and "after b = 4 and 8" in found.reading


def test_a_fall_from_one_power_of_two_to_the_next_is_no_wave() -> None:
    found = bent(46, lambda point: slow_if(isinstance(point, GemmPoint) and (point.batch, point.m) == (2, 4096), 1.5))
    assert (found.word, found.value) == ("agrees", 0)
    assert "1 over Figure 6's powers of two, which waves cannot make" in found.reading


@pytest.mark.parametrize("number", [49, 50])
def test_odd_heads_that_are_quickest_disagree(number: int) -> None:
    found = bent(number, lambda point: slow_if(isinstance(point, GemmPoint) and (point.k % 2 == 1 or point.n % 2 == 1), 0.1))
    assert found.word == "disagrees"


def test_more_heads_that_run_faster_disagree() -> None:
    found = made(51, lambda point: work(point) / point.batch**2 if isinstance(point, GemmPoint) else 1)
    assert found.word == "disagrees" and found.value is not None and found.value < 50


def test_attention_far_below_the_roofline_is_not_bound_by_memory() -> None:
    assert bent(52, lambda _: 3).word == "disagrees"


def test_even_times_have_no_peaks() -> None:
    assert made(54, work).word == "disagrees"


def test_shares_that_turn_round_disagree() -> None:
    """Everything but weights slow in the large layer."""
    found = made(55, lambda point: 1.0 if is_of_large(point) else 1e-3 if isinstance(point, GemmPoint) else 1e-6)
    assert found.word == "disagrees"
    assert made(56, lambda point: 1.0 if is_over_values(point) else 1e-3).word == "disagrees"


def is_of_large(point: Point) -> bool:
    """Batched products and passes of the layer of h = 16384 and 128 heads."""
    is_pass = isinstance(point, MemoryPoint) and (point.rows >= 4 * 128 * 2048 or point.width >= 16384)
    return is_pass or (isinstance(point, GemmPoint) and point.batch == 512)


def is_over_values(point: Point) -> bool:
    return isinstance(point, GemmPoint) and point.call == "bmm" and point.layout == "NN"


def test_kernel_names_of_measured_rows_are_counted() -> None:
    one = bent(43, lambda _: 1, source="measured", kernel="gemm_128x128")
    assert "1 kernel over the sweep" in one.reading and one.word == "depends"
    assert "kernel names were not recorded" in bent(43, lambda _: 1, source="measured").reading


def test_falls_and_teeth() -> None:
    curve = {1: 10.0, 2: 8.0, 3: 10.0, 4: 5.0, 5: 5.5}
    assert falls(curve, 0.08) == {1: pytest.approx(0.2), 3: pytest.approx(0.5)}
    assert deepest(curve) == (pytest.approx(0.5), 3)
    assert deepest({1: 1.0, 2: 2.0}) == (0.0, None)
    assert list(regained(curve)) == [1]


def test_over_line_is_one_where_times_grow_evenly() -> None:
    """t = 3 + n: rates 64/67, 128/131, 192/195 level off, and no size stands out."""
    assert over_line({n: n / (3 + n) for n in (64, 128, 192)}) == {128: pytest.approx(1)}
    assert over_line({1: 1.0, 2: 2.0, 3: 1.0}) == {2: pytest.approx(2)}


@pytest.mark.parametrize(("number", "gpu", "word"), [(42, "a100-40gb", "agrees"), (42, "v100-16gb", "agrees"), (43, "v100-16gb", "agrees"),
                                                     (45, "a100-40gb", "depends"), (41, "a100-40gb", "depends")])  # fmt: skip
def test_the_authors_logs_say_the_same(number: int, gpu: str, word: str) -> None:
    """Figures 5 and 6 of the logs in the place of measured ones."""
    if not LOGS.is_dir():
        pytest.skip("the authors' logs are not beside the repository")
    known = {figure: [row for row in log_rows(load_figure(figure), LOGS) if row.gpu == gpu] for figure in ("5a", "5b", "5c", "6a", "6c")}
    assert said(number, gpu).word == word
    assert claim(number).judge(Evidence(times=Measured(gpu=load_gpu(gpu), rows={}), known=known)).word == word
