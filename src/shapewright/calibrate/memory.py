"""Fits a `MemoryRate` to measured memory-bound kernels: constants by least squares on the log of the time, soft-L1 loss.

Sources that time more than the kernel are described by a `Clock`: a call takes at least `floor_s` (the gap between launches) and adds
`added_s`. Kernels are kept out by a hash of (operation, columns), so that whole columns of a sweep are unseen. Bytes and seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from ..hardware.profile import MemoryRate
from ..predict.memory_model import Array, Engine, moving_s

#: Start of every fit and the value its ridge draws to; what a fit does not name keeps the value of its form.
START = {
    "bandwidth_share": 0.85, "bytes_per_clock": 30.0, "fixed_s": 2e-6, "row_s": 2e-6, "rows_per_sm": 4.0, "unaligned": 0.9, "reread": 0.5,
    "reread_fill": 0.5, "l2_share": 1.1, "l2_fill": 0.5, "sharpness": 4.0,
}  # fmt: skip
#: Every fit finds the share; these go with kernels by rows, and with operands that are replayed.
STREAMING, BY_ROWS = ("bandwidth_share",), ("bytes_per_clock", "row_s", "rows_per_sm", "unaligned", "reread", "reread_fill", "sharpness")
REPLAYED = ("fixed_s", "l2_share", "l2_fill")
AT_MOST = {"bandwidth_share": 0.95, "unaligned": 1.0, "reread": 2.0, "l2_share": 2.0, "rows_per_sm": 16.0, "sharpness": 16.0}
AT_LEAST = {"sharpness": 1.0, "rows_per_sm": 1.0}
#: Weight of the pull towards `START`, and the error in ln(time) from which the loss grows linearly.
RIDGE, SOFT_LOG_ERROR = 3e-3, 0.05
#: Sharpness of the floor: launches hide short kernels almost wholly.
FLOOR_SHARPNESS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryRows:
    """Kernels of one pattern on one GPU by one clock; `floor_s` is 0 where the clock has none, `rows` where a kernel does not go by
    rows."""

    size_bytes: Array
    rows: Array
    num_kernels: Array
    time_s: Array
    floor_s: Array
    is_added: bool
    """Whether the clock adds a time to each kernel, to be fitted."""
    engine: Engine

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, index: Array) -> MemoryRows:
        """The rows numbered (or masked by) `index`."""
        names = ("size_bytes", "rows", "num_kernels", "time_s", "floor_s")
        return replace(self, **{name: getattr(self, name)[index] for name in names})


def is_held_out(operation: Sequence[str], columns: Array, share: float = 0.3, salt: str = "") -> Array:
    """Mask of the families (operation, columns) kept out of the fit."""
    names = (f"{salt}{name}/{count:.0f}" for name, count in zip(operation, columns, strict=True))
    return np.array([zlib.crc32(name.encode()) % 1000 < 1000 * share for name in names], bool)


def kernel_s(rows: MemoryRows, rate: MemoryRate) -> Array:
    """Seconds of the kernels alone."""
    return rows.num_kernels * (moving_s(rows.size_bytes / rows.num_kernels, rows.rows, rate, rows.engine) + rate.fixed_s)


def clocked_s(kernel: Array, floor_s: Array, added_s: float | Array) -> Array:
    """What the source's clock says of kernels that take `kernel` seconds: at least its floor."""
    total = kernel + added_s
    return total * (1 + (floor_s / total) ** FLOOR_SHARPNESS) ** (1 / FLOOR_SHARPNESS)


def fit_rate(groups: Sequence[MemoryRows], form: MemoryRate, names: Sequence[str], evaluations: int = 80) -> tuple[MemoryRate, Array]:
    """`form` with the constants `names` that fit all `groups` best, and the time that each group's clock adds (0 where it adds none)."""
    anchor = np.log([*(START[name] for name in names), *(10e-6 for _ in groups)])
    low = np.maximum(anchor - 4.0, np.log([*(AT_LEAST.get(name, 1e-12) for name in names), *(1e-7 for _ in groups)]))
    high = np.minimum(anchor + 3.0, np.log([*(AT_MOST.get(name, np.inf) for name in names), *(50e-6 for _ in groups)]))
    clocks = np.array([float(group.is_added) for group in groups])

    def parts(x: Array) -> tuple[MemoryRate, Array]:
        values = np.exp(x)
        return replace(form, **dict(zip(names, map(float, values), strict=False))), values[len(names) :] * clocks

    def residuals(x: Array) -> Array:
        rate, added = parts(x)
        errors = [
            np.log(clocked_s(kernel_s(group, rate), group.floor_s, extra) / group.time_s)
            for group, extra in zip(groups, added, strict=True)
        ]
        return np.concatenate([*errors, (x - anchor) * RIDGE * np.sqrt(sum(len(group) for group in groups))])

    start = np.clip(anchor, low + 1e-6, high - 1e-6)
    solved = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=SOFT_LOG_ERROR, max_nfev=evaluations, diff_step=1e-3
    )
    rate, added = parts(solved.x)
    longest = max(float(group.time_s.max()) for group in groups)
    return replace(rate, num_rows=sum(len(group) for group in groups), longest_s=longest, is_measured=True), added


def fit_added_s(kernel: Array, floor_s: Array, time_s: Array) -> float:
    """The time that a clock adds to kernels of known duration."""

    def residuals(x: Array) -> Array:
        return np.log(clocked_s(kernel, floor_s, x[0] * 1e-6) / time_s)

    solved = least_squares(residuals, [8.0], bounds=([0.0], [60.0]), loss="soft_l1", f_scale=SOFT_LOG_ERROR, max_nfev=40)
    return float(solved.x[0]) * 1e-6
