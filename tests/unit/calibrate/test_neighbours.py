"""Pairs of neighbours on hand-made rows: who is paired with whom, and the error of their ratio."""

from __future__ import annotations

import numpy as np
import pytest

from shapewright.calibrate.neighbours import Pairs, across_classes, joined_pairs, misalignment, pairs_along, product_pairs, same_class
from shapewright.calibrate.products import Products
from shapewright.hardware.load import load_gpu


def products(*sizes: tuple[int, int, int], layout: str = "NT") -> Products:
    m, n, k = np.array(sizes, np.int64).T
    count = len(sizes)
    return Products(
        batch=np.ones(count, np.int64), m=m, n=n, k=k, dtype=np.full(count, "bf16"), layout=np.full(count, layout), time_s=np.ones(count)
    )


def pairs_of(found: Pairs) -> set[tuple[int, int]]:
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_pairs_agree_in_all_but_the_size_and_lie_within_the_change() -> None:
    size, other = np.array([100, 106, 107, 100, 104]), np.array([1, 1, 1, 2, 2])
    assert pairs_of(pairs_along(size, [other], (1.0, 1.06))) == {(0, 1), (1, 2), (3, 4)}
    assert pairs_of(pairs_along(size, [other], (1.06, 2.0))) == {(0, 2)}


def test_equal_rows_are_no_pair() -> None:
    assert not len(pairs_along(np.array([8, 8]), [np.array([1, 1])], (1.0, 2.0)))


def test_families_are_what_pairs_share() -> None:
    size, other = np.array([10, 11, 12, 10, 11]), np.array([1, 1, 1, 2, 2])
    found = pairs_along(size, [other], (1.0, 1.3))
    assert len(found) == 4 and found.num_families == 2
    assert joined_pairs([found, found]).num_families == 4


def test_products_that_differ_in_two_sizes_or_in_layout_are_no_neighbours() -> None:
    assert pairs_of(product_pairs(products((64, 64, 64), (66, 64, 64), (66, 66, 64)), (1.0, 1.06))) == {(0, 1), (1, 2)}
    mixed = products((64, 64, 64), (66, 64, 64))
    mixed.layout[1] = "NN"
    assert not len(product_pairs(mixed, (1.0, 1.06)))


def test_the_misaligned_product_comes_first() -> None:
    rows = products((4096, 4096, 4096), (4096, 4096, 4097), (4096, 4096, 4104), (4096, 4096, 4098))
    rank = misalignment(rows, load_gpu("h200"))
    assert rank.tolist() == [0, 2, 0, 1]
    pairs = product_pairs(rows, (1.0, 1.06))
    assert pairs_of(same_class(pairs, rank)) == {(0, 2)}
    assert pairs_of(across_classes(pairs, rank)) == {(1, 0), (1, 2), (3, 0), (3, 2)}


@pytest.mark.parametrize(
    ("measured", "expected", "error"), [((2.0, 1.0), (2.0, 1.0), 0.0), ((4.0, 2.0), (2.0, 1.0), 0.0), ((3.0, 1.0), (2.0, 1.0), 0.405465)]
)
def test_what_two_neighbours_share_cancels(measured: tuple[float, float], expected: tuple[float, float], error: float) -> None:
    pair = Pairs(first=np.array([0]), second=np.array([1]), family=np.array([0]))
    assert pair.errors(np.array(measured), np.array(expected))[0] == pytest.approx(error, abs=1e-6)
