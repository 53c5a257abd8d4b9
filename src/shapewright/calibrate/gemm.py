"""Fits a `KernelMenu` to measured products: constants by least squares on the log of the time, candidates by greedy choice.

Rows are arrays of batch, m, n, k (elements) and time_s of one alignment class. Products are split by a hash of (n, k), never row by row: a
shape's neighbours along m would otherwise sit on both sides. The loss is soft-L1 on ln(predicted / measured), so that a few products
for which the library picks a poor kernel do not drag the rest.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ..hardware.profile import Candidate, KernelMenu
from ..predict.gemm_model import REFERENCE_TILE, Rates, candidate_times

Array = NDArray[Any]
Tile = tuple[int, int]

#: Tiles tried before the shortlist; the library's own lie near these (128 x 256 stands for 256 x 128 operand-swapped too).
TILES: tuple[Tile, ...] = (
    (16, 16), (32, 32), (8, 64), (16, 64), (16, 128), (32, 64), (64, 32), (64, 64), (32, 128), (64, 128), (128, 64),
    (128, 128), (64, 256), (256, 64), (128, 192), (192, 128), (128, 256), (256, 128), (192, 192), (256, 256),
)  # fmt: skip
#: Start of every fit and the value its ridge draws to: what a fit to 6,000 H200 products found for the aligned class.
START = {"launch_s": 2e-6, "prologue_s": 0.6e-6, "epilogue_s": 0.5e-6, "feed": 2.0, "bandwidth_share": 0.87, "softness": 0.3,
         "sharpness": 2.5, "split_s": 2e-6, "split_share": 0.5, "droop": 0.06}  # fmt: skip
#: Weight of the pull towards `START`, and the error in ln(time) from which the loss grows linearly.
RIDGE, SOFT_LOG_ERROR = 1e-3, 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Measured products of one class; `groups` names the misalignment pattern of each ("" where the class has none)."""

    batch: Array
    m: Array
    n: Array
    k: Array
    time_s: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, index: Array) -> Rows:
        """The rows numbered `index`."""
        return Rows(**{name: getattr(self, name)[index] for name in self.__slots__})

    @property
    def size(self) -> tuple[Array, Array, Array, Array]:
        """batch, m, n, k as floats, as `candidate_times` takes them."""
        return tuple(np.asarray(column, float) for column in (self.batch, self.m, self.n, self.k))  # type: ignore[return-value]


def is_held_out(n: Array, k: Array, share: float = 0.3, salt: str = "") -> Array:
    """Which products are kept out of the fit: all of a (n, k) pair or none."""
    return np.array([zlib.crc32(f"{salt}{a},{b}".encode()) % 1000 < 1000 * share for a, b in zip(n, k, strict=True)])


def fit_menu(
    rows: Rows, rates: Rates, *, base_efficiency: float = 0.85, grain: int = 64, num_candidates: int = 10, evaluations: int = 20
) -> KernelMenu:
    """The menu of `num_candidates` kernels that explains `rows` best; `base_efficiency` is where a 128 x 128 tile starts."""
    every = [(tile, fill) for tile in TILES for fill in (0, 1, 2)]
    problem = _Problem(rows=rows, rates=rates, grain=grain, base_efficiency=base_efficiency)
    wide = problem.solve(every, None, evaluations)
    times = candidate_times(rows.size, _group_factors(wide, rows), wide, rates).time_s
    chosen = [every[i] for i in _shortlist(times, num_candidates)]
    menu = problem.solve(chosen, wide, evaluations)
    return replace(menu, num_rows=len(rows))


def predicted_s(menu: KernelMenu, rows: Rows, rates: Rates) -> Array:
    """Seconds of each row: its quickest candidate."""
    return candidate_times(rows.size, _group_factors(menu, rows), menu, rates).time_s.min(axis=0)


def _group_factors(menu: KernelMenu, rows: Rows) -> Array:
    return np.array([menu.groups.get(group, 1.0) for group in rows.groups])


def _shortlist(times: Array, count: int) -> list[int]:
    """Greedy: the candidates whose best time strays least from the best of all."""
    goal, best, kept = times.min(axis=0), np.full(times.shape[1], np.inf), []
    for _ in range(min(count, len(times))):
        loss = np.log(np.minimum(best, times) / goal).mean(axis=1)
        loss[kept] = np.inf
        kept.append(int(np.argmin(loss)))
        best = np.minimum(best, times[kept[-1]])
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Unknowns are logarithms: ten constants, an efficiency a tile, a factor a misalignment pattern."""

    rows: Rows
    rates: Rates
    grain: int
    base_efficiency: float

    def solve(self, candidates: list[tuple[Tile, int]], start: KernelMenu | None, evaluations: int) -> KernelMenu:
        """The menu of all `candidates`, fitted from `start` (None: from `START`) in at most `evaluations` steps."""
        tiles = sorted({tile for tile, _ in candidates})
        groups = sorted(set(self.rows.groups) - {""})
        anchor = self._vector(tiles, groups, None)
        first = anchor if start is None else self._vector(tiles, groups, start)
        target = np.log(self.rows.time_s)

        def residuals(x: Array) -> Array:
            menu = self._menu(x, candidates, tiles, groups)
            error = np.log(predicted_s(menu, self.rows, self.rates)) - target
            return np.concatenate([error, (x - anchor) * RIDGE * np.sqrt(len(target))])

        low, high = anchor - 3, anchor + 2
        high[len(START) : len(START) + len(tiles)] = 0.0  # no tile beats the peak
        high[list(START).index("bandwidth_share")] = 0.0
        high[list(START).index("softness")] = 0.0
        high[list(START).index("launch_s")] += 1  # timed one by one with events, a call costs some 20 us
        low[list(START).index("softness")] -= 4  # a hard last wave is possible
        solved = least_squares(
            residuals, np.clip(first, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1", f_scale=SOFT_LOG_ERROR,
            max_nfev=evaluations, diff_step=1e-3,
        )  # fmt: skip
        return self._menu(solved.x, candidates, tiles, groups)

    def _vector(self, tiles: list[Tile], groups: list[str], start: KernelMenu | None) -> Array:
        if start is None:
            constants = list(START.values())
            efficiency = [self.base_efficiency * min(1, a * b / REFERENCE_TILE) ** 0.4 for a, b in tiles]
            factors = [1.0] * len(groups)
        else:
            constants = [getattr(start, name) for name in START]
            known = {(c.tile_m, c.tile_n): c.efficiency for c in start.candidates}
            efficiency = [known[tile] for tile in tiles]
            factors = [start.groups.get(group, 1.0) for group in groups]
        return np.log(np.array([*constants, *efficiency, *factors]))

    def _menu(self, x: Array, candidates: list[tuple[Tile, int]], tiles: list[Tile], groups: list[str]) -> KernelMenu:
        values = np.exp(x)
        constants = {name: float(value) for name, value in zip(START, values, strict=False)}
        efficiency = dict(zip(tiles, values[len(START) :], strict=False))
        factors = dict(zip(groups, values[len(START) + len(tiles) :], strict=True))
        return KernelMenu(
            **constants,  # pyright: ignore[reportArgumentType]  # START holds only the float fields
            grain=self.grain,
            candidates=tuple(
                Candidate(tile_m=tile[0], tile_n=tile[1], fill=fill, efficiency=float(efficiency[tile])) for tile, fill in candidates
            ),
            groups={group: float(factor) for group, factor in factors.items()},
        )
