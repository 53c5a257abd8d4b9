"""What was learned about one GPU with one library version: the constants of the time model, as JSON.

A profile holds, for matrix products, one `KernelMenu` an alignment class; for memory-bound kernels, the share of the bandwidth each
pattern reaches; for attention, collectives and launches, their own constants. `provenance` says where they come from: `calibrated`
(fitted to measured rows, which `sources` names) or `datasheet` (carried over from the nearest architecture). Reading one needs only the
standard library.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from ..errors import InputError, shown
from .profile_check import check_profile

#: Predicted times, in seconds, at which a menu's intervals change: short products are predicted less well than long ones.
SPREAD_EDGES_S = (6e-6, 30e-6, 300e-6)
#: Message sizes at which the intervals of collectives change: latency, the ramp of the bandwidth, the full rate.
COLLECTIVE_EDGES_BYTES = (65536.0, 8388608.0)
#: Patterns of memory-bound kernels -> the kin whose rate they take in a profile that has none of theirs.
PATTERN_STAND_INS = {
    "gelu": "elementwise", "dropout": "elementwise", "transpose": "strided", "flat_concat": "concat", "small_gather": "gather",
    "small_scatter": "scatter", "rms_norm": "norm", "column_sum": "reduction", "weight_gradient": "norm_backward",
    "softmax_backward": "softmax", "warp_softmax": "softmax", "warp_softmax_backward": "softmax", "silu": "elementwise",
}  # fmt: skip


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
class Correction:
    """A small network that says by which factor measured products of a class stray from the tile model (`predict/gemm_correction.py`).

    `widths` counts features, hidden units of each layer, and 1; `weights` holds matrix and bias of each layer as little-endian 16-bit
    floats in base64; the natural logarithm of the factor is held within +-`bound`.
    """

    widths: tuple[int, ...]
    weights: str
    bound: float


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
    fit_range: tuple[tuple[float, float], ...] = ()
    """Least and largest batch, m, n, k (elements) and FLOPs of the fitted rows; empty where none were fitted."""
    fit_step: int = 1
    """Elements that n and k of nearly all fitted rows are multiples of: a size between takes the correction of the next multiple."""
    k_step: int = 1
    k_share: float = 1.0
    """Products whose k is no multiple of `k_step` elements reach this share of the efficiency (an A100 before CUDA 12: the paper's 64)."""
    correction: Correction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRate:
    """A pattern of memory-bound kernels: at most `bandwidth_share` of DRAM and `bytes_per_clock` an SM, plus `fixed_s` a kernel.

    Kernels that give a block to each row: `row_s` is a block's fixed time, `rows_per_sm` run side by side, rows of up to
    `narrow_row_bytes` share a block and have none. `unaligned` multiplies the bandwidth of rows that do not end on whole lines of 128
    bytes; rows whose footprint on all SMs nears `reread_fill` of the L2 are read `reread` times more. `l2_share` of the datasheet
    bandwidth is reached by operands that stay in the L2 between repetitions (0: not known), which those up to `l2_fill` of it do.
    `sharpness` is that of the norm that joins SM and DRAM time. A kernel that fills the SMs takes `ramp_s` more than the smallest, half of
    it at `ramp_bytes`. Where `row_bytes_per_clock` is known, a row takes `row_s` and its bytes at that rate, and each further row of an SM
    `row_s` / `rows_per_sm` and its bytes at `bytes_per_clock`. Blocks that walk down the rows take `walk_s` more for each, of
    `walk_rows` at most (0: of all).
    """

    bandwidth_share: float
    bytes_per_clock: float
    fixed_s: float
    is_measured: bool
    """Whether this pattern was measured on this GPU, rather than carried over from another."""
    row_s: float = 0.0
    rows_per_sm: float = 2.0
    narrow_row_bytes: float = 0.0
    unaligned: float = 1.0
    reread: float = 0.0
    reread_fill: float = 1.0
    l2_share: float = 0.0
    l2_fill: float = 0.5
    sharpness: float = 64.0
    ramp_s: float = 0.0
    ramp_bytes: float = 1e6
    row_bytes_per_clock: float = 0.0
    walk_s: float = 0.0
    walk_rows: float = 0.0
    num_rows: int = 0
    """Measured rows that it was fitted to; 0: a median, or carried over."""
    longest_s: float = 0.0
    spreads: tuple[Spread, ...] = ()
    """Intervals by predicted time, parted at `SPREAD_EDGES_S`; from rows kept out of the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRate:
    """Flash attention at one head size the kernels exist for: shares of the dense peak reached on the scores they compute.

    Forward it only scales a kernel measured at another head size.
    """

    head_dim: int
    forward_efficiency: float
    backward_efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashKernel:
    """A fused attention kernel, forward, as `predict/attention_model.py` times it; shares and rates are of the datasheet's.

    `use` is what it was fitted for: `prefill` (causal), `encoder` (every key visible), `decode` (one new token), `backward` (whose FLOPs
    are 2.5 times those of the forward pass; `append_share` is then that of the kernels around it). `packs_heads` puts the
    heads that share keys into one block, `can_split` spreads the keys of a block over idle SMs, `skips_window` leaves out keys that a
    window hides. `l2_fill` is the share of the L2 up to which operands stay in it from one repetition to the next; `append_share` the time
    of the new k and v read and written once more, as serving frameworks do inside the call, per time at the full bandwidth.
    """

    library: str
    use: Literal["prefill", "encoder", "decode", "backward"]
    head_dim: int
    is_windowed: bool
    tile_q: int
    tile_kv: int
    packs_heads: bool
    can_split: bool
    skips_window: bool
    efficiency: float
    block_s: float
    rows_s: float
    tail: float
    bandwidth_share: float
    l2_share: float
    l2_fill: float
    l2_sharpness: float
    sharpness: float
    droop: float
    append_share: float
    split_rate: float
    split_tail: float
    split_s: float
    combine_share: float
    fixed_s: float
    framework_s: float = 0.0
    """What of `fixed_s` is the serving framework's other kernels within a measured call, which a step does not run."""
    num_rows: int = 0
    """Measured rows that it was fitted to; 0: carried over from `origin`."""
    longest_s: float = 0.0
    """The longest time that was fitted."""
    smallest_head: int = 0
    """Smallest head size that was fitted, padded to `head_dim`; 0: `head_dim` alone."""
    origin: str = ""
    spreads: tuple[Spread, ...] = ()
    """Intervals by predicted time, parted at `SPREAD_EDGES_S`; from calls kept out of the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRate:
    """Flash attention. A head of another size runs as the next larger one does, padded.

    `kernels`, those of the library that is assumed first. Where none is of use `backward`, that pass goes by `heads`, `bandwidth_share`,
    `tile_q` rows of queries a block, and `fixed_s` a call. `dropout_forward` and `dropout_backward` multiply the time where scores are
    dropped.
    """

    heads: tuple[HeadRate, ...]
    dropout_forward: float
    dropout_backward: float
    bandwidth_share: float
    fixed_s: float
    tile_q: int
    is_backward_measured: bool
    kernels: tuple[FlashKernel, ...]
    odd_library: str = ""
    """Whose kernels run heads off the grid of 8 elements, which torch pads and cuts again in kernels of their own; empty: as the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a library communicates messages of up to `up_to_bytes` (None: of any size): NCCL's LL, LL128, Simple, or a one-shot kernel.

    A call takes `base_s` + `hop_s` a hop + bus bytes / (link x `link_share`) + `passes` readings or writings of the message in memory.
    """

    name: str
    up_to_bytes: float | None
    base_s: float
    hop_s: float
    link_share: float
    passes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveRate:
    """Communication: protocols by place and collective, smallest messages first.

    Places that predictions use: `link` and `pcie` (inside a node) and `network`; others describe how published rows were measured and serve
    comparison alone. `fitted` names the `place/collective` that rows of this GPU were fitted to; `spreads` has one interval a place and
    size of message, parted at `COLLECTIVE_EDGES_BYTES`; `source` tells where all come from.
    """

    protocols: Mapping[str, Mapping[str, tuple[Protocol, ...]]]
    fitted: tuple[str, ...]
    spreads: Mapping[str, tuple[Spread, ...]]
    source: str
    accuracy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDroop:
    """Slowing of kernels in a long run, which measurements of short bursts do not see: the card lowers its clock at its power limit.

    A kernel of F FLOPs that keeps a share u of the dense peak busy takes 1 + `slope` x max(0, u - `threshold`) /
    (1 + `held_per_tflop` x F / 1e12) times as long: a burst of many FLOPs runs into the power limit by itself, and its measured time
    holds part of the slowing already.
    """

    slope: float
    threshold: float
    held_per_tflop: float = 0.0


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
    path: str = ""
    """The user's own file that the profile was read from; "" for one that ships."""


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """A profile from its JSON form (`schema_version` 1). One that lacks a part, or holds what makes no sense, is refused."""
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != 1:
        raise InputError(f"profile has schema_version {shown(version)}", hint="this version reads 1")
    try:
        profile = _profile(data)
        check_profile(profile, num_bins=len(SPREAD_EDGES_S) + 1)
        return profile
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
        memory=_memory(data["memory"]),
        attention=_attention(data["attention"]),
        collectives=_collectives(data["collectives"]),
        fitted_dtypes=tuple(data["fitted_dtypes"]),
        spreads={name: Spread(**spread) for name, spread in data["spreads"].items()},
        launch_host_s=data["launch_host_s"],
        power=PowerDroop(**data["power"]),
        inherited_from=data.get("inherited_from"),
        accuracy=data.get("accuracy", {}),
        notes=tuple(data.get("notes", ())),
    )


def _memory(data: Mapping[str, Any]) -> dict[str, MemoryRate]:
    """Rates by pattern; what is lacking is as its kin."""
    rates = {name: MemoryRate(**_with_spreads(rate)) for name, rate in data.items()}
    return {**{name: rates[kin] for name, kin in PATTERN_STAND_INS.items() if kin in rates}, **rates}


def _attention(data: Mapping[str, Any]) -> AttentionRate:
    heads = tuple(
        HeadRate(head_dim=head_dim, forward_efficiency=forward, backward_efficiency=backward)
        for head_dim, forward, backward in data["heads"]
    )
    kernels = tuple(FlashKernel(**_with_spreads(kernel)) for kernel in data["kernels"])
    return AttentionRate(heads=heads, kernels=kernels, **{name: value for name, value in data.items() if name not in ("heads", "kernels")})


def _with_spreads(data: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a profile whose intervals are kept as [low, high]."""
    return {**data, "spreads": tuple(Spread(low=low, high=high) for low, high in data.get("spreads", ()))}


def _collectives(data: Mapping[str, Any]) -> CollectiveRate:
    """A protocol is kept as [name, up_to_bytes, base_s, hop_s, link_share, passes], an interval as [low, high]."""
    names = [each.name for each in fields(Protocol)]
    protocols = {
        place: {
            collective: tuple(Protocol(**dict(zip(names, row, strict=True))) for row in rows) for collective, rows in collectives.items()
        }
        for place, collectives in data["protocols"].items()
    }
    spreads = {place: tuple(Spread(low=low, high=high) for low, high in rows) for place, rows in data["spreads"].items()}
    return CollectiveRate(
        protocols=protocols, spreads=spreads, fitted=tuple(data["fitted"]), source=data["source"], accuracy=data.get("accuracy", {})
    )


def _menu(data: Mapping[str, Any]) -> KernelMenu:
    special = ("candidates", "groups", "spreads", "fit_range", "correction")
    plain = {name: value for name, value in data.items() if name not in special}
    spreads = tuple(Spread(low=low, high=high) for low, high in data.get("spreads", ()))
    candidates = tuple(
        Candidate(tile_m=tile_m, tile_n=tile_n, fill=fill, efficiency=efficiency) for tile_m, tile_n, fill, efficiency in data["candidates"]
    )
    fit_range = tuple((float(low), float(high)) for low, high in data.get("fit_range", ()))
    return KernelMenu(
        candidates=candidates, groups=dict(data.get("groups", {})), spreads=spreads, fit_range=fit_range,
        correction=_correction(data.get("correction")), **plain,
    )  # fmt: skip


def _correction(data: Mapping[str, Any] | None) -> Correction | None:
    if data is None:
        return None
    widths = tuple(int(width) for width in data["widths"])
    num_weights = sum((width_in + 1) * width_out for width_in, width_out in itertools.pairwise(widths))
    if len(base64.b64decode(data["weights"], validate=True)) != 2 * num_weights:
        raise ValueError(f"a correction of widths {widths} has {num_weights} weights")
    return Correction(widths=widths, weights=data["weights"], bound=float(data["bound"]))
