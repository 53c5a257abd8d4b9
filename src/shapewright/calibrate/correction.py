"""From measured products to the corrections of a profile's menus: teachers over all classes, one small student a class.

A few wide networks learn ln(measured / tile model) from the products of all alignment classes together, since what one class teaches of
tiles and waves helps the others; their mean errs less than each. It is too slow to ask for a million products a second, so that a small
network a class learns to answer like it, on the measured products and on others like them. Products are those that no constant may be
judged on; times in seconds. Source: the fit of an H200 in docs/log.md, where each step is weighed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import Correction, KernelMenu
from ..predict.gemm_classes import CLASSES
from ..predict.gemm_correction import bounded, encode, features
from ..predict.gemm_model import Rates, alignment
from .gemm import Rows, predicted_s
from .network import Plan, distil, train
from .parallel import parallel
from .products import Products, Progress, classes_of

Array = NDArray[Any]
#: A profile with fewer products keeps its tile model as it is: networks of thousands of weights need them.
MIN_PRODUCTS = 3000
#: More passes or wider networks fit the rows better and unseen products no better.
TEACHER = Plan(hidden=(256, 256, 256), epochs=60, rows_per_step=512, decay=0.1)
NUM_TEACHERS = 4
STUDENT = Plan(hidden=(96, 96), epochs=40, rows_per_step=512, decay=0.003)
#: The same from a few thousand products: narrower, and a decay ten times as strong, is what so few rows bear (docs/log.md).
QUICK_TEACHER = Plan(hidden=(128, 128), epochs=120, rows_per_step=128, decay=1.0)
QUICK_STUDENT = Plan(hidden=(64, 64), epochs=40, rows_per_step=256, decay=0.003)
NUM_QUICK_TEACHERS, QUICK_DRAWS = 4, 4
#: Sets of like products that a student learns from beside the measured ones, and how far their sizes stray (standard deviation of ln).
DRAWS, STRAY = 10, 0.3
#: Largest |ln factor|: measured products lie within it but for two in a thousand.
BOUND = 0.7
#: Sizes keep their alignment up to this many elements when like products are drawn.
MAX_STEP = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classed:
    """Products of known classes with their tile-model times and features [feature, product]."""

    names: Array
    core_s: Array
    x: Array

    def take(self, rows: Array) -> Classed:
        """The products of a mask or an index."""
        return Classed(names=self.names[rows], core_s=self.core_s[rows], x=self.x[:, rows])


def fit_corrections(
    products: Products, menus: Mapping[str, KernelMenu], rates: Rates, pool: Mapping[str, str], progress: Progress | None = None
) -> dict[str, Correction]:
    """A correction for every class that `menus` holds; none where there are fewer than `MIN_PRODUCTS` products."""
    rows = classed(products, menus, rates, pool)
    known = np.isin(rows.names, list(menus))
    if known.sum() < MIN_PRODUCTS:
        return {}
    x, target = rows.x[:, known], np.log(products.time_s / rows.core_s).astype(np.float32)[known]
    teachers = []
    for seed in range(NUM_TEACHERS):
        if progress is not None:
            progress(f"training network {seed + 1} of {NUM_TEACHERS} on {len(target)} products")
        teachers.append(train(x, target, TEACHER, seed))
    like = [classed(_like(products, seed), menus, rates, pool) for seed in range(DRAWS)]
    corrections = {}
    for name in menus:
        own = np.concatenate([each.x[:, each.names == name] for each in (rows, *like)], axis=1)
        corrections[name] = encode(distil(teachers, own, STUDENT), BOUND)
    return corrections


def learned_corrections(
    products: Products, menus: Mapping[str, KernelMenu], rates: Rates, wanted: Collection[str] | None = None
) -> dict[str, Correction]:
    """Corrections (of the classes `wanted`) from a few thousand products in seconds: small teachers over all classes, held back."""
    rows = classed(products, menus, rates)
    known = np.isin(rows.names, list(menus))
    x, target = rows.x[:, known], np.log(products.time_s / rows.core_s).astype(np.float32)[known]
    teachers = parallel(lambda seed: train(x, target, QUICK_TEACHER, seed), range(NUM_QUICK_TEACHERS))
    like = parallel(lambda seed: classed(_like(products, seed), menus, rates), range(QUICK_DRAWS))

    def student(name: str) -> Correction:
        own = np.concatenate([each.x[:, each.names == name] for each in (rows, *like)], axis=1)
        return encode(distil(teachers, own, QUICK_STUDENT), BOUND)

    names = [name for name in menus if wanted is None or name in wanted]
    return dict(zip(names, parallel(student, names), strict=True))


def corrected_s(products: Products, name: str, menu: KernelMenu, rates: Rates) -> Array:
    """Times of products of the class `name`, corrected where its menu knows how (inside the fitted range: no weight is applied)."""
    rows = classed(products, {name: menu}, rates, dict.fromkeys(CLASSES, name))
    if menu.correction is None:
        return rows.core_s
    return rows.core_s * np.exp(bounded(menu.correction, rows.x))


def classed(
    products: Products, menus: Mapping[str, KernelMenu], rates: Rates, pool: Mapping[str, str] = MappingProxyType({})
) -> Classed:  # fmt: skip
    """Class, tile-model time (1 where `menus` lacks the class) and features of each product; `pool` takes classes for others."""
    names, groups = classes_of(products, rates.size_bytes, rates.vector_bytes)
    names = np.array([pool.get(name, name) for name in names.tolist()])
    core_s = np.ones(len(products))
    rows = Rows(batch=products.batch, m=products.m, n=products.n, k=products.k, time_s=products.time_s, groups=groups)
    for name, menu in menus.items():
        inside = np.flatnonzero(names == name)
        if len(inside):
            core_s[inside] = predicted_s(menu, rows.take(inside), rates)
    sizes = (products.batch, products.m, products.n, products.k)
    x = features(sizes, products.layout_codes, core_s.astype(np.float32), rates, is_fp16=products.dtype == "fp16")
    return Classed(names=names, core_s=core_s, x=x)


def _like(products: Products, seed: int) -> Products:
    """The products with every size but the batch scaled at random and rounded to the multiple that it came in."""
    random = np.random.default_rng(1000 + seed)
    sizes = {}
    for name in ("m", "n", "k"):
        column = getattr(products, name)
        step = alignment(column, MAX_STEP)
        scaled = column * np.exp(STRAY * random.standard_normal(len(column)))
        sizes[name] = np.clip(np.round(scaled / step).astype(np.int64) * step, np.maximum(step, column.min()), column.max())
    return Products(**{each.name: sizes.get(each.name, getattr(products, each.name)) for each in fields(products)})
