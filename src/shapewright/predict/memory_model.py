"""Arithmetic of kernels bound by the bytes they move, over arrays of kernels: the same code fits it and predicts with it.

    sm     = max(1, rows / (SMs x rows an SM)) x (row_s + row bytes x rows an SM / (bytes per clock x clock))   where a block takes a row
           = row_s + row bytes / row rate + (rows / SMs - 1) x (row_s / rows an SM + row bytes / rate of an SM)  the row rate known
           = bytes / (bytes per clock x SMs x clock)                                                            else
    stream = bytes x rereading / (bandwidth x share x misalignment); operands in the L2 come at `l2_share`
    time   = p-norm(sm, stream) + ramp x bytes / (bytes + ramp bytes) + rows x walk_s + fixed

Bytes and seconds, one entry a kernel; `rows` 0 where a kernel does not go by rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import MemoryRate

Array = NDArray[Any]

#: A row is read and written: both ends lie on whole lines of 128 bytes where the sum is a multiple of this.
ROW_LINE_BYTES = 256
#: How sharply rows cease to fit the L2, and repeated operands.
REREAD_SHARPNESS, L2_SHARPNESS = 4.0, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What a kernel needs of a GPU; `warm_bytes` is the L2 that holds operands between repetitions, 0 amid a step."""

    num_sms: int
    clock_hz: float
    bytes_per_s: float
    l2_bytes: float
    warm_bytes: float


def moving_s(size_bytes: Array, rows: Array, rate: MemoryRate, engine: Engine) -> Array:
    """Seconds of each kernel without its fixed time."""
    sm, stream = _sm_s(size_bytes, rows, rate, engine), _stream_s(size_bytes, rows, rate, engine)
    bigger = np.maximum(np.maximum(sm, stream), 1e-15)
    joined = np.maximum(sm, stream) * (1 + (np.minimum(sm, stream) / bigger) ** rate.sharpness) ** (1 / rate.sharpness)
    walked = np.minimum(rows, rate.walk_rows) if rate.walk_rows else rows
    return joined + rate.ramp_s * size_bytes / (size_bytes + rate.ramp_bytes) + walked * rate.walk_s


def _sm_s(size_bytes: Array, rows: Array, rate: MemoryRate, engine: Engine) -> Array:
    """What the SMs take: waves of rows, or their share of the bytes."""
    per_sm = rate.bytes_per_clock * engine.clock_hz
    row_bytes = size_bytes / np.maximum(rows, 1)
    by_rows = (rows > 0) & (row_bytes > rate.narrow_row_bytes) & (rate.row_s > 0)
    evenly = size_bytes / (per_sm * engine.num_sms)
    if rate.row_bytes_per_clock:
        first = rate.row_s + row_bytes / (rate.row_bytes_per_clock * engine.clock_hz)
        further = np.maximum(rows / engine.num_sms - 1, 0.0) * (rate.row_s / rate.rows_per_sm + row_bytes / per_sm)
        return np.where(by_rows, first + further, evenly)
    row_s = rate.row_s + row_bytes * rate.rows_per_sm / per_sm
    return np.where(by_rows, np.maximum(1, rows / (engine.num_sms * rate.rows_per_sm)) * row_s, evenly)


def _stream_s(size_bytes: Array, rows: Array, rate: MemoryRate, engine: Engine) -> Array:
    """What DRAM and L2 take."""
    row_bytes = size_bytes / np.maximum(rows, 1)
    is_unaligned = (rows > 0) & (row_bytes % ROW_LINE_BYTES != 0)
    share = rate.bandwidth_share * np.where(is_unaligned, rate.unaligned, 1.0)
    footprint = np.where(rows > 0, row_bytes * engine.num_sms, 0.0) / (rate.reread_fill * engine.l2_bytes)
    again = rate.reread * footprint**REREAD_SHARPNESS / (1 + footprint**REREAD_SHARPNESS)
    floor = size_bytes / engine.bytes_per_s
    from_dram = floor / share * (1 + again)
    if not (rate.l2_share and engine.warm_bytes):
        return from_dram
    missing = 1 / (1 + (rate.l2_fill * engine.warm_bytes / np.maximum(size_bytes, 1)) ** L2_SHARPNESS)
    # The L2 may beat DRAM, which a call as a whole does not: its fixed time at least stands between.
    return np.maximum(from_dram * missing + floor / rate.l2_share * (1 - missing), floor - rate.fixed_s)
