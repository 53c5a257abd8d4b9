"""Fits a `FlashKernel` to measured forward calls of fused attention: constants by least squares on the log of the time.

One fit for each GPU, use (prefill, encoder, decode), head size and presence of a window. The tile is chosen among those that the library's
source names for the head size. Calls are kept out by a hash of (query heads, key-value heads, head size) and the sequence, so that whole
families of a sweep are unseen. The loss is soft-L1 on ln(predicted / measured).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from ..hardware.profile import FlashKernel
from ..predict.attention_model import Array, Calls, Chip, kernel_times
from .spreads import spreads_by_time

#: Start of every fit and the value its ridge draws to: round numbers of a first fit to the H100's FlashAttention-3.
START = {
    "efficiency": 0.6, "block_s": 1e-6, "rows_s": 0.5e-6, "tail": 0.5, "bandwidth_share": 0.85, "l2_share": 1.3, "l2_fill": 0.6,
    "l2_sharpness": 6.0, "sharpness": 1.5, "droop": 0.02, "append_share": 0.5, "split_rate": 0.9, "split_tail": 0.3, "split_s": 1e-6,
    "combine_share": 1.0, "fixed_s": 8e-6,
}  # fmt: skip
#: DRAM and tensor cores do not beat their datasheet (the L2 may beat DRAM); a p-norm below 1 would add more than both times.
AT_MOST = {"efficiency": 0.98, "bandwidth_share": 0.98, "l2_share": 2.5, "tail": 1.5, "split_rate": 1.1, "l2_sharpness": 30.0}
AT_LEAST = {"sharpness": 1.0, "l2_sharpness": 1.0, "l2_fill": 0.2}
#: Weight of the pull towards `START`, and the error in ln(time) from which the loss grows linearly.
RIDGE, SOFT_LOG_ERROR = 2e-3, 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlashRows:
    """Measured calls of one kernel."""

    calls: Calls
    time_s: Array

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, index: Array) -> FlashRows:
        """The rows numbered (or masked by) `index`."""
        return FlashRows(calls=self.calls.take(index), time_s=self.time_s[index])


def is_held_out(calls: Calls, share: float = 0.3) -> Array:
    """Mask of the families (heads, key-value heads, head size, sequence) kept out of the fit."""
    sequence = np.where(calls.query_len > 1, calls.query_len, calls.kv_len)
    columns = zip(calls.num_heads, calls.num_kv_heads, calls.qk_head_dim, sequence, strict=True)
    return np.array([zlib.crc32("/".join(f"{value:.0f}" for value in row).encode()) % 1000 < 1000 * share for row in columns])


def fit_kernel(rows: FlashRows, chip: Chip, form: FlashKernel, evaluations: int = 60) -> FlashKernel:
    """`form` (its tile and habits) with the constants that fit `rows` best."""
    names = tuple(START)
    anchor = np.log(np.array(list(START.values())))
    target = np.log(rows.time_s)
    high = np.minimum(anchor + 2.5, np.log([AT_MOST.get(name, np.inf) for name in names]))
    low = np.maximum(anchor - 4.0, np.log([AT_LEAST.get(name, 1e-12) for name in names]))

    def kernel_of(x: Array) -> FlashKernel:
        return replace(form, **dict(zip(names, map(float, np.exp(x)), strict=True)))

    def residuals(x: Array) -> Array:
        error = np.log(kernel_times(rows.calls, kernel_of(x), chip).time_s) - target
        return np.concatenate([error, (x - anchor) * RIDGE * np.sqrt(len(target))])

    solved = least_squares(
        residuals, np.clip(anchor, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1", f_scale=SOFT_LOG_ERROR,
        max_nfev=evaluations, diff_step=1e-3,
    )  # fmt: skip
    return replace(kernel_of(solved.x), num_rows=len(rows), longest_s=float(rows.time_s.max()))


def blank_kernel(**form: object) -> FlashKernel:
    """A kernel of the given tile and habits, its constants at the start of the fit."""
    return FlashKernel(**{**START, **form})  # pyright: ignore[reportArgumentType]


def with_spreads(kernel: FlashKernel, held: FlashRows, chip: Chip) -> FlashKernel:
    """The kernel with intervals from calls that it was not fitted to."""
    return replace(kernel, spreads=spreads_by_time(kernel_times(held.calls, kernel, chip).time_s, held.time_s))
