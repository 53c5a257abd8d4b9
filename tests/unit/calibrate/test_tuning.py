"""Fresh rows change a profile where it is wrong, and leave it where it is right."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from shapewright.calibrate.network import TunePlan, tune
from shapewright.calibrate.products import Products, predicted
from shapewright.calibrate.sampling import calibration_points, reach_of
from shapewright.calibrate.tuning import paced, predicted_menu_s, tune_classes
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint
from shapewright.predict.gemm import product_rates
from shapewright.predict.gemm_correction import forward
from shapewright.predict.profiles import FOLDER_VARIABLE, load_profile

H200 = load_gpu("h200")
RATES = product_rates(H200, "bf16")


@pytest.fixture(autouse=True)
def no_own_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")


@cache
def drawn(seed: int, count: int) -> Products:
    """Products of a calibration, at the times that the shipped H200 profile predicts."""
    points = [each for each in calibration_points(reach_of(H200), seed, count) if isinstance(each, GemmPoint) and each.dtype == "bf16"]
    sizes = {name: np.array([getattr(point, name) for point in points]) for name in ("batch", "m", "n", "k")}
    names = {name: np.array([getattr(point, name) for point in points]) for name in ("dtype", "layout")}
    products = Products(**sizes, **names, time_s=np.ones(len(points)))
    return replace(products, time_s=predicted(products, H200).time_s)


def noisy(products: Products, factor: float | np.ndarray = 1.0) -> Products:
    random = np.random.default_rng(0)
    return replace(products, time_s=products.time_s * factor * np.exp(0.02 * random.standard_normal(len(products))))


def test_another_pace_is_found_and_holds_on_unseen_products() -> None:
    rows = noisy(drawn(0, 900), 1.2)
    before = predicted(rows, H200).time_s
    menus = load_profile(H200).menus
    found = {each.name: each for each in tune_classes(rows, menus, RATES, before)}
    for name in ("aligned_nt", "aligned_nn_tn", "half"):
        each = found[name]
        assert each.menu is not None and each.before_percent is not None and each.after_percent is not None
        assert each.before_percent > 12 and each.after_percent < 6
    unseen = drawn(1, 500)
    is_odd_k = (unseen.layout == "NT") & (unseen.batch == 1) & (unseen.n % 8 == 0) & (unseen.k % 8 == 0)
    own, menu = unseen.take(is_odd_k), found["aligned_nt"].menu
    assert menu is not None
    assert np.abs(predicted_menu_s(own, "aligned_nt", menu, RATES) / (1.2 * own.time_s) - 1).mean() < 0.05


def test_a_profile_that_is_right_is_kept() -> None:
    rows = noisy(drawn(0, 700))
    found = tune_classes(rows, load_profile(H200).menus, RATES, predicted(rows, H200).time_s)
    assert {each.choice for each in found} <= {"kept", "too few rows, kept"}
    assert all(each.menu is None for each in found)


def test_the_same_rows_give_the_same_menus() -> None:
    rows = noisy(drawn(0, 500), 1.3)
    before = predicted(rows, H200).time_s
    one, two = (tune_classes(rows, load_profile(H200).menus, RATES, before) for _ in range(2))
    assert one == two


def test_a_refitted_menu_drops_the_correction_of_the_old_one() -> None:
    """A correction knows the tile model that it was trained on: on top of another one it would be wrong."""
    random = np.random.default_rng(1)
    rows = drawn(0, 500)
    rows = replace(rows, time_s=5e-6 + 30 * rows.time_s * np.exp(0.02 * random.standard_normal(len(rows))))
    old = load_profile(H200).menus
    for each in tune_classes(rows, old, RATES, predicted(rows, H200).time_s):
        if each.choice == "refitted":
            assert each.menu is not None and each.menu.correction is None
        elif each.menu is not None and each.menu.candidates != old[each.name].candidates:
            assert each.menu.correction != old[each.name].correction


def test_a_pace_multiplies_the_time() -> None:
    menu = replace(load_profile(H200).menus["aligned_nt"], correction=None)
    rows = drawn(0, 300)
    rows = rows.take((rows.layout == "NT") & (rows.batch == 1) & (rows.n % 8 == 0) & (rows.k % 8 == 0))
    ratio = predicted_menu_s(rows, "aligned_nt", paced(menu, 1.5), RATES) / predicted_menu_s(rows, "aligned_nt", menu, RATES)
    assert np.allclose(ratio, 1.5, rtol=0.02)


def test_tuning_learns_and_leaves_what_does_not_vary() -> None:
    random = np.random.default_rng(0)
    network = tuple(
        (random.standard_normal((b, a)).astype(np.float32) * 0.3, np.zeros((b, 1), np.float32)) for a, b in ((4, 8), (8, 8), (8, 1))
    )
    x = random.standard_normal((4, 600)).astype(np.float32)
    x[3] = 1.0
    target = forward(network, x) + np.float32(0.2)
    tuned = tune(network, x, target, TunePlan(epochs=40, step_size=3e-3, pull=0.1))
    assert np.abs(forward(tuned, x) - target).mean() < 0.05
    assert np.array_equal(tuned[0][0][:, 3], network[0][0][:, 3])
    held = tune(network, x, target, TunePlan(epochs=40, step_size=3e-3, pull=300.0))
    assert np.abs(forward(held, x) - forward(network, x)).mean() < 0.1
