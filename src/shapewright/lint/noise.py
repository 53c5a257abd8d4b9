"""How well the ratio of two predicted times is known: the noise below which a price says nothing.

    ratio_noise("gemm_same_class", gpu)        # 0.079: measured and predicted ratio agree within 7.9 %, 10th to 90th percentile

A change of shape sets an operator beside its neighbour, whose error is much the same, so that the error of their ratio counts and not that
of either time. `noise.toml` holds the half-widths by GPU and kind of pair, each with its source; GPUs, and kinds of a GPU, without measured
pairs take what GPUs left out of a fit show. Dimensionless (natural logarithm of a ratio of seconds).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import unknown_name
from ..hardware.gpu import VENDORS, Gpu
from ..predict.estimate import Provenance

FILE = Path(__file__).with_name("noise.toml")
PairKind = Literal["gemm_same_class", "gemm_across_steps", "gemm_across_classes", "attention", "memory", "other"]
"""What two operators have in common.

- `gemm_same_class`: products that load and store alike.
- `gemm_across_steps`: alike but for a k that is a multiple of the profile's `k_step` in one of them alone.
- `gemm_across_classes`: one is aligned, or better aligned than the other.
- `attention`: fused attention at two head sizes or head counts.
- `memory`: kernels of one pattern that move different amounts.
- `other`: no pair at all (an operator that goes or comes, another kernel): the error of a single time.
"""
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Half of the 10th to 90th percentile of ln(measured ratio / predicted ratio), for pairs `near` each other and `far` apart."""

    near: float
    far: float
    source: str

    def __post_init__(self) -> None:
        assert 0 < self.near <= self.far < 1, self
        assert self.source, self


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseTable:
    """Widths by GPU and kind, and by vendor and kind for what was not measured; pairs up to `near_change` apart are near."""

    near_change: float
    layers: Width
    """Of whole layers: what the noise of single operators leaves out (clock, launches, what overlaps)."""
    gpus: Mapping[str, Mapping[PairKind, Width]]
    unmeasured: Mapping[str, Mapping[PairKind, Width]]

    def width(self, kind: PairKind, gpu: Gpu, provenance: Provenance) -> Width:
        """The GPU's own pairs where its time comes from measured rows, else what GPUs without rows have; the wider where both apply."""
        unmeasured, own = self.unmeasured[gpu.vendor][kind], self.gpus.get(gpu.name, {}).get(kind)
        if own is None:
            return unmeasured
        return own if provenance != "datasheet" else max(own, unmeasured, key=lambda each: each.far)


@lru_cache(maxsize=1024)
def ratio_noise(kind: PairKind, gpu: Gpu, provenance: Provenance = "calibrated", *, is_near: bool = True) -> float:
    """Half-width of ln(ratio) for a pair of `kind`; the error of a time saved is about this share of the longer time.

    `provenance` is the less known of the two estimates'; `is_near`: they differ by up to `near_change` in size (see `is_near_change`).
    """
    if kind not in PAIR_KINDS:
        raise unknown_name("kind of pair", str(kind), PAIR_KINDS)
    width = load_noise().width(kind, gpu, provenance)
    return width.near if is_near else width.far


def is_near_change(before: float, after: float) -> bool:
    """Whether sizes (or FLOPs, or bytes) differ so little that near pairs tell of them."""
    return max(before, after) <= load_noise().near_change * min(before, after)


def layer_noise() -> float:
    """Half-width of ln(ratio) of two layers of about the same time, whatever makes them differ."""
    return load_noise().layers.near


@cache
def load_noise() -> NoiseTable:
    """The file that ships."""
    return noise_from_toml(FILE.read_text(encoding="utf-8"))


def noise_from_toml(text: str) -> NoiseTable:
    """A table from the text of its file; AssertionError or KeyError where the file is wrong, which a test keeps it from being."""
    data = tomllib.loads(text)
    tables = {room: {name: _widths(table) for name, table in data[room].items()} for room in ("gpus", "unmeasured")}
    assert set(tables["unmeasured"]) == set(VENDORS), "every vendor needs widths of unmeasured GPUs"
    assert all(set(table) == set(PAIR_KINDS) for table in tables["unmeasured"].values()), "every kind needs a width of unmeasured GPUs"
    return NoiseTable(near_change=data["near_change"], layers=Width(**data["layers"]), gpus=tables["gpus"], unmeasured=tables["unmeasured"])


def _widths(table: Mapping[str, Mapping[str, Any]]) -> dict[PairKind, Width]:
    assert set(table) <= set(PAIR_KINDS), f"unknown kinds of pair: {sorted(set(table) - set(PAIR_KINDS))}"
    return {kind: Width(**table[kind]) for kind in PAIR_KINDS if kind in table}
