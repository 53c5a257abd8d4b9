"""Whether the predictor decides as the GPU does: which of two neighbouring shapes is faster, and what a misaligned one costs.

`sweeps` are short runs of products along one dimension (m, n or k), timed in seconds. `orderings` takes pairs of one sweep whose measured
times differ by more than 5 %, and counts those that the predictor orders alike, apart for pairs across alignment classes and within one.
`penalties` compares a misaligned product with its nearest aligned neighbour of the sweep: the ratio of their times, measured and predicted.
"Held out" are pairs of which neither product's (n, k) may be fitted; "all" are all pairs of the file.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..hardware.load import load_gpu
from ..predict.gemm_classes import CLASSES, class_codes, vector_size
from ..predict.gemm_model import leading_alignments
from .gemm import is_held_out
from .products import Products, predicted, read_products
from .score import absolute_percent
from .scored import Array
from .table import read_table

#: Measured times nearer than this are no decision: the noise of two measurements is about 1 %.
LEAST_GAP = 0.05
#: Goals of the product: percent of pairs ordered correctly, and percent of error of a penalty.
ORDER_GOALS = {"across": 98.0, "within": 85.0}
PENALTY_GOAL_PERCENT = 10.0
#: Bytes of an element of the sweeps (bf16, fp16).
ELEMENT_BYTES = 2
Scope = Literal["across", "within"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """Pairs `across` alignment classes or `within` one, of the rows named by `rows` ("held out" or "all")."""

    gpu: str
    scope: Scope
    rows: str
    num_pairs: int
    right_percent: float
    goal_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """Misaligned products of one layout and alignment (elements), as ratios to their nearest aligned neighbours.

    `error_percent` is that of the median ratio, signed; `mape_percent` the mean error of single ratios.
    """

    gpu: str
    layout: str
    alignment: int
    rows: str
    num_rows: int
    measured_ratio: float
    predicted_ratio: float
    error_percent: float
    mape_percent: float
    goal_percent: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweeps:
    """Products with their predicted times; `swept` is the dimension that moves and `sweep` the number of the run, one entry a row."""

    gpu: str
    products: Products
    predicted_s: Array
    swept: Array
    sweep: Array


def load_sweeps(path: Path, gpu: str) -> Sweeps:
    """The sweeps of a file whose column `set` ends in the dimension and its step, for example "local_k128"."""
    device = load_gpu(gpu)
    table = read_table(path)
    products = read_products(table, device)
    swept, steps = _dimensions(table.texts("set"))
    return Sweeps(
        gpu=device.name, products=products, predicted_s=predicted(products, device).time_s, swept=swept, sweep=_runs(products, swept, steps)
    )


def _dimensions(names: Array) -> tuple[Array, Array]:
    """Dimension and step by the name of each row's set."""
    found = {name: re.search(r"_([mnk])(\d+)$", name) for name in np.unique(names).tolist()}
    parts = [(match[1], int(match[2])) if (match := found[name]) else ("", 0) for name in names.tolist()]
    return np.array([dimension for dimension, _ in parts]), np.array([step for _, step in parts])


def _runs(products: Products, swept: Array, steps: Array) -> Array:
    """Number of each row's run: a new one begins where the swept dimension does not go up by the step or anything else changes."""
    size = {name: getattr(products, name) for name in ("batch", "m", "n", "k")}
    ahead = np.array([getattr(products, name)[row] if name else 0 for row, name in enumerate(swept)])
    same = (np.diff(ahead) == steps[1:]) & (swept[1:] == swept[:-1])
    for name, column in size.items():
        same &= (column[1:] == column[:-1]) | (swept[1:] == name)
    same &= (products.layout[1:] == products.layout[:-1]) & (products.dtype[1:] == products.dtype[:-1])
    return np.concatenate([[0], np.cumsum(~same)])


def orderings(sweeps: Sweeps) -> tuple[Ordering, ...]:
    """Across and within classes, for held-out pairs and for all."""
    first, second = _pairs(sweeps.sweep)
    measured, expected = sweeps.products.time_s, sweeps.predicted_s
    ratio = measured[second] / measured[first]
    decided = np.maximum(ratio, 1 / ratio) > 1 + LEAST_GAP
    first, second, ratio = first[decided], second[decided], ratio[decided]
    right = (ratio > 1) == (expected[second] > expected[first])
    right &= expected[second] != expected[first]  # a tie decides nothing
    classes, held = _classes(sweeps.products), _held(sweeps.products)
    masks: dict[Scope, Array] = {"across": classes[first] != classes[second], "within": classes[first] == classes[second]}
    found = []
    for (scope, mask), (rows, kept) in itertools.product(masks.items(), _kept(held[first] & held[second])):
        if (mask & kept).any():
            share = float(100 * right[mask & kept].mean())
            count, goal = int((mask & kept).sum()), ORDER_GOALS[scope]
            found.append(Ordering(gpu=sweeps.gpu, scope=scope, rows=rows, num_pairs=count, right_percent=share, goal_percent=goal))
    return tuple(found)


def _kept(held: Array) -> tuple[tuple[str, Array], tuple[str, Array]]:
    return ("held out", held), ("all", np.ones_like(held))


def _pairs(sweep: Array) -> tuple[Array, Array]:
    """Row numbers of every two rows of one run."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(sweep) != 0]))
    blocks = np.split(np.arange(len(sweep)), starts[1:])
    pairs = [pair for block in blocks for pair in itertools.combinations(block.tolist(), 2)]
    return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]


def penalties(sweeps: Sweeps) -> tuple[Penalty, ...]:
    """Per layout and alignment of 4, 2, 1 elements, for held-out products and for all."""
    rows, aligned = _with_neighbour(sweeps)
    products = sweeps.products
    measured = products.time_s[rows] / products.time_s[aligned]
    expected = sweeps.predicted_s[rows] / sweeps.predicted_s[aligned]
    alignment, layout = _alignment(products)[rows], products.layout[rows]
    held = _held(products)
    found = []
    for (name, elements), (which, kept) in itertools.product(_groups(layout, alignment), _kept(held[rows] & held[aligned])):
        mask = (layout == name) & (alignment == elements) & kept
        if mask.any():
            found.append(_penalty(sweeps.gpu, (name, elements, which), measured[mask], expected[mask]))
    return tuple(found)


def _penalty(gpu: str, group: tuple[str, int, str], measured: Array, expected: Array) -> Penalty:
    layout, alignment, rows = group
    ratios = float(np.median(measured)), float(np.median(expected))
    return Penalty(
        gpu=gpu,
        layout=layout,
        alignment=alignment,
        rows=rows,
        num_rows=len(measured),
        measured_ratio=ratios[0],
        predicted_ratio=ratios[1],
        error_percent=100 * (ratios[1] / ratios[0] - 1),
        mape_percent=float(absolute_percent(expected, measured).mean()),
        goal_percent=PENALTY_GOAL_PERCENT,
    )


def _groups(layout: Array, alignment: Array) -> Iterator[tuple[str, int]]:
    yield from sorted(set(zip(layout.tolist(), alignment.tolist(), strict=True)), key=lambda group: (group[0] != "NT", group[0], -group[1]))


def _with_neighbour(sweeps: Sweeps) -> tuple[Array, Array]:
    """Misaligned rows, and for each the aligned row of its run that is nearest along the run."""
    is_aligned = _classes(sweeps.products) < CLASSES.index("half")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(sweeps.sweep) != 0]))
    pairs: list[tuple[int, int]] = []
    for block in np.split(np.arange(len(is_aligned)), starts[1:]):
        good = block[is_aligned[block]]
        bad = block[~is_aligned[block]] if len(good) else block[:0]
        pairs += [(int(row), int(good[np.argmin(np.abs(good - row))])) for row in bad]
    return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]


def _classes(products: Products) -> Array:
    """Index into `CLASSES` of each row."""
    return class_codes(products.batch, products.m, products.n, products.k, products.layout_codes, ELEMENT_BYTES)[0]


def _alignment(products: Products) -> Array:
    """The worst alignment of a leading dimension, in elements, at most one vector load."""
    limit = vector_size(ELEMENT_BYTES)
    return np.minimum(*leading_alignments(products.m, products.n, products.k, products.layout_codes, limit))


def _held(products: Products) -> Array:
    return is_held_out(products.n, products.k)
