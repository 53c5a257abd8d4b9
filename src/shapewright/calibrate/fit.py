"""From measured products to the menus of a profile: the tile model of each alignment class, then what it leaves over.

Products are split by (n, k) into those fitted and those held out, which give the errors and the intervals. The profiles that ship
(scripts/fit_profiles.py) and the user's (`calibrate`) are fitted here, by the same steps. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..hardware.profile import KernelMenu
from ..predict.gemm_model import Rates
from .correction import corrected_s, fit_corrections
from .gemm import Rows, fit_menu, is_held_out
from .products import Products, Progress, classes_of, fit_range, fit_step
from .scored import Array
from .spreads import spreads_by_time

#: A class with fewer rows keeps the constants it has: ten constants and a dozen efficiencies are not found in them.
MIN_ROWS = 40
#: Intervals and errors come from the rows held out: with fewer of them there is nothing to state.
MIN_HELD_OUT = 10
#: Rows of a class that the tile model is fitted to at most; more cost time and change its error by less than a tenth of a percent.
MAX_FITTED_ROWS = 6000
#: Share of the peak at which the fit of a 128 x 128 tile starts, by class; misaligned kernels advance k in small steps.
_BASE_EFFICIENCY = {"half": 0.28, "odd": 0.14}
Menus = dict[str, KernelMenu]


def fit_classes(
    products: Products, rates: Rates, pool: Mapping[str, str] | None = None, *, held_out: Array | None = None, repeats: Array | None = None,
    progress: Progress | None = None,
) -> tuple[Menus, dict[str, dict[str, Any]]]:  # fmt: skip
    """A menu for every alignment class with at least `MIN_ROWS` rows, and its held-out error.

    `pool` fits several classes as one; `held_out` marks the rows kept out (None: by `is_held_out`), `repeats` says how
    often each row counts in the corrections (None: once).
    """
    held = is_held_out(products.n, products.k) if held_out is None else held_out
    names, groups = classes_of(products, rates.size_bytes, rates.vector_bytes)
    merged = np.array([(pool or {}).get(name, name) for name in names.tolist()])
    menus: Menus = {}
    for name in sorted(set(merged.tolist())):
        fitted = np.flatnonzero((merged == name) & ~held)
        if len(fitted) < MIN_ROWS // 2 or ((merged == name) & held).sum() < MIN_HELD_OUT or (merged == name).sum() < MIN_ROWS:
            continue
        if progress is not None:
            progress(f"fitting {name} to {len(fitted)} of {(merged == name).sum()} rows")
        menus[name] = _tile_model(name, _rows(products, groups, fitted), rates)
    counted = np.flatnonzero(~held) if repeats is None else np.repeat(np.flatnonzero(~held), repeats[~held])
    corrections = fit_corrections(products.take(counted), menus, rates, pool or {}, progress)
    menus = {name: replace(menu, correction=corrections.get(name)) for name, menu in menus.items()}
    return _judged(menus, products, rates, merged, held)


def _rows(products: Products, groups: Array, index: Array) -> Rows:
    rows = Rows(batch=products.batch, m=products.m, n=products.n, k=products.k, time_s=products.time_s, groups=groups)
    return rows.take(index)


def _tile_model(name: str, fitted: Rows, rates: Rates) -> KernelMenu:
    """The menu of one class without correction, its range that of all `fitted` rows."""
    ranges = fit_range(fitted)
    thinned = fitted
    if len(fitted) > MAX_FITTED_ROWS:
        thinned = fitted.take(np.random.default_rng(0).choice(len(fitted), MAX_FITTED_ROWS, replace=False))
    menu = fit_menu(thinned, rates, base_efficiency=_BASE_EFFICIENCY.get(name, 0.85), grain=16 if name in _BASE_EFFICIENCY else 64)
    known = tuple((float(low), float(high)) for low, high in ranges.values())
    return replace(menu, num_rows=len(fitted), fit_range=known, fit_step=fit_step(fitted))


def tile_model(name: str, products: Products, rates: Rates) -> KernelMenu:
    """The menu of the class `name`, without correction, fitted to all products of that class."""
    names, groups = classes_of(products, rates.size_bytes, rates.vector_bytes)
    return _tile_model(name, _rows(products, groups, np.flatnonzero(names == name)), rates)


def _judged(menus: Menus, products: Products, rates: Rates, merged: Array, held: Array) -> tuple[Menus, dict[str, dict[str, Any]]]:
    """The menus with intervals from the rows held out, and their errors."""
    judged, errors = {}, {}
    for name, menu in menus.items():
        rows = products.take((merged == name) & held)
        predicted = corrected_s(rows, name, menu, rates)
        judged[name] = replace(menu, spreads=spreads_by_time(predicted, rows.time_s))
        errors[name] = held_out_error(menu.num_rows, predicted, rows.time_s)
    return judged, errors


def held_out_error(num_fitted: int, predicted_s: Array, measured_s: Array) -> dict[str, Any]:
    """What a profile states of a menu's error on the rows held out, percent."""
    error = 100 * np.abs(predicted_s / measured_s - 1)
    return {
        "rows_fitted": num_fitted,
        "rows_held_out": len(measured_s),
        "mape_percent": round(float(error.mean()), 2),
        "median_percent": round(float(np.median(error)), 2),
        "p90_percent": round(float(np.quantile(error, 0.9)), 2),
    }
