"""Time of fused attention: its own roofline per head size, causal blocks skipped, few blocks leaving SMs idle.

    compute = executed FLOPs x padding / (peak x efficiency of the head size) x waves of query blocks
    memory  = bytes / (bandwidth x share)
    time    = fixed + max(compute, memory)

Kernels exist for a few head sizes; another runs padded to the next (80 as 128 on Hopper). Sizes in elements, seconds; source: each profile.
"""

from __future__ import annotations

from ..hardware.gpu import Gpu
from ..hardware.profile import HeadRate, Profile
from ..operators.types import FlashAttention
from ..units import ceil_div
from .estimate import BoundBy, Estimate, Provenance, TimePart

#: Keys below which flash decoding splits a context no further.
MIN_SPLIT_KEYS = 256


def head_rate(head_dim: int, heads: tuple[HeadRate, ...]) -> HeadRate:
    """The kernel a head runs on: the smallest that holds it, or the largest there is."""
    return next((head for head in heads if head.head_dim >= head_dim), heads[-1])


def estimate_attention(work: FlashAttention, gpu: Gpu, profile: Profile) -> Estimate:
    """One call of a fused attention kernel, forward or backward, in a burst."""
    rates, peak = profile.attention, gpu.peak_flops_per_s(work.dtype)
    head = head_rate(work.qk_head_dim, rates.heads)
    efficiency = head.backward_efficiency if work.is_backward else head.forward_efficiency
    ideal = work.executed_flops / peak
    padding = max(1.0, 2 * head.head_dim / (work.qk_head_dim + work.v_head_dim))
    slow = (rates.dropout_backward if work.is_backward else rates.dropout_forward) if work.has_dropout else 1.0
    kernel = ideal * padding / efficiency * slow
    idle = kernel * (_idle_factor(work, gpu, rates.tile_q) - 1)
    compute = kernel + idle
    memory = work.bytes / (gpu.memory_bytes_per_s * rates.bandwidth_share)
    floor = work.bytes / gpu.memory_bytes_per_s
    tail = TimePart(name="launch", time_s=rates.fixed_s, reason="fixed time of a call")
    if memory > compute:
        own = (
            TimePart(name="bytes", time_s=floor, reason="q, k, v and the output once, at the datasheet's bandwidth"),
            TimePart(name="bandwidth", time_s=memory - floor, reason=f"{rates.bandwidth_share:.0%} of the bandwidth is reached"),
        )
    else:
        own = (
            TimePart(name="arithmetic", time_s=ideal, reason="FLOPs of the visible scores at the dense peak"),
            TimePart(name="head_padding", time_s=ideal * (padding - 1), reason=f"head size {work.qk_head_dim} runs as {head.head_dim}"),
            TimePart(name="kernel_rate", time_s=kernel - ideal * padding, reason=f"{efficiency / slow:.0%} of the peak reached"),
            TimePart(name="waves", time_s=idle, reason="query blocks do not fill whole waves of SMs"),
        )
    parts = tuple(part for part in (*own, tail) if part.time_s)
    time_s = sum(part.time_s for part in parts)
    spread = profile.spreads["attention"]
    bound: BoundBy = "launch" if rates.fixed_s > 0.5 * time_s else "memory" if memory > compute else "compute"
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=max(ideal, floor), bound_by=bound,
        provenance=_provenance(work, profile), parts=parts, reasons=_reasons(work, head),
    )  # fmt: skip


def _provenance(work: FlashAttention, profile: Profile) -> Provenance:
    rates = profile.attention
    is_measured = rates.is_backward_measured if work.is_backward else rates.is_forward_measured
    return "calibrated" if is_measured and profile.provenance == "calibrated" else "datasheet"


def _idle_factor(work: FlashAttention, gpu: Gpu, tile_q: int) -> float:
    """How much longer the kernel runs than if its blocks filled every SM: one wave at least, half a wave lost at the end."""
    blocks = work.batch * work.num_heads * ceil_div(work.query_len, tile_q)
    waves = blocks / gpu.num_sms
    if waves <= 1:
        # Short queries against a long context are split along the keys until the SMs are full (flash decoding).
        splits = max(1, min(int(1 / waves), work.keys_per_query // MIN_SPLIT_KEYS))
        return 1 / (waves * splits)
    return 1 + 0.5 / waves


def _reasons(work: FlashAttention, head: HeadRate) -> tuple[str, ...]:
    visible = work.visible_share
    skipped = () if visible == 1 else (f"{visible:.0%} of the scores are visible, the rest skipped",)
    padded = () if head.head_dim <= work.qk_head_dim else (f"head size {work.qk_head_dim} runs as {head.head_dim}",)
    dropped = ("dropout inside the kernel",) if work.has_dropout else ()
    window = (f"window {work.window}",) if work.window and work.window < work.kv_len else ()
    return (*skipped, *padded, *window, *dropped)
