"""Verdicts on sections VI-C and VII: words and numbers predicted on several GPUs, and that other times turn them round."""

from __future__ import annotations

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, LayerPoint, ModelPoint, Point
from shapewright.paper.evidence import Evidence
from shapewright.paper.judges import nodes
from shapewright.paper.judges.modifications import PYTHIA, fall_after_best, layer_products, same_order
from shapewright.paper.times import Predicted
from unit.paper.claim_times import verdict


@pytest.mark.parametrize(
    ("number", "gpu", "word"),
    [
        (76, "h200", "depends"), (77, "h200", "depends"), (78, "a100-40gb", "depends"), (78, "v100-16gb", "not testable here"),
        (79, "h200", "agrees"), (80, "a100-40gb", "disagrees"), (80, "v100-16gb", "disagrees"), (81, "h200", "agrees"),
        (82, "h200", "depends"), (83, "h200", "agrees"), (84, "h200", "depends"), (85, "h200", "agrees"), (86, "h200", "agrees"),
        (87, "a100-40gb", "agrees"), (87, "h200", "agrees"), (87, "mi250x", "depends"), (88, "a100-40gb", "agrees"),
        (88, "v100-16gb", "depends"), (89, "h200", "not testable here"), (90, "h200", "agrees"),
    ],
)  # fmt: skip
def test_words(number: int, gpu: str, word: str) -> None:
    assert verdict(number, gpu).word == word


def test_numbers_that_decide() -> None:
    assert verdict(86, "h200").value == 3.5
    assert verdict(83, "h200").value == 25.0
    assert verdict(85, "h200").value == 2
    assert verdict(79, "h200").value == pytest.approx(1.0)
    assert verdict(88, "a100-40gb").value == pytest.approx(1.39, abs=0.15)  # Figure 13: 1.25 / 0.9
    assert "2.6875" in verdict(86, "h200").reading
    assert "10922 at 284, 44 %" in verdict(87, "h200").reading


def test_a_fused_input_product_that_saves_more_than_the_norm_makes_parallel_layers_agree() -> None:
    def scale(point: Point) -> float:
        return 0.8 if isinstance(point, GemmPoint) and point.n == 7 * point.k else 1.0

    assert verdict(76, "h200", scale).word == "agrees"
    slow = verdict(76, "h200", lambda point: 1.2 if isinstance(point, LayerPoint) and "is_parallel" in point.changes else 1.0)
    assert slow.word == "disagrees"


def test_positions_that_cost_next_to_nothing_agree_and_slower_learned_ones_disagree() -> None:
    def quick(point: Point) -> float:
        return 0.85 if isinstance(point, LayerPoint) and "rotary" in point.changes else 1.0

    assert verdict(77, "h200", quick).word == "agrees"
    assert verdict(77, "h200", lambda point: 2.0 if isinstance(point, LayerPoint) and not point.changes else 1.0).word == "disagrees"


def test_positions_leave_the_products_alone() -> None:
    assert len({layer_products(position) for position in ("learned", "rotary", "alibi", "none")}) == 1
    assert len(layer_products("rotary")) == 6


def test_a_slow_11008_disagrees_and_a_harmless_10922_depends() -> None:
    assert verdict(87, "h200", lambda point: 1.2 if isinstance(point, GemmPoint) and point.n == 11008 else 1.0).word == "disagrees"
    assert verdict(87, "h200", lambda point: 0.46 if isinstance(point, GemmPoint) and point.n == 10922 else 1.0).word == "depends"


def test_a_slower_pythia_1b_disagrees() -> None:
    found = verdict(88, "a100-40gb", lambda point: 3.0 if isinstance(point, ModelPoint) and point.model == "pythia-1b" else 1.0)
    assert found.word == "disagrees"
    assert found.value is not None and found.value < 1


def test_two_engines_that_order_models_the_other_way_round_disagree() -> None:
    def scale(point: Point) -> float:
        turned = isinstance(point, ModelPoint) and point.runtime == "compiled"
        return 100.0 ** -PYTHIA.index(point.model) if turned else 1.0  # pyright: ignore[reportAttributeAccessIssue]

    found = verdict(90, "a100-40gb", scale)
    assert found.word == "disagrees"
    assert found.value is not None and found.value < 0.1


def test_a_width_of_six_that_runs_as_well_unaligned_disagrees() -> None:
    assert verdict(84, "a100-40gb").value == pytest.approx(0.36, abs=0.03)
    assert verdict(84, "a100-40gb", lambda point: 0.3 if isinstance(point, GemmPoint) and point.k == 2562 else 1.0).word == "disagrees"


def test_the_fastest_split_of_two_nodes_is_named() -> None:
    found = verdict(80, "v100-16gb")
    rates = nodes.split_rates(Evidence(times=Predicted(gpu=load_gpu("v100-16gb"))), 6)
    assert found.value == max(rates, key=lambda t: rates[t])
    assert 6 in rates and 1 not in rates  # one V100 cannot hold a stage of the model


def test_a_fall_is_counted_from_where_the_best_is_reached() -> None:
    assert fall_after_best({1: 10.0, 2: 95.0, 3: 100.0, 4: 80.0, 5: 90.0}) == (pytest.approx(0.2), 4)
    assert fall_after_best({1: 10.0, 2: 50.0, 3: 100.0}) == (0.0, 3)


def test_ties_are_no_pairs() -> None:
    assert same_order([1.0, 1.01, 2.0], [1.0, 3.0, 2.0]) == (1, 2)
