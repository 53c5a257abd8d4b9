"""Errors, order and drops of two sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.paper.comparing import DROP, compare, drops, value_at
from shapewright.paper.figure import load_figure
from shapewright.paper.rows import Row


def rows(curves: Mapping[str, Mapping[int, float]], *, figure: str = "8", quality: str = "") -> Sequence[Row]:
    return [
        Row(figure=figure, source="measured", gpu="h200", series=name, x=x, y=y, unit="TFLOP/s", quality=quality)
        for name, points in curves.items()
        for x, y in points.items()
    ]


def test_errors_are_signed_ratios_at_the_same_x() -> None:
    found = compare(load_figure("8"), rows({"a=12": {1: 110.0, 2: 90.0}}), rows({"a=12": {1: 100.0, 2: 100.0}}))
    assert found is not None
    assert (found.mean, found.num_points, found.worst_series) == (pytest.approx(10), 2, pytest.approx(10))
    assert found.series[0].bias == pytest.approx(0)


def test_between_its_x_a_curve_is_a_straight_line() -> None:
    assert value_at({0: 0.0, 10: 100.0}, 4) == 40 and value_at({0: 0.0, 10: 100.0}, 11) is None and value_at({}, 1) is None


def test_doubtful_points_count_nowhere() -> None:
    said = rows({"a=12": {1: 100.0}})
    assert compare(load_figure("8"), said, rows({"a=12": {1: 1.0}}, quality="doubtful")) is None


def test_order_counts_x_at_which_every_pair_stands_right() -> None:
    true = {"a=12": {1: 100.0, 2: 100.0}, "a=24": {1: 80.0, 2: 80.0}, "a=32": {1: 60.0, 2: 98.0}}
    said = {"a=12": {1: 50.0, 2: 50.0}, "a=24": {1: 40.0, 2: 60.0}, "a=32": {1: 30.0, 2: 70.0}}
    found = compare(load_figure("8"), rows(said), rows(true))
    assert found is not None and (found.order, found.num_ordered_x) == (0.5, 2)


def test_ties_may_stand_in_any_order() -> None:
    found = compare(load_figure("8"), rows({"a=12": {1: 1.0}, "a=24": {1: 2.0}}), rows({"a=12": {1: 100.0}, "a=24": {1: 96.0}}))
    assert found is not None and found.order is None


def test_a_tie_where_the_other_side_is_clear_is_no_inversion() -> None:
    true = rows({"a=12": {1: 100.0, 2: 100.0}, "a=24": {1: 90.0, 2: 90.0}})
    found = compare(load_figure("8"), rows({"a=12": {1: 100.0, 2: 100.0}, "a=24": {1: 102.0, 2: 110.0}}), true)
    assert found is not None and (found.order, found.num_ordered_x) == (0.5, 2)


def test_a_drop_may_be_one_step_aside_and_half_as_deep() -> None:
    true = {"": {1: 100.0, 2: 100.0, 3: 80.0, 4: 80.0, 5: 60.0, 6: 60.0}}
    said = {"": {1: 100.0, 2: 94.0, 3: 94.0, 4: 94.0, 5: 94.0, 6: 94.0}}
    found = compare(load_figure("5b"), rows(said, figure="5b"), rows(true, figure="5b"))
    assert found is not None
    assert (found.num_drops, found.num_drops_found, found.missed_drops) == (2, 1, (("", 4),))


def test_shares_differ_in_points() -> None:
    said = [Row(figure="2", source="predicted", gpu="h200", series="GEMMs", x="Small", y=60.0, unit="%")]
    true = [Row(figure="2", source="published", gpu="h200", series="GEMMs", x="Small", y=68.0, unit="%", quality="notebook")]
    found = compare(load_figure("2"), said, true)
    assert found is not None and found.mean == pytest.approx(8)


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=20))
def test_a_curve_against_itself_has_no_error_and_finds_its_drops(values: list[float]) -> None:
    curve = dict(enumerate(values))
    found = compare(load_figure("5b"), rows({"": curve}, figure="5b"), rows({"": curve}, figure="5b"))
    assert found is not None and found.mean == 0 and found.num_drops_found == found.num_drops == len(drops(curve))
    assert all(curve[index + 1] < (1 - DROP) * curve[index] for index in drops(curve))
