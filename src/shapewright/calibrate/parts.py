"""From fresh rows of one GPU to the rest of its profile: memory-bound kernels by pattern, fused attention by use and head size.

Rows are those of a run (`measure.store.read_run`), timed on operands that the L2 does not hold. What is fitted is kept where it errs
clearly less on the rows held out, family by family, and is marked as measured then; all else stays as it is. Host rates are told, not
adopted: the profile's `launch_host_s` counts the Python of a whole model. Seconds and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from ..hardware.gpu import Gpu
from ..hardware.profile import AttentionRate, FlashKernel, HeadRate, MemoryRate, Profile
from ..measure.operators import works_of
from ..measure.points import AttentionPoint, MemoryPoint, point_of
from ..operators.types import FlashAttention, MemoryChain, MemoryPass
from ..predict.attention import (
    chip_of,
    estimate_attention,
    flash_kernel,
    has_backward,
    head_rate,
    kernel_calls,
    shared_gradients_s,
    use_of,
)
from ..predict.attention_model import Chip, calls_of, kernel_times
from ..predict.memory_bound import engine_of
from .attention import FlashRows
from .attention import is_held_out as is_call_held_out
from .calibration import DIGITS, ClassFit
from .memory import MemoryRows, fit_rate, kernel_s
from .memory import is_held_out as is_kernel_held_out
from .score import absolute_percent
from .scored import Array
from .spreads import spreads_by_time

#: Fewest rows of a part, and of those the fewest held out; the share of the error before that a part must come below, and by how many
#: standard errors of the mean difference: what a handful of rows says by chance is not adopted.
MIN_ROWS, MIN_HELD_OUT, CLEARLY, SURE = 20, 6, 0.95, 2.0
#: Constants of a forward kernel that a handful of calls can tell, and what bounds them.
FLASH_CONSTANTS = {"efficiency": 0.98, "bandwidth_share": 0.98, "fixed_s": 1e-3, "block_s": 1e-4}
SOFT_LOG_ERROR, PULL = 0.05, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What takes the place of a profile's `memory` and `attention`, how each part came out, and the host's rates (seconds a call)."""

    document: Mapping[str, Any]
    fits: tuple[ClassFit, ...]
    host_s: Mapping[str, float]


def fit_parts(rows: Sequence[Mapping[str, Any]], gpu: Gpu, profile: Profile) -> Parts:
    """Every part that `rows` say enough of."""
    good = [row for row in rows if row.get("status") == "ok"]
    memory, memory_fits = _memory(good, gpu, profile)
    attention, attention_fits = _attention(good, gpu, profile)
    document: dict[str, Any] = {}
    if any(each.is_adopted for each in memory_fits):
        document["memory"] = {name: plain(rate) for name, rate in memory.items()}
    if any(each.is_adopted for each in attention_fits):
        document["attention"] = attention_document(attention)
    host = {str(row["what"]): float(row["time_s"]) for row in good if row.get("kind") == "host"}
    return Parts(document=document, fits=(*memory_fits, *attention_fits), host_s=host)


def _memory(rows: Sequence[Mapping[str, Any]], gpu: Gpu, profile: Profile) -> tuple[dict[str, MemoryRate], list[ClassFit]]:
    """Rates of all patterns, those that single kernels were measured of fitted to them."""
    groups: dict[str, list[tuple[MemoryPoint, MemoryPass, float]]] = {}
    for row in rows:
        if row.get("kind") != "memory" or row.get("runtime", "eager") != "eager":
            continue
        point = point_of(row)
        assert isinstance(point, MemoryPoint)
        for work in works_of(point):
            passes = work.passes if isinstance(work, MemoryChain) else (work,)
            if len(passes) == 1 and isinstance(passes[0], MemoryPass) and passes[0].num_kernels == 1:
                groups.setdefault(passes[0].pattern, []).append((point, passes[0], float(row["time_s"])))
    rates, fits = dict(profile.memory), []
    for pattern, found in sorted(groups.items()):
        if pattern in rates:
            rates[pattern], fit = _rate(pattern, found, rates[pattern], gpu)
            fits.append(fit)
    return rates, fits


def _rate(
    pattern: str, found: Sequence[tuple[MemoryPoint, MemoryPass, float]], base: MemoryRate, gpu: Gpu
) -> tuple[MemoryRate, ClassFit]:  # fmt: skip
    points, works, times = zip(*found, strict=True)
    size, count = (np.array([float(getattr(work, name)) for work in works]) for name in ("bytes", "rows"))
    ones = np.ones(len(found))
    rows = MemoryRows(
        size_bytes=size, rows=count, num_kernels=ones, time_s=np.array(times), floor_s=0 * ones, is_added=False, engine=engine_of(gpu)
    )
    held = is_kernel_held_out([f"{point.op}/{point.rows}" for point in points], np.array([float(point.width) for point in points]))
    name, before = f"memory: {pattern}", absolute_percent(kernel_s(rows, base), rows.time_s)
    if len(rows) < MIN_ROWS or held.sum() < MIN_HELD_OUT:
        return base, _fit(name, held, before, None)
    by_rows = ("row_s", "rows_per_sm") if count.any() else ()
    form = replace(base, bytes_per_clock=max(base.bytes_per_clock, 1000.0)) if count.any() and base.row_s == 0 else base
    candidates = [
        fit_rate([rows.take(~held)], form, names)[0]
        for names in (("bandwidth_share", "fixed_s"), ("bandwidth_share", "fixed_s", "bytes_per_clock", "sharpness", *by_rows))
    ]
    errors = [absolute_percent(kernel_s(rows, rate), rows.time_s) for rate in candidates]
    best = int(np.argmin([error[held].mean() for error in errors]))
    fit = _fit(name, held, before, errors[best])
    if not fit.is_adopted:
        return base, fit
    out = rows.take(held)
    return replace(candidates[best], spreads=spreads_by_time(kernel_s(out, candidates[best]), out.time_s)), fit


def _fit(name: str, held: Array, before: Array, after: Array | None) -> ClassFit:
    """A part with the errors of its held-out rows; adopted where they are clearly less."""
    kept = float(before[held].mean()) if held.any() else None
    new = None if after is None else float(after[held].mean())
    is_adopted = new is not None and kept is not None and new <= CLEARLY * kept and after is not None and is_sure(before, after, held)
    remark = "fitted" if is_adopted else "too few rows, kept" if new is None else "kept"
    return ClassFit(
        name=name, num_rows=len(held), num_held_out=int(held.sum()), before_percent=None if kept is None else round(kept, 2),
        after_percent=None if new is None else round(new, 2), is_adopted=is_adopted, remark=remark,
    )  # fmt: skip


def is_sure(before: Array, after: Array, held: Array) -> bool:
    """Whether held-out errors fell by more than their scatter explains."""
    gain = before[held] - after[held]
    return bool(len(gain) > 1 and float(gain.mean()) > SURE * float(gain.std(ddof=1)) / np.sqrt(len(gain)))


def _attention(rows: Sequence[Mapping[str, Any]], gpu: Gpu, profile: Profile) -> tuple[AttentionRate, list[ClassFit]]:
    """Forward kernels by use and head size, and the backward pass by the head size that it runs as."""
    groups: dict[tuple[str, int], list[tuple[FlashAttention, float]]] = {}
    for row in rows:
        point = point_of(row) if row.get("kind") == "attention" else None
        if not isinstance(point, AttentionPoint) or point.backend == "unfused" or point.has_dropout:
            continue
        (work,) = works_of(point)
        assert isinstance(work, FlashAttention)
        use = use_of(work)
        if point.is_backward and not has_backward(profile.attention):
            head = head_rate(point.head_dim, profile.attention.heads).head_dim
        else:
            head = flash_kernel(work, profile.attention).head_dim if use != "encoder" else point.head_dim
        groups.setdefault((use, head), []).append((work, float(row["time_s"])))
    rates, fits = profile.attention, []
    for (use, head), found in sorted(groups.items()):
        works, times = [work for work, _ in found], np.array([time for _, time in found])
        step = _backward if use == "backward" and not has_backward(profile.attention) else _forward
        rates, fit = step(f"attention: {use} {head}", works, times, gpu, replace(profile, attention=rates))
        fits.append(fit)
    backward = [each for each in fits if ": backward" in each.name]
    is_measured = rates.is_backward_measured or (len(backward) == len(rates.heads) and all(each.is_adopted for each in backward))
    return replace(rates, is_backward_measured=is_measured), fits


def _forward(name: str, works: list[FlashAttention], times: Array, gpu: Gpu, profile: Profile) -> tuple[AttentionRate, ClassFit]:
    """The kernel of one use and head size with its shares and fixed times fitted; operands come from DRAM and no cache is written."""
    rates = profile.attention
    base = flash_kernel(works[0], rates)
    is_backward = works[0].is_backward
    chip = chip_of(gpu, works[0].dtype, is_backward=is_backward)
    append = base.append_share if is_backward else 0.0
    bare = replace(base, append_share=append, fixed_s=max(base.fixed_s - base.framework_s, 1e-7), framework_s=0.0)
    shared = np.array([shared_gradients_s(work, gpu, rates.bandwidth_share) for work in works])
    times = np.maximum(times - shared, 0.1 * times)
    rows = FlashRows(calls=kernel_calls(works), time_s=times)
    held = is_call_held_out(rows.calls)
    before = absolute_percent(kernel_times(rows.calls, bare, chip).time_s, times)
    if len(rows) < MIN_ROWS or held.sum() < MIN_HELD_OUT:
        return rates, _fit(name, held, before, None)
    kernel = _fitted_kernel(rows.take(~held), bare, chip)
    fit = _fit(name, held, before, absolute_percent(kernel_times(rows.calls, kernel, chip).time_s, times))
    if not fit.is_adopted:
        return rates, fit
    out = rows.take(held)
    use = use_of(works[0])
    is_padded = base.use == use and base.head_dim >= works[0].qk_head_dim and base.smallest_head > 0
    own = replace(
        kernel, library=rates.kernels[0].library, use=use,  # pyright: ignore[reportArgumentType]
        head_dim=base.head_dim if is_padded else works[0].qk_head_dim, num_rows=len(rows), longest_s=float(times.max()), origin="",
        spreads=spreads_by_time(kernel_times(out.calls, kernel, chip).time_s, out.time_s),
    )  # fmt: skip
    others = (each for each in rates.kernels if _slot(each) != _slot(own))
    return replace(rates, kernels=(own, *others)), fit


def _slot(kernel: FlashKernel) -> tuple[str, str, int, bool]:
    return kernel.library, kernel.use, kernel.head_dim, kernel.is_windowed


def _fitted_kernel(rows: FlashRows, base: FlashKernel, chip: Chip) -> FlashKernel:
    names = list(FLASH_CONSTANTS)
    anchor = np.log([max(getattr(base, name), 1e-9) for name in names])
    high = np.log(list(FLASH_CONSTANTS.values()))
    low = np.minimum(anchor, high) - 4.0

    def kernel_of(x: Array) -> FlashKernel:
        return replace(base, **dict(zip(names, map(float, np.exp(x)), strict=True)))

    def residuals(x: Array) -> Array:
        error = np.log(kernel_times(rows.calls, kernel_of(x), chip).time_s / rows.time_s)
        return np.concatenate([error, (x - anchor) * PULL])

    solved = least_squares(
        residuals, np.clip(anchor, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1", f_scale=SOFT_LOG_ERROR, max_nfev=60,
        diff_step=1e-3,
    )  # fmt: skip
    return kernel_of(solved.x)


def _backward(name: str, works: list[FlashAttention], times: Array, gpu: Gpu, profile: Profile) -> tuple[AttentionRate, ClassFit]:
    """One efficiency for the backward pass of a head size."""
    rates = profile.attention
    held = is_call_held_out(calls_of(works))
    now = np.array([estimate_attention(work, gpu, profile).time_s for work in works])
    before = absolute_percent(now, times)
    if len(works) < MIN_ROWS or held.sum() < MIN_HELD_OUT:
        return rates, _fit(name, held, before, None)
    head = head_rate(works[0].qk_head_dim, rates.heads)
    slower = float(np.median((times[~held] - rates.fixed_s).clip(min=1e-7) / (now[~held] - rates.fixed_s).clip(min=1e-7)))
    own = replace(head, backward_efficiency=float(np.clip(head.backward_efficiency / slower, 0.01, 0.98)))
    changed = replace(rates, heads=tuple(own if each.head_dim == head.head_dim else each for each in rates.heads))
    after = np.array([estimate_attention(work, gpu, replace(profile, attention=changed)).time_s for work in works])
    fit = _fit(name, held, before, absolute_percent(after, times))
    return (changed if fit.is_adopted else rates), fit


def plain(part: FlashKernel | MemoryRate) -> dict[str, Any]:
    """A part of a profile as `hardware.profile` reads it."""
    data = {key: (float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value) for key, value in asdict(part).items()}
    return {**data, "spreads": [[each.low, each.high] for each in part.spreads]}


def attention_document(rates: AttentionRate) -> dict[str, Any]:
    """Attention as `hardware.profile` reads it."""
    data = {key: value for key, value in asdict(rates).items() if key not in ("heads", "kernels")}
    return {**data, "heads": [_head(each) for each in rates.heads], "kernels": [plain(each) for each in rates.kernels]}


def _head(head: HeadRate) -> list[float]:
    return [head.head_dim, round(head.forward_efficiency, DIGITS), round(head.backward_efficiency, DIGITS)]
