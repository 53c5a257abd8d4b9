"""Corrections learn what the tile model leaves over, and only from enough products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shapewright.calibrate import correction as module
from shapewright.calibrate.correction import corrected_s, fit_corrections
from shapewright.calibrate.network import Plan
from shapewright.calibrate.products import Products
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import KernelMenu
from shapewright.predict.gemm import product_rates
from unit.calibrate.synthetic import TRUTH

H200 = load_gpu("h200")
RATES = product_rates(H200, "bf16")
MENUS: dict[str, KernelMenu] = {"aligned_nt": TRUTH}


def products(count: int, seed: int, dtype: str = "bf16") -> Products:
    """Aligned products that take the tile model's time, but a third longer where m is no multiple of 128."""
    random = np.random.default_rng(seed)
    m, n, k = (8 * random.integers(8, 400, count) for _ in range(3))
    plain = Products(
        batch=np.ones(count, int), m=m, n=n, k=k, dtype=np.full(count, dtype), layout=np.full(count, "NT"), time_s=np.ones(count)
    )  # fmt: skip
    return replace(plain, time_s=corrected_s(plain, "aligned_nt", TRUTH, RATES) * np.where(m % 128, 4 / 3, 1))


def test_few_products_leave_the_tile_model_as_it_is() -> None:
    assert fit_corrections(products(200, seed=0), MENUS, RATES, {}) == {}


def test_what_the_tile_model_leaves_over_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PRODUCTS", 1000)
    monkeypatch.setattr(module, "TEACHER", Plan(hidden=(32, 32), epochs=30, rows_per_step=64, decay=0.01))
    monkeypatch.setattr(module, "NUM_TEACHERS", 2)
    monkeypatch.setattr(module, "STUDENT", Plan(hidden=(32, 32), epochs=10, rows_per_step=64, decay=0.01))
    said: list[str] = []
    found = fit_corrections(products(3000, seed=0), MENUS, RATES, {}, said.append)
    menu = replace(TRUTH, correction=found["aligned_nt"])
    unseen = products(500, seed=1)
    error, before = (np.abs(corrected_s(unseen, "aligned_nt", each, RATES) / unseen.time_s - 1).mean() for each in (menu, TRUTH))
    assert before > 0.2 and error < 0.05 and len(said) == 2
    # No fp16 row was fitted: fp16 products get the same factor.
    half = products(500, seed=1, dtype="fp16")
    assert corrected_s(half, "aligned_nt", menu, RATES) == pytest.approx(corrected_s(unseen, "aligned_nt", menu, RATES))
