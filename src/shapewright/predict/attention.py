"""Time of one call of fused attention: a kernel of the profile, timed by `attention_model`. A backward pass whose profile has no such
kernel goes by a roofline:

    backward = fixed + max(executed FLOPs x padding / (peak x efficiency of the head size) x waves, bytes / (bandwidth x share))

Kernels exist for a few head sizes; another runs padded to the next (80 as 128 on Hopper). Heads off the grid of 8 elements are
padded by torch itself: it fills and copies q, k and v, runs another library's kernel and cuts the result.

Sizes in elements, seconds; source: each profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..dtypes import load_dtype
from ..errors import unknown_name
from ..hardware.gpu import Gpu
from ..hardware.profile import SPREAD_EDGES_S, AttentionRate, FlashKernel, HeadRate, Profile, Spread
from ..operators.types import FlashAttention, MemoryChain, MemoryPass, Pattern
from ..units import ceil_div
from .attention_model import Calls, Chip, KernelTimes, calls_of, kernel_times
from .estimate import BoundBy, Estimate, Provenance, TimePart
from .memory_bound import estimate_memory

#: Times beyond this multiple of the longest that was fitted are called datasheet.
BEYOND_FIT = 1.5
#: Where a kernel is carried over, or used outside its range, its interval is wider by these.
CARRIED = Spread(low=0.85, high=1.25)
#: Elements that a head is a multiple of, or torch pads it.
GRID = 8
#: FLOPs and bytes of a backward pass in those of the forward pass; gradients are cut from padded ones by so many copies.
BACKWARD_FLOPS, BACKWARD_BYTES, BACKWARD_COPIES = 2.5, 2.0, 6


def head_rate(head_dim: int, heads: tuple[HeadRate, ...]) -> HeadRate:
    """The backward kernel a head runs on: the smallest that holds it, or the largest there is."""
    return next((head for head in heads if head.head_dim >= head_dim), heads[-1])


def flash_kernel(work: FlashAttention, rates: AttentionRate, library: str | None = None) -> FlashKernel:
    """The forward kernel of a call: of `library` (None: the first of the profile), for its use and window, the smallest that holds its
    head.

    What a library lacks is taken from its other kernels (a plain one also hides keys beyond a window), then from other libraries.
    """
    libraries = list(dict.fromkeys(kernel.library for kernel in rates.kernels))
    if library is not None and library not in libraries:
        raise unknown_name("attention library", library, libraries)
    first = library or libraries[0]
    use = use_of(work)
    is_windowed = work.window is not None and work.window < work.kv_len

    def strangeness(kernel: FlashKernel) -> tuple[bool, bool, bool, bool, int]:
        too_small = kernel.head_dim < work.qk_head_dim
        other_use = kernel.use != use and (kernel.use, use) != ("prefill", "encoder")
        distance = -kernel.head_dim if too_small else kernel.head_dim
        return too_small or other_use, kernel.library != first, kernel.use != use, kernel.is_windowed != is_windowed, distance

    return min((kernel for kernel in rates.kernels if (kernel.use == "backward") == work.is_backward), key=strangeness)


def use_of(work: FlashAttention) -> str:
    """What a kernel of the call is fitted for."""
    return "backward" if work.is_backward else "decode" if work.query_len == 1 else "prefill" if work.is_causal else "encoder"


def chip_of(gpu: Gpu, dtype: str, *, is_backward: bool = False, is_replayed: bool = False) -> Chip:
    """The GPU as kernels see it; a backward kernel's FLOPs and bytes are counted as the forward pass'."""
    slower, wider = (BACKWARD_FLOPS, BACKWARD_BYTES) if is_backward else (1.0, 1.0)
    return Chip(
        num_sms=gpu.num_sms, flops_per_s=gpu.peak_flops_per_s(dtype) / slower, bytes_per_s=gpu.memory_bytes_per_s / wider,
        l2_bytes=float(gpu.l2_bytes) if is_replayed else 0.0,
    )  # fmt: skip


def kernel_calls(works: Sequence[FlashAttention]) -> Calls:
    """Calls as a kernel runs them: backward, every query head has gradients of keys and values of its own."""
    return calls_of([replace(work, num_kv_heads=work.num_heads) if work.is_backward else work for work in works])


def shared_gradients_s(work: FlashAttention, gpu: Gpu, bandwidth_share: float) -> float:
    """Adding up the gradients of keys and values that query heads share: read once a query head, written once a key head."""
    if not work.is_backward or work.num_heads == work.num_kv_heads:
        return 0.0
    elements = work.batch * work.kv_len * (work.num_heads + work.num_kv_heads) * (work.qk_head_dim + work.v_head_dim)
    return elements * load_dtype(work.dtype).size_bytes / (gpu.memory_bytes_per_s * bandwidth_share)


def has_backward(rates: AttentionRate) -> bool:
    """Whether backward passes have kernels of their own."""
    return any(kernel.use == "backward" for kernel in rates.kernels)


def estimate_attention(
    work: FlashAttention, gpu: Gpu, profile: Profile, *, is_replayed: bool = True, library: str | None = None
) -> Estimate:
    """One call of a fused attention kernel, forward or backward, in a burst.

    `is_replayed`: as published calls were measured, again and again on the same operands, which may stay in the L2, and writing the new k
    and v to a cache within the call. Amid a step, operands come from DRAM and the cache is written by an operator of its own.
    """
    rates = profile.attention
    if rates.odd_library and work.qk_head_dim % GRID and library in (None, rates.kernels[0].library, rates.odd_library):
        return _padded(work, gpu, profile)
    if work.is_backward and not has_backward(rates):
        return _backward(work, gpu, profile)
    kernel = flash_kernel(work, rates, library)
    if not is_replayed and not work.is_backward:
        kernel = replace(kernel, append_share=0.0, fixed_s=kernel.fixed_s - kernel.framework_s)
    chip = chip_of(gpu, work.dtype, is_backward=work.is_backward, is_replayed=is_replayed)
    times = kernel_times(kernel_calls([work]), kernel, chip)
    dropping = rates.dropout_backward if work.is_backward else rates.dropout_forward
    slower = float(times.main_s[0]) * (dropping - 1) if work.has_dropout else 0.0
    ideal, floor = work.executed_flops / gpu.peak_flops_per_s(work.dtype), work.bytes / gpu.memory_bytes_per_s
    shared_s = shared_gradients_s(work, gpu, rates.bandwidth_share)
    shared = TimePart(name="shared_heads", time_s=shared_s, reason="gradients of keys and values that heads share added up")
    parts = tuple(part for part in (*_parts(work, kernel, times, (ideal, floor), slower), shared) if part.time_s)
    time_s = sum(part.time_s for part in parts)
    is_memory = _is_memory(kernel, times)
    bound: BoundBy = "launch" if kernel.fixed_s > 0.5 * time_s else "memory" if is_memory else "compute"
    provenance = _provenance(kernel, profile, work, time_s)
    spread = call_spread(kernel, profile, time_s, provenance)
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=max(ideal, floor), bound_by=bound,
        provenance=provenance, parts=parts, reasons=_reasons(work, kernel.head_dim, int(times.num_splits[0])),
    )  # fmt: skip


def call_spread(kernel: FlashKernel, profile: Profile, time_s: float, provenance: Provenance) -> Spread:
    """Interval of a forward call by its predicted time, wider where the kernel was not fitted on this GPU or not this far."""
    index = int(np.digitize(time_s, SPREAD_EDGES_S))
    spread = kernel.spreads[index] if kernel.spreads else profile.spreads["attention"]
    if provenance == "calibrated":
        return spread
    return Spread(low=spread.low * CARRIED.low, high=spread.high * CARRIED.high)


def _is_memory(kernel: FlashKernel, times: KernelTimes) -> bool:
    """Whether loading holds the call: always in decoding, whose blocks wait for keys and values rather than compute."""
    return kernel.use == "decode" or bool(times.memory_s[0] > times.sm_s[0])


def _parts(
    work: FlashAttention, kernel: FlashKernel, times: KernelTimes, limits: tuple[float, float], slower: float
) -> tuple[TimePart, ...]:
    ideal, floor = limits  # arithmetic at the peak, bytes at the bandwidth
    main, sm, memory, tiles, busy, blocks = (
        float(each[0]) for each in (times.main_s, times.sm_s, times.memory_s, times.tiles_s, times.busy_s, times.blocks_s)
    )
    padding = ideal * (max(1.0, kernel.head_dim / work.qk_head_dim) - 1)
    if _is_memory(kernel, times):
        own = (
            TimePart(name="bytes", time_s=floor, reason="q, k, v and the output once, at the datasheet's bandwidth"),
            TimePart(name="bandwidth", time_s=memory - floor, reason=f"{floor / memory:.0%} of the bandwidth is reached"),
            TimePart(name="blocks", time_s=main - memory, reason="work of the blocks that loading does not hide"),
        )
    else:
        own = (
            TimePart(name="arithmetic", time_s=ideal, reason="FLOPs of the visible scores at the dense peak"),
            TimePart(name="head_padding", time_s=padding, reason=f"head size {work.qk_head_dim} runs as {kernel.head_dim}"),
            TimePart(name="tiles", time_s=tiles - ideal - padding, reason=f"tiles of {kernel.tile_q} x {kernel.tile_kv} scores run whole"),
            TimePart(name="kernel_rate", time_s=busy - tiles, reason=f"{tiles / busy:.0%} of the peak reached in the tiles"),
            TimePart(name="blocks", time_s=blocks, reason="start and end of the blocks"),
            TimePart(name="waves", time_s=sm - busy - blocks, reason="query blocks do not fill whole waves of SMs"),
            TimePart(name="memory", time_s=main - sm, reason="loading that arithmetic does not hide, and a lower clock in long kernels"),
        )
    return (
        *own,
        TimePart(name="dropout", time_s=slower, reason="random numbers for the dropped scores"),
        TimePart(name="split", time_s=float(times.combine_s[0]), reason=f"results of {times.num_splits[0]:.0f} parts of the keys joined"),
        TimePart(name="cache", time_s=float(times.append_s[0]), reason=_around(work)),
        TimePart(name="launch", time_s=kernel.fixed_s, reason="fixed time of a call"),
    )


def _provenance(kernel: FlashKernel, profile: Profile, work: FlashAttention, time_s: float) -> Provenance:
    """Calibrated for calls like those that were fitted on this GPU: its own head size, no dropout, no longer than the longest."""
    is_own = (kernel.smallest_head or kernel.head_dim) <= work.qk_head_dim <= kernel.head_dim
    is_fitted = kernel.num_rows > 0 and is_own and not work.has_dropout
    is_near = time_s <= BEYOND_FIT * kernel.longest_s
    return "calibrated" if is_fitted and is_near and profile.provenance == "calibrated" else "datasheet"


def _around(work: FlashAttention) -> str:
    """What else runs within a call."""
    if work.is_backward:
        return "the product of output and gradient before the kernel, queries' gradients cast after it"
    return "new k and v written to the cache within the call"


def _padded(work: FlashAttention, gpu: Gpu, profile: Profile) -> Estimate:
    """A head off the grid: the kernel of the next size on it, and torch's own kernels that pad operands and cut results."""
    head, value = (ceil_div(size, GRID) * GRID for size in (work.qk_head_dim, work.v_head_dim))
    inner = estimate_attention(
        replace(work, qk_head_dim=head, v_head_dim=value), gpu, profile, is_replayed=False, library=profile.attention.odd_library
    )
    copies = estimate_memory(_padding(work, head), gpu, profile)
    part = TimePart(name="padding", time_s=copies.time_s, reason=f"heads padded from {work.qk_head_dim} to {head} by kernels of their own")
    reason = f"head size {work.qk_head_dim} is no multiple of {GRID}: padded by separate kernels, then {profile.attention.odd_library}'s"
    return replace(
        inner, time_s=inner.time_s + copies.time_s, low_s=inner.low_s + copies.low_s, high_s=inner.high_s + copies.high_s,
        limit_s=max(work.executed_flops / gpu.peak_flops_per_s(work.dtype), work.bytes / gpu.memory_bytes_per_s),
        parts=(*inner.parts, part), reasons=(reason, *inner.reasons),
    )  # fmt: skip


def _padding(work: FlashAttention, head: int) -> MemoryChain:
    """Forward: zeros and a copy for each of q, k, v. Backward: the same for the output's gradient, and copies cut from the results."""
    size = load_dtype(work.dtype).size_bytes
    queries, keys = work.batch * work.num_heads * work.query_len * size, work.batch * work.num_kv_heads * work.kv_len * size
    padded = [queries] if work.is_backward else [queries, keys, keys]
    kernels: list[MemoryPass] = []
    for rows in padded:
        kernels += [_pass("fill", 0, rows * head), _pass("strided", rows * work.qk_head_dim, rows * work.qk_head_dim)]
    if work.is_backward:
        cut = (queries + 2 * keys) / 3 * work.qk_head_dim
        kernels += [_pass("strided", cut, cut)] * (BACKWARD_COPIES - 1)
    return MemoryChain(passes=tuple(kernels))


def _pass(pattern: Pattern, read_bytes: float, written_bytes: float) -> MemoryPass:
    return MemoryPass(pattern=pattern, read_bytes=read_bytes, written_bytes=written_bytes)


def _backward(work: FlashAttention, gpu: Gpu, profile: Profile) -> Estimate:
    rates, peak = profile.attention, gpu.peak_flops_per_s(work.dtype)
    head = head_rate(work.qk_head_dim, rates.heads)
    ideal = work.executed_flops / peak
    padding = max(1.0, 2 * head.head_dim / (work.qk_head_dim + work.v_head_dim))
    slow = rates.dropout_backward if work.has_dropout else 1.0
    kernel = ideal * padding / head.backward_efficiency * slow
    idle = kernel * (_idle_factor(work, gpu, rates.tile_q) - 1)
    compute = kernel + idle
    memory = work.bytes / (gpu.memory_bytes_per_s * rates.bandwidth_share)
    floor = work.bytes / gpu.memory_bytes_per_s
    if memory > compute:
        own = (
            TimePart(name="bytes", time_s=floor, reason="q, k, v and the output once, at the datasheet's bandwidth"),
            TimePart(name="bandwidth", time_s=memory - floor, reason=f"{rates.bandwidth_share:.0%} of the bandwidth is reached"),
        )
    else:
        rate = head.backward_efficiency / slow
        own = (
            TimePart(name="arithmetic", time_s=ideal, reason="FLOPs of the visible scores at the dense peak"),
            TimePart(name="head_padding", time_s=ideal * (padding - 1), reason=f"head size {work.qk_head_dim} runs as {head.head_dim}"),
            TimePart(name="kernel_rate", time_s=kernel - ideal * padding, reason=f"{rate:.0%} of the peak reached"),
            TimePart(name="waves", time_s=idle, reason="query blocks do not fill whole waves of SMs"),
        )
    launch = TimePart(name="launch", time_s=rates.fixed_s, reason="fixed time of a call")
    parts = tuple(part for part in (*own, launch) if part.time_s)
    time_s = sum(part.time_s for part in parts)
    spread = profile.spreads["attention"]
    bound: BoundBy = "launch" if rates.fixed_s > 0.5 * time_s else "memory" if memory > compute else "compute"
    is_measured = rates.is_backward_measured and profile.provenance == "calibrated"
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=max(ideal, floor), bound_by=bound,
        provenance="calibrated" if is_measured else "datasheet", parts=parts, reasons=_reasons(work, head.head_dim, 1),
    )  # fmt: skip


def _idle_factor(work: FlashAttention, gpu: Gpu, tile_q: int) -> float:
    """How much longer a backward kernel runs than if its blocks filled every SM: one wave at least, half a wave lost at the end."""
    waves = work.batch * work.num_heads * ceil_div(work.query_len, tile_q) / gpu.num_sms
    return 1 / waves if waves <= 1 else 1 + 0.5 / waves


def _reasons(work: FlashAttention, head_dim: int, num_splits: int) -> tuple[str, ...]:
    visible = work.visible_share
    skipped = () if visible > 0.995 else (f"{visible:.0%} of the scores are visible, the rest skipped",)
    padded = () if head_dim <= work.qk_head_dim else (f"head size {work.qk_head_dim} runs as {head_dim}",)
    dropped = ("dropout inside the kernel",) if work.has_dropout else ()
    window = (f"window {work.window}",) if work.window and work.window < work.kv_len else ()
    split = (f"keys split {num_splits} ways over idle SMs",) if num_splits > 1 else ()
    return (*skipped, *padded, *window, *dropped, *split)
