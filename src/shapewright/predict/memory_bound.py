"""Time of kernels bound by the bytes they move.

    time = bytes / min(bandwidth x share, bytes per clock x SMs x clock) + fixed time a kernel

The share and the limit per clock belong to the kernel's pattern: a contiguous addition streams at the bandwidth, a broadcasting multiply is
held back by its index arithmetic. Bytes and seconds; source: each profile.
"""

from __future__ import annotations

from ..hardware.gpu import Gpu
from ..hardware.profile import Profile
from ..operators.types import MemoryChain, MemoryPass
from .estimate import BoundBy, Estimate, Provenance, TimePart


def pass_time_s(work: MemoryPass, gpu: Gpu, profile: Profile) -> tuple[float, float]:
    """Seconds of transfer, and of launches and ramps."""
    rate = profile.memory[work.pattern]
    from_dram = gpu.memory_bytes_per_s * rate.bandwidth_share
    from_sms = rate.bytes_per_clock * gpu.num_sms * gpu.clock_hz
    return work.bytes / min(from_dram, from_sms), rate.fixed_s * work.num_kernels


def estimate_memory(work: MemoryPass | MemoryChain, gpu: Gpu, profile: Profile) -> Estimate:
    """A pass or a chain of passes: bytes at the datasheet's bandwidth, what the kernels lose of it, launches."""
    passes = work.passes if isinstance(work, MemoryChain) else (work,)
    times = [pass_time_s(each, gpu, profile) for each in passes]
    moving, fixed = sum(time for time, _ in times), sum(time for _, time in times)
    floor = work.bytes / gpu.memory_bytes_per_s
    spread = profile.spreads["memory"]
    num_kernels = sum(each.num_kernels for each in passes)
    bound: BoundBy = "launch" if fixed > moving else "memory"
    parts = (
        TimePart(name="bytes", time_s=floor, reason="bytes of the kernels at the datasheet's bandwidth"),
        TimePart(name="bandwidth", time_s=moving - floor, reason=f"{floor / moving:.0%} of the bandwidth is reached" if moving else ""),
        TimePart(name="launch", time_s=fixed, reason=f"fixed time of {num_kernels} kernel{'s' if num_kernels > 1 else ''}"),
    )
    time_s = sum(part.time_s for part in parts)
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=floor, bound_by=bound,
        provenance=_provenance(passes, profile), parts=parts, reasons=(_words(passes, gpu, profile),),
    )  # fmt: skip


def _provenance(passes: tuple[MemoryPass, ...], profile: Profile) -> Provenance:
    """Calibrated where every pattern was measured on this GPU."""
    is_measured = all(profile.memory[each.pattern].is_measured for each in passes)
    return "calibrated" if is_measured and profile.provenance == "calibrated" else "datasheet"


def _words(passes: tuple[MemoryPass, ...], gpu: Gpu, profile: Profile) -> str:
    """What holds the slowest of the kernels: the bandwidth, or the way it walks memory."""
    slowest = max(passes, key=lambda each: pass_time_s(each, gpu, profile)[0])
    rate = profile.memory[slowest.pattern]
    from_dram = gpu.memory_bytes_per_s * rate.bandwidth_share
    reached = min(from_dram, rate.bytes_per_clock * gpu.num_sms * gpu.clock_hz) / gpu.memory_bytes_per_s
    if reached * gpu.memory_bytes_per_s < from_dram:
        return f"{slowest.pattern} access reaches {reached:.0%} of the bandwidth"
    return f"{slowest.pattern} at {reached:.0%} of the bandwidth"
