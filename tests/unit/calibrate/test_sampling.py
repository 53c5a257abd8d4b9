"""The points of a calibration: the same for a seed, balanced in every prefix, within the device's reach."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.sampling import calibration_points, reach_of
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint, MemoryPoint, Point, key_of
from shapewright.predict.gemm_classes import CLASSES, classify_products
from shapewright.predict.gemm_model import LAYOUT_CODES
from unit.hardware.user_gpu import GPU

REACH = reach_of(load_gpu("h200"))


def classes(points: list[Point]) -> Counter[str]:
    products = [point for point in points if isinstance(point, GemmPoint)]
    columns = [np.array([getattr(point, name) for point in products]) for name in ("batch", "m", "n", "k")]
    layouts = np.array([LAYOUT_CODES[point.layout] for point in products])
    return Counter(classify_products(*columns, layouts, 2)[0].tolist())


def test_a_shorter_list_is_the_start_of_a_longer_one() -> None:
    long = calibration_points(REACH, 3, 2500)
    assert len({key_of(point) for point in long}) == len(long) == 2500
    for count in (10, 400, 900, 2000):
        assert calibration_points(REACH, 3, count) == long[:count]


def test_seeds_differ() -> None:
    one, two = (set(calibration_points(REACH, seed, 600)) for seed in (0, 1))
    assert len(one & two) < 60


@pytest.mark.parametrize("start", [0, 1000, 2000])
def test_every_thousand_points_hold_every_class_and_kind(start: int) -> None:
    points = calibration_points(REACH, 0, 3000)[start : start + 1000]
    found = classes(points)
    assert set(found) == set(CLASSES) and min(found.values()) > 40
    assert sum(isinstance(point, MemoryPoint) for point in points) >= 20
    assert sum(isinstance(point, AttentionPoint) for point in points) >= 20
    assert sum(isinstance(point, GemmPoint) and point.m <= 64 for point in points) > 200


def test_products_stay_within_reach() -> None:
    products = [point for point in calibration_points(REACH, 0, 2000) if isinstance(point, GemmPoint)]
    assert max(2 * point.batch * point.m * point.n * point.k for point in products) <= REACH.max_flops
    assert max(2.0 * point.batch * point.m * point.n * point.k for point in products) > 0.1 * REACH.max_flops


def test_a_small_device_ends_with_fewer_kinds_not_never(tmp_path: Path) -> None:
    """Much of the mixture lies beyond a CPU: the draw gives up rather than go on for ever."""
    path = tmp_path / "gpu.toml"
    path.write_text(GPU)
    points = calibration_points(reach_of(load_gpu(str(path)), is_cpu=True), 0, 1500)
    assert len(points) == 1500 and max(classes(points).values()) < 1500
