"""Neighbours: measured rows that differ in one size alone, and the error of their predicted ratio.

    e = ln(measured_a / measured_b) - ln(predicted_a / predicted_b)

Errors that two neighbours share cancel, so that e says how well a change of shape is priced, which the error of a single time does not.
Of a misaligned product and an aligned one, a is the misaligned: e > 0 means that misalignment costs more than is predicted. Else a is the
smaller. Sizes in elements, times in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..dtypes import load_dtype
from ..hardware.gpu import Gpu
from .products import Products, classes_of
from .scored import Array

SIZES = ("m", "n", "k", "batch")
#: Neighbours of a row that are looked at, in the order of the size; dense sweeps have hundreds within a few percent.
MOST_NEIGHBOURS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Row numbers of pairs; `family` numbers the sizes that a pair shares, equal for pairs of one sweep."""

    first: Array
    second: Array
    family: Array

    def __len__(self) -> int:
        return len(self.first)

    @property
    def num_families(self) -> int:
        return len(np.unique(self.family))

    def take(self, mask: Array) -> Pairs:
        """The pairs of a mask."""
        return Pairs(first=self.first[mask], second=self.second[mask], family=self.family[mask])

    def errors(self, measured_s: Array, predicted_s: Array) -> Array:
        """e of every pair."""
        single = np.log(measured_s / predicted_s)
        return single[self.first] - single[self.second]


def pairs_along(size: Array, fixed: Sequence[Array], change: tuple[float, float]) -> Pairs:
    """Rows that agree in all `fixed` columns and whose `size` differs by a factor above `change[0]`, up to `change[1]`."""
    above, upto = change
    family = np.unique(np.stack(fixed, axis=1), axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((size, family))
    own, values = family[order], size[order].astype(float)
    found = []
    for step in range(1, min(MOST_NEIGHBOURS, len(order))):
        is_same, ratio = own[step:] == own[:-step], values[step:] / values[:-step]
        if not (is_same & (ratio <= upto)).any():
            break
        near = is_same & (ratio > above) & (ratio <= upto)
        found.append(np.stack([order[:-step][near], order[step:][near], own[:-step][near]], axis=1))
    first, second, families = np.concatenate([np.zeros((0, 3), np.int64), *found]).T
    return Pairs(first=first, second=second, family=families)


def joined_pairs(parts: Sequence[Pairs]) -> Pairs:
    """All pairs; families of different parts are different."""
    starts = np.cumsum([0, *(int(part.family.max(initial=-1)) + 1 for part in parts[:-1])])
    family = np.concatenate([part.family + start for part, start in zip(parts, starts, strict=True)])
    return Pairs(
        first=np.concatenate([part.first for part in parts]), second=np.concatenate([part.second for part in parts]), family=family
    )


def product_pairs(products: Products, change: tuple[float, float]) -> Pairs:
    """Products of one dtype and layout that differ in m, n, k or batch alone."""
    names = [np.unique(column, return_inverse=True)[1] for column in (products.layout, products.dtype)]
    along = []
    for name in SIZES:
        others = [getattr(products, other) for other in SIZES if other != name]
        along.append(pairs_along(getattr(products, name), [*others, *names], change))
    return joined_pairs(along)


def misalignment(products: Products, gpu: Gpu) -> Array:
    """0: aligned, 1: multiples of 4 bytes, 2: less (16-bit products)."""
    size_bytes = load_dtype(str(products.dtype[0])).size_bytes
    classes, _ = classes_of(products, size_bytes, gpu.alignment_bytes)
    return (classes == "half") + 2 * (classes == "odd")


def same_class(pairs: Pairs, rank: Array) -> Pairs:
    """Pairs of which both are aligned: what a change between two good sizes compares."""
    return pairs.take((rank[pairs.first] == 0) & (rank[pairs.second] == 0))


def across_classes(pairs: Pairs, rank: Array) -> Pairs:
    """Pairs of which one is aligned and the other, now first, is not: what padding compares."""
    mixed = pairs.take((rank[pairs.first] == 0) != (rank[pairs.second] == 0))
    swapped = rank[mixed.first] == 0
    return Pairs(
        first=np.where(swapped, mixed.second, mixed.first), second=np.where(swapped, mixed.first, mixed.second), family=mixed.family
    )
