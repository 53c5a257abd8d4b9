"""What was learned about one GPU with one library version: the constants of the time model, as JSON.

A profile holds, for matrix products, one `KernelMenu` an alignment class; for memory-bound kernels, the share of the bandwidth each
pattern reaches; for attention, collectives and launches, their own constants. `provenance` says where they come from: `calibrated`
(fitted to measured rows, which `sources` names) or `datasheet` (carried over from the nearest architecture). Reading one needs only the
standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ..errors import InputError, shown

#: Predicted times, in seconds, at which a menu's intervals change: short products are predicted less well than long ones.
SPREAD_EDGES_S = (6e-6, 30e-6, 300e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Interval of an estimate as factors of the time: 10th and 90th percentile of measured / predicted."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A kernel that the library may pick: an output tile of `tile_m` x `tile_n`, and how k is split.

    `fill` 0 keeps k whole, 1 and 2 split it until one or two waves of blocks are full. `efficiency` is the share of the peak that the
    main loop of such a tile reaches. It is a model tile, not the name of a kernel.
    """

    tile_m: int
    tile_n: int
    fill: int
    efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelMenu:
    """Kernels of one alignment class and what they have in common; times in seconds.

    `launch_s` a product's fixed time; `prologue_s` per wave; `epilogue_s` per wave of a 128 x 128 tile (scaled by area); `feed` how many
    times its even share of the bandwidth one SM can draw; `bandwidth_share` of the datasheet that DRAM reaches; `softness` how much
    of an unfilled last wave is saved; `sharpness` p of the p-norm that joins SM and DRAM time; `split_s` and `split_share` the cost of
    splitting k, fixed and per partial-result traffic; `droop` slowing of long products (power) per ln(1 + FLOPs / 1e12); `grain` the
    elements by which k advances; `groups` efficiency factors of the misalignment patterns of the class.
    """

    launch_s: float
    prologue_s: float
    epilogue_s: float
    feed: float
    bandwidth_share: float
    softness: float
    sharpness: float
    split_s: float
    split_share: float
    droop: float
    grain: int
    candidates: tuple[Candidate, ...]
    groups: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    num_rows: int = 0
    """Measured rows that the menu was fitted to; 0: carried over from `origin`."""
    origin: str = ""
    spreads: tuple[Spread, ...] = ()
    """Intervals by predicted time, parted at `SPREAD_EDGES_S`; from products kept out of the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRate:
    """A pattern of memory-bound kernels: at most `bandwidth_share` of DRAM and `bytes_per_clock` an SM, plus `fixed_s` a kernel."""

    bandwidth_share: float
    bytes_per_clock: float
    fixed_s: float
    is_measured: bool
    """Whether this pattern was measured on this GPU, rather than carried over from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRate:
    """Flash attention at one head size the kernels exist for: shares of the dense peak reached on the scores they compute."""

    head_dim: int
    forward_efficiency: float
    backward_efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRate:
    """Flash attention. A head of another size runs as the next larger of `heads` does, padded.

    `dropout_forward`, `dropout_backward` multiply the time where scores are dropped; `tile_q` rows of queries make one block; `fixed_s`
    is one call's fixed time.
    """

    heads: tuple[HeadRate, ...]
    dropout_forward: float
    dropout_backward: float
    bandwidth_share: float
    fixed_s: float
    tile_q: int
    is_forward_measured: bool
    is_backward_measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveRate:
    """Communication: at most `link_share` of a link's datasheet rate, plus `base_s` a call; `source` tells where both come from."""

    link_share: float
    base_s: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDroop:
    """Slowing of kernels in a long run, which measurements of short bursts do not see: the card lowers its clock at its power limit.

    A kernel that keeps a share u of the dense peak busy takes 1 + `slope` x max(0, u - `threshold`) times as long.
    """

    slope: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Constants of one GPU and library, with their origin."""

    gpu: str
    library: str
    provenance: Literal["calibrated", "datasheet"]
    sources: tuple[str, ...]
    menus: Mapping[str, KernelMenu]
    memory: Mapping[str, MemoryRate]
    attention: AttentionRate
    collectives: CollectiveRate
    fitted_dtypes: tuple[str, ...]
    spreads: Mapping[str, Spread]
    launch_host_s: float
    power: PowerDroop
    inherited_from: str | None = None
    accuracy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """A profile from its JSON form (`schema_version` 1). One that lacks a part, or holds one of another form, is refused."""
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != 1:
        raise InputError(f"profile has schema_version {shown(version)}", hint="this version reads 1")
    try:
        return _profile(data)
    except KeyError as error:
        raise InputError(f"profile has no {error.args[0]}", hint="calibrate again") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"profile is malformed: {shown(str(error))}", hint="calibrate again") from None


def _profile(data: Mapping[str, Any]) -> Profile:
    menus = {name: _menu(menu) for name, menu in data["menus"].items()}
    return Profile(
        gpu=data["gpu"],
        library=data["library"],
        provenance=data["provenance"],
        sources=tuple(data["sources"]),
        menus=menus,
        memory={name: MemoryRate(**rate) for name, rate in data["memory"].items()},
        attention=_attention(data["attention"]),
        collectives=CollectiveRate(**data["collectives"]),
        fitted_dtypes=tuple(data["fitted_dtypes"]),
        spreads={name: Spread(**spread) for name, spread in data["spreads"].items()},
        launch_host_s=data["launch_host_s"],
        power=PowerDroop(**data["power"]),
        inherited_from=data.get("inherited_from"),
        accuracy=data.get("accuracy", {}),
        notes=tuple(data.get("notes", ())),
    )


def _attention(data: Mapping[str, Any]) -> AttentionRate:
    heads = tuple(
        HeadRate(head_dim=head_dim, forward_efficiency=forward, backward_efficiency=backward)
        for head_dim, forward, backward in data["heads"]
    )
    return AttentionRate(heads=heads, **{name: value for name, value in data.items() if name != "heads"})


def _menu(data: Mapping[str, Any]) -> KernelMenu:
    plain = {name: value for name, value in data.items() if name not in ("candidates", "groups", "spreads")}
    spreads = tuple(Spread(low=low, high=high) for low, high in data.get("spreads", ()))
    candidates = tuple(
        Candidate(tile_m=tile_m, tile_n=tile_n, fill=fill, efficiency=efficiency) for tile_m, tile_n, fill, efficiency in data["candidates"]
    )
    return KernelMenu(candidates=candidates, groups=dict(data.get("groups", {})), spreads=spreads, **plain)
