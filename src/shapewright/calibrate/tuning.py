"""From a few thousand fresh products and a profile in force to better menus: for each alignment class the candidate that errs least.

Candidates, by what they need: `paced` (the menu in force, all times times one factor), `tuned` (its correction trained on, held near what
it is), `refitted` (a tile model of its own), `learned` (that, corrected by networks trained on all classes). Each is fitted to 70 % of the
(n, k) and scored on the rest; the menu in force stays unless one errs clearly less. What is chosen learns once more from all rows, so that
the errors stated are those of the fit before. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..hardware.profile import Correction, KernelMenu
from ..predict.gemm_correction import bounded, decode, encode
from ..predict.gemm_model import Rates
from .correction import BOUND, Classed, classed, learned_corrections
from .fit import MIN_HELD_OUT, MIN_ROWS, Menus, held_out_error, tile_model
from .gemm import is_held_out
from .network import TunePlan, tune
from .parallel import parallel
from .products import Products, Progress, fit_range, fit_step
from .score import absolute_percent
from .scored import Array
from .spreads import spreads_by_time

#: A candidate must err at most this share of the error in force: less is chance.
CLEARLY = 0.97
#: Rows of a class that a correction is tuned with at least, and of all classes that networks are trained on at least.
MIN_TUNED, MIN_LEARNED = 60, 800
#: The split is its own: rows that the shipped fits hold out are no rarer among those fitted here.
SALT = "calibrate"
#: How a correction is trained on: gently, where little has changed, and freely.
TUNE_PLANS = {
    "tuned": TunePlan(epochs=10, step_size=1e-4, pull=3.0),
    "tuned freely": TunePlan(epochs=40, step_size=5e-4, pull=1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A class's menu, how it was found, and its mean error on held-out rows before and after (percent)."""

    name: str
    menu: KernelMenu | None
    """None: the menu in force stays."""
    choice: str
    num_rows: int
    num_held_out: int
    before_percent: float | None
    after_percent: float | None
    errors: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fresh:
    """Fresh products beside the profile in force: its menus, what it says of them (`rows` without, `before_s` with its corrections)."""

    products: Products
    held: Array
    rows: Classed
    before_s: Array
    menus: Mapping[str, KernelMenu]
    rates: Rates


def tune_classes(
    products: Products, menus: Mapping[str, KernelMenu], rates: Rates, before_s: Array, progress: Progress | None = None
) -> list[Tuned]:
    """What became of every class that has rows; `before_s` is what the profile in force says of each product."""
    held = is_held_out(products.n, products.k, salt=SALT)
    fresh = _Fresh(
        products=products, held=held, rows=classed(products, menus, rates), before_s=before_s, menus=menus, rates=rates
    )  # fmt: skip
    seen = products.take(~held)
    say = progress or (lambda _: None)
    candidates = {name: _from_menu(fresh, name) for name in np.unique(fresh.rows.names).tolist()}
    say(f"fitting the tile model of {len(candidates)} classes to {len(seen)} products")
    refitted = _refitted(seen, rates, held_counts(fresh.rows.names, held))
    for name, menu in refitted.items():
        candidates[name]["refitted"] = menu
    if refitted and len(seen) >= MIN_LEARNED:
        say(f"training networks on {len(seen)} products")
        for name, correction in learned_corrections(seen, refitted, rates).items():
            candidates[name]["learned"] = replace(refitted[name], correction=correction)
    chosen = [_chosen(fresh, name, each) for name, each in candidates.items()]
    if all(each.menu is None for each in chosen):
        return chosen
    say(f"fitting what was chosen to all {len(products)} products")
    return _on_all_rows(fresh, chosen, list(refitted))


def held_counts(names: Array, held: Array) -> dict[str, int]:
    """Held-out rows of each class."""
    return {name: int(((names == name) & held).sum()) for name in np.unique(names).tolist()}


def _from_menu(fresh: _Fresh, name: str) -> Menus:
    """Candidates of a class that keep the tile model in force."""
    inside = (fresh.rows.names == name) & ~fresh.held
    products, menu = fresh.products.take(inside), fresh.menus[name]
    if len(products) < MIN_HELD_OUT:
        return {}
    found = {"paced": paced(menu, _pace(products, fresh.before_s[inside]))}
    if menu.correction is not None and len(products) >= MIN_TUNED:
        for how, plan in TUNE_PLANS.items():
            found[how] = _tuned(fresh.rows.take(inside), products, menu, plan)
    return {how: _covering(each, products) for how, each in found.items()}


def _tuned(rows: Classed, products: Products, menu: KernelMenu, plan: TunePlan) -> KernelMenu:
    assert menu.correction is not None
    target = np.log(products.time_s / rows.core_s).astype(np.float32)
    return replace(menu, correction=encode(tune(decode(menu.correction), rows.x, target, plan), menu.correction.bound))


def paced(menu: KernelMenu, factor: float) -> KernelMenu:
    """The menu with every time multiplied by `factor`, as far as shares of a peak allow."""
    if menu.correction is not None:
        *hidden, (matrix, bias) = decode(menu.correction)
        shifted = (*hidden, (matrix, (bias + np.log(factor)).astype(np.float32)))
        return replace(menu, correction=encode(shifted, max(menu.correction.bound, BOUND)))
    times = {name: getattr(menu, name) * factor for name in ("launch_s", "prologue_s", "epilogue_s", "split_s", "split_share")}
    shares = {"feed": menu.feed / factor, "bandwidth_share": min(menu.bandwidth_share / factor, 1.0)}
    candidates = tuple(replace(each, efficiency=min(each.efficiency / factor, 1.0)) for each in menu.candidates)
    return replace(menu, candidates=candidates, **times, **shares)


def _covering(menu: KernelMenu, products: Products) -> KernelMenu:
    """The menu with these products among its rows, its range the wider for them where rows of this GPU were fitted before."""
    fresh = tuple((float(low), float(high)) for low, high in fit_range(products).values())
    known = menu.fit_range if menu.num_rows and menu.fit_range else fresh
    wider = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(known, fresh, strict=True))
    step = min(menu.fit_step, fit_step(products)) if menu.num_rows else fit_step(products)
    return replace(menu, num_rows=menu.num_rows + len(products), fit_range=wider, fit_step=step, origin="")


def _refitted(seen: Products, rates: Rates, num_held: Mapping[str, int]) -> Menus:
    """A tile model of every class with enough rows."""
    rows = classed(seen, {}, rates)
    names = [
        name
        for name, count in num_held.items()
        if count >= MIN_HELD_OUT and (rows.names == name).sum() >= MIN_ROWS // 2 and (rows.names == name).sum() + count >= MIN_ROWS
    ]
    return dict(zip(names, parallel(lambda name: tile_model(name, seen, rates), names), strict=True))


def _chosen(fresh: _Fresh, name: str, candidates: Menus) -> Tuned:
    """The candidate with the least held-out error, or none."""
    rates, out = fresh.rates, (fresh.rows.names == name) & fresh.held
    count, rows = int((fresh.rows.names == name).sum()), fresh.products.take(out)
    plain = {"name": name, "num_rows": count, "num_held_out": len(rows)}
    if len(rows) < MIN_HELD_OUT or not candidates:
        return Tuned(**plain, menu=None, choice="too few rows, kept", before_percent=None, after_percent=None, errors={})
    before = float(absolute_percent(fresh.before_s[out], rows.time_s).mean())
    scored = {
        how: float(absolute_percent(predicted_menu_s(rows, name, menu, rates), rows.time_s).mean()) for how, menu in candidates.items()
    }
    best = min(scored, key=lambda how: scored[how])
    if scored[best] > CLEARLY * before:
        return Tuned(**plain, menu=None, choice="kept", before_percent=before, after_percent=scored[best], errors={})
    predicted = predicted_menu_s(rows, name, candidates[best], rates)
    menu = replace(candidates[best], spreads=spreads_by_time(predicted, rows.time_s))
    errors = held_out_error(menu.num_rows, predicted, rows.time_s)
    return Tuned(**plain, menu=menu, choice=best, before_percent=before, after_percent=scored[best], errors=errors)


def predicted_menu_s(products: Products, name: str, menu: KernelMenu, rates: Rates) -> Array:
    """Times of products of one class by a menu, never below the roofline."""
    found = classed(products, {name: menu}, rates, dict.fromkeys(np.unique(classed(products, {}, rates).names).tolist(), name))
    time_s = found.core_s if menu.correction is None else found.core_s * np.exp(bounded(menu.correction, found.x))
    moved = products.batch * (
        rates.size_bytes * (1.0 * products.m * products.k + 1.0 * products.k * products.n)
        + rates.output_bytes * 1.0 * products.m * products.n
    )
    return np.maximum(time_s, np.maximum(products.flops / rates.flops_per_s, moved / rates.bytes_per_s))


def _on_all_rows(fresh: _Fresh, chosen: list[Tuned], fitted: list[str]) -> list[Tuned]:
    """The chosen menus, their tiles, factors and networks fitted to all rows; intervals stay those of the rows held out before."""
    products, rates = fresh.products, fresh.rates
    learned = {each.name for each in chosen if each.choice == "learned"}
    # Networks learn from all classes, whichever are taken.
    wanted = fitted if learned else [each.name for each in chosen if each.choice == "refitted"]
    tiles = dict(zip(wanted, parallel(lambda name: tile_model(name, products, rates), wanted), strict=True))
    corrections = learned_corrections(products, tiles, rates, learned) if learned else {}
    return [
        each if each.menu is None else replace(each, menu=replace(_final(fresh, each, tiles, corrections), spreads=each.menu.spreads))
        for each in chosen
    ]


def _final(fresh: _Fresh, each: Tuned, tiles: Menus, corrections: Mapping[str, Correction]) -> KernelMenu:
    assert each.menu is not None
    if each.choice in ("refitted", "learned"):
        return replace(tiles[each.name], correction=corrections.get(each.name))
    inside = fresh.rows.names == each.name
    own, base = fresh.products.take(inside), fresh.menus[each.name]
    if each.choice in TUNE_PLANS:
        return _covering(_tuned(fresh.rows.take(inside), own, base, TUNE_PLANS[each.choice]), own)
    return _covering(paced(base, _pace(own, fresh.before_s[inside])), own)


def _pace(products: Products, before_s: Array) -> float:
    """Median of measured / predicted."""
    return float(np.exp(np.median(np.log(products.time_s / before_s))))
