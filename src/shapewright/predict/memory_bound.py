"""Time of kernels bound by the bytes they move: the arithmetic of `memory_model` with the rate of each kernel's pattern, and the reasons.

    time = bytes / min(bandwidth x share, bytes per clock x SMs x clock), rows and L2 considered, + fixed time a kernel

The share and the limit per clock belong to the kernel's pattern: a contiguous addition streams at the bandwidth, a broadcasting multiply is
held back by its index arithmetic. Bytes and seconds; source: each profile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..hardware.gpu import Gpu
from ..hardware.profile import SPREAD_EDGES_S, Profile, Spread
from ..operators.types import MemoryChain, MemoryPass
from .estimate import BoundBy, Estimate, Provenance, TimePart
from .memory_model import Engine, moving_s


def engine_of(gpu: Gpu, *, is_replayed: bool = False) -> Engine:
    """`is_replayed`: the same operands again and again, which may stay in the L2."""
    return Engine(
        num_sms=gpu.num_sms, clock_hz=gpu.clock_hz, bytes_per_s=gpu.memory_bytes_per_s, l2_bytes=float(gpu.l2_bytes),
        warm_bytes=float(gpu.l2_bytes) if is_replayed else 0.0,
    )  # fmt: skip


def pass_time_s(work: MemoryPass, gpu: Gpu, profile: Profile, *, is_replayed: bool = False) -> tuple[float, float]:
    """Seconds of transfer, and of launches and ramps."""
    rate = profile.memory[work.pattern]
    one = np.array([work.bytes / work.num_kernels])
    moving = moving_s(one, np.array([float(work.rows)]), rate, engine_of(gpu, is_replayed=is_replayed))
    return float(moving[0]) * work.num_kernels, rate.fixed_s * work.num_kernels


def estimate_memory(work: MemoryPass | MemoryChain, gpu: Gpu, profile: Profile, *, is_replayed: bool = False) -> Estimate:
    """A pass or a chain of passes: bytes at the datasheet's bandwidth, what the kernels lose of it, launches.

    `is_replayed`: operands may stay in the L2, as where one call is timed again and again; amid a step they come from DRAM.
    """
    passes = work.passes if isinstance(work, MemoryChain) else (work,)
    times = [pass_time_s(each, gpu, profile, is_replayed=is_replayed) for each in passes]
    moving, fixed = sum(time for time, _ in times), sum(time for _, time in times)
    floor = work.bytes / gpu.memory_bytes_per_s
    num_kernels = sum(each.num_kernels for each in passes)
    bound: BoundBy = "launch" if fixed > moving else "memory"
    lost = f"{floor / moving:.0%} of the bandwidth is reached" if moving else ""
    parts = (
        TimePart(name="bytes", time_s=floor, reason="bytes of the kernels at the datasheet's bandwidth"),
        TimePart(name="bandwidth", time_s=moving - floor, reason=lost),
        TimePart(name="launch", time_s=fixed, reason=f"fixed time of {num_kernels} kernel{'s' if num_kernels > 1 else ''}"),
    )
    time_s = sum(part.time_s for part in parts)
    spread = pass_spread(passes, profile, time_s)
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=floor, bound_by=bound,
        provenance=_provenance(passes, profile), parts=parts, reasons=(_words(passes, [time for time, _ in times], gpu, profile),),
    )  # fmt: skip


def pass_spread(passes: tuple[MemoryPass, ...], profile: Profile, time_s: float) -> Spread:
    """Interval of a single fitted kernel by its predicted time; of chains and of rates that no fit gives, that of the profile."""
    spreads = profile.memory[passes[0].pattern].spreads
    if len(passes) > 1 or not spreads:
        return profile.spreads["memory"]
    return spreads[int(np.digitize(time_s, SPREAD_EDGES_S))]


def _provenance(passes: tuple[MemoryPass, ...], profile: Profile) -> Provenance:
    """Calibrated where every pattern was measured on this GPU."""
    is_measured = all(profile.memory[each.pattern].is_measured for each in passes)
    return "calibrated" if is_measured and profile.provenance == "calibrated" else "datasheet"


def _words(passes: tuple[MemoryPass, ...], times: Sequence[float], gpu: Gpu, profile: Profile) -> str:
    """What holds the slowest of the kernels, by their `times` of transfer: the bandwidth, or the way it walks memory."""
    slowest, moving = max(zip(passes, times, strict=True), key=lambda each: each[1])
    rate = profile.memory[slowest.pattern]
    from_dram = gpu.memory_bytes_per_s * rate.bandwidth_share
    reached = slowest.bytes / moving if moving else min(from_dram, rate.bytes_per_clock * gpu.num_sms * gpu.clock_hz)
    access = " access reaches" if reached < 0.98 * from_dram else " at"
    return f"{slowest.pattern}{access} {reached / gpu.memory_bytes_per_s:.0%} of the bandwidth"
