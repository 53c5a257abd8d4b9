"""Fits the protocols of collectives to measured rows: three (LL, LL128, Simple) a place and collective, by least squares on ln(time).

Rows are arrays of group size, message bytes and time_s, split by a hash of (collective, group size, power of two of the message), never
row by row: neighbours in size would otherwise sit on both sides. Message sizes at which the library changes protocol are searched on a
grid; the loss is soft-L1, and every (group size, power of two) weighs the same whatever its number of rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import COLLECTIVE_EDGES_BYTES, Protocol, Spread
from ..predict.collectives import Route, bus_factor, communication_times, num_hops

Array = NDArray[Any]

NAMES = ("LL", "LL128", "Simple")
CUSTOM_NAMES = ("one-shot", "two-shot", "Simple")
#: Largest messages of the first two protocols that are tried: NCCL changes between powers of two.
SMALL_LIMITS = tuple(1.5 * 2.0**power for power in (14, 15, 16, 17, 18))
MEDIUM_LIMITS = tuple(1.5 * 2.0**power for power in (19, 20, 21, 22, 23, 24))
#: Where every fit starts and what its ridge draws to: base and hop of the short protocols, base and hop of Simple (NCCL's own latency
#: tables, src/graph/tuning.cc, in order of magnitude), shares of the link, passes over the message.
START = {"base_ll": 5e-6, "base_128": 6e-6, "base_simple": 2e-5, "hop": 1e-6, "hop_simple": 2e-6, "share_ll": 0.04, "share_128": 0.4,
         "share_simple": 0.95, "passes": 3.0}  # fmt: skip
RIDGE, SOFT_LOG_ERROR, ROWS_PER_GROUP = 0.02, 0.05, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveRows:
    """Measured calls of one collective at one place; `rate` is the link's, `memory` the GPU's bandwidth, bytes a second."""

    collective: str
    group_size: Array
    message_bytes: Array
    time_s: Array
    rate: Array
    memory: float

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, index: Array) -> CollectiveRows:
        """The rows numbered `index`."""
        columns = {name: getattr(self, name)[index] for name in ("group_size", "message_bytes", "time_s", "rate")}
        return CollectiveRows(collective=self.collective, memory=self.memory, **columns)

    @property
    def route(self) -> Route:
        factor = bus_factor(self.collective, self.group_size)
        return Route(hops=num_hops(self.collective, self.group_size), bus_factor=factor, rate=self.rate, memory=self.memory)


def is_held_out(collective: str, group_size: Array, message_bytes: Array, share: float = 0.3) -> Array:
    """Whether a row is kept out of the fit: a hash of collective, group size and power of two of the message decides."""
    power = np.floor(np.log2(message_bytes)).astype(int)
    keys = [f"{collective},{size},{each}" for size, each in zip(group_size, power, strict=True)]
    unique = {key: zlib.crc32(key.encode()) / 2**32 < share for key in set(keys)}
    return np.array([unique[key] for key in keys], bool)


def fit_protocols(rows: CollectiveRows) -> tuple[Protocol, ...]:
    """LL, LL128 and Simple of `rows`; a change that no row is beyond is left out."""
    from scipy.optimize import least_squares

    rows, weight = _thinned(rows)
    start = np.log(list(START.values()))
    names = CUSTOM_NAMES if rows.collective.startswith("custom") else NAMES
    best: tuple[float, tuple[Protocol, ...]] | None = None
    for limits in _limits(rows):

        def residual(logs: Array, limits: tuple[float, ...] = limits) -> Array:
            times = communication_times(_protocols(names, logs, limits), rows.message_bytes, rows.route)
            return np.append(weight * np.log(times.time_s / rows.time_s), RIDGE * (logs - start))

        fit = least_squares(residual, start, loss="soft_l1", f_scale=SOFT_LOG_ERROR, max_nfev=60)
        if best is None or fit.cost < best[0]:
            best = float(fit.cost), _protocols(names, fit.x, limits)
    assert best is not None
    return best[1]


def _limits(rows: CollectiveRows) -> list[tuple[float, ...]]:
    """The pairs of limits to try; one that lies below all messages tells nothing and is tried once."""
    least = float(rows.message_bytes.min())
    small = [each for each in SMALL_LIMITS if each > least] or [SMALL_LIMITS[0]]
    return [(low, high) for low in small for high in MEDIUM_LIMITS if low < high > least]


def _protocols(names: Sequence[str], logs: Array, limits: Sequence[float]) -> tuple[Protocol, ...]:
    value = dict(zip(START, np.exp(logs), strict=True))
    share = min(1.0, value["share_simple"])
    tails = (
        ("ll", "hop", value["share_ll"], 0.0),
        ("128", "hop", value["share_128"], 0.0),
        ("simple", "hop_simple", share, value["passes"]),
    )
    return tuple(
        Protocol(name=name, up_to_bytes=limit, base_s=value[f"base_{key}"], hop_s=value[hop], link_share=min(1.0, part), passes=passes)
        for name, limit, (key, hop, part, passes) in zip(names, (*limits, None), tails, strict=True)
    )


def _thinned(rows: CollectiveRows) -> tuple[CollectiveRows, Array]:
    """At most ROWS_PER_GROUP rows of each (group size, power of two), evenly taken by size, and weights that make groups count alike."""
    power = np.floor(np.log2(rows.message_bytes)).astype(int)
    groups = rows.group_size.astype(int) * 64 + power
    index, weight = [], []
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        inside = inside[np.argsort(rows.message_bytes[inside], kind="stable")]
        picked = inside[np.linspace(0, len(inside) - 1, min(len(inside), ROWS_PER_GROUP)).astype(int)]
        index.append(picked)
        weight.append(np.full(len(picked), len(picked) ** -0.5))
    return rows.take(np.concatenate(index)), np.concatenate(weight)


def predicted_s(protocols: Sequence[Protocol], rows: CollectiveRows) -> Array:
    """Seconds of each row."""
    return communication_times(protocols, rows.message_bytes, rows.route).time_s


def size_spreads(ratio: Array, message_bytes: Array, least: int = 8) -> tuple[Spread, ...]:
    """10th and 90th percentile of measured / predicted below, between and above `COLLECTIVE_EDGES_BYTES`; few rows take all sizes."""
    place = np.searchsorted(COLLECTIVE_EDGES_BYTES, message_bytes)
    spreads = []
    for each in range(len(COLLECTIVE_EDGES_BYTES) + 1):
        own = ratio[place == each]
        own = own if len(own) >= least else ratio
        low, high = np.quantile(own, (0.1, 0.9))
        spreads.append(Spread(low=round(min(0.99, float(low)), 3), high=round(max(1.01, float(high)), 3)))
    return tuple(spreads)
