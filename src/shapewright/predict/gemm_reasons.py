"""Why one matrix product takes its time: parts that add up, and the reasons in words.

The parts walk from the arithmetic at the peak rate to the predicted time, one cause at a time: the kernel's own rate, partial tiles, waves,
operand loads, prologue and epilogue, memory that compute does not hide, split-K, launch. Where memory dominates they walk from the bytes
at the datasheet's bandwidth instead. All times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..hardware.profile import Candidate, KernelMenu
from ..operators.types import Gemm, Layout
from ..units import ceil_div
from .estimate import BoundBy, Estimate, TimePart
from .gemm_classes import CLASSES, gemm_class, row_factors, vector_size
from .gemm_model import BOUNDS, REFERENCE_TILE, CandidateTimes, Rates, bound_codes, candidate_times, filled_waves

MenuOf = Callable[[str], KernelMenu]
#: Misalignment costs are named when they exceed this share of the time.
WORTH_NAMING = 0.03


def explain_product(gemm: Gemm, menu_of: MenuOf, rates: Rates) -> Estimate:
    """The tile model's estimate of one product; misalignment, correction, interval and provenance are left for the caller to fill."""
    class_name, group = _class(gemm, menu_of, rates)
    menu = menu_of(class_name)
    times = _times(gemm, group, menu, rates)
    best = int(times.time_s[:, 0].argmin())
    walk = _Walk(gemm=gemm, menu=menu, rates=rates, group=group, times=times, best=best)
    parts = walk.parts()
    time_s = sum(part.time_s for part in parts)
    return Estimate(
        time_s=time_s, low_s=time_s, high_s=time_s, limit_s=walk.limit_s, bound_by=walk.bound_by, provenance="datasheet", parts=parts,
        reasons=("aligned", *walk.reasons()),
    )  # fmt: skip


def _class(gemm: Gemm, menu_of: MenuOf, rates: Rates) -> tuple[str, float]:
    code, pattern = gemm_class(gemm, rates.size_bytes, rates.vector_bytes)
    name = CLASSES[code]
    return name, float(row_factors(menu_of(name), np.array([pattern]), np.array([gemm.k]))[0])


def _times(gemm: Gemm, group: float, menu: KernelMenu, rates: Rates) -> CandidateTimes:
    # float32, as in bulk, so that one product and the same product among a million get the same answer.
    size = tuple(np.array([value], np.float32) for value in (gemm.batch, gemm.m, gemm.n, gemm.k))
    return candidate_times(size, np.array([group], np.float32), menu, rates)  # type: ignore[arg-type]


def aligned_product(gemm: Gemm, rates: Rates) -> Gemm:
    """The product with every misaligned leading dimension rounded up to whole vectors."""
    vector = vector_size(rates.size_bytes, rates.vector_bytes)
    return replace(gemm, **{name: ceil_div(getattr(gemm, name), vector) * vector for name in leading_dimensions(gemm.layout)})


def with_misalignment(estimate: Estimate, gemm: Gemm, rounded: Gemm, aligned_s: float, vector: int) -> Estimate:
    """The estimate of a misaligned product, its first reason the fault, the cure `rounded` and how much faster that is at `aligned_s`."""
    changed = [name for name in leading_dimensions(gemm.layout) if getattr(gemm, name) != getattr(rounded, name)]
    faults = ", ".join(f"{name} = {getattr(gemm, name)}" for name in changed)
    cure = ", ".join(f"{name} = {getattr(rounded, name)}" for name in changed)
    gain = estimate.time_s / aligned_s
    words = " (costs nothing here)" if gain < 1 + WORTH_NAMING else f"; {cure} would be {gain:.2f}x faster"
    return replace(estimate, reasons=(f"misaligned: {faults} is not a multiple of {vector}{words}", *estimate.reasons[1:]))


def leading_dimensions(layout: Layout) -> tuple[str, ...]:
    """Dimensions along which a matrix of this layout is contiguous: x, w and y."""
    return {"NT": ("k", "n"), "NN": ("k", "n"), "TN": ("m", "n")}[layout]


class _Walk:
    """The winning candidate of one product, taken apart."""

    def __init__(self, *, gemm: Gemm, menu: KernelMenu, rates: Rates, group: float, times: CandidateTimes, best: int) -> None:
        self.gemm, self.menu, self.rates, self.group = gemm, menu, rates, group
        self.candidate: Candidate = menu.candidates[best]
        self.sm_s, self.dram_s = float(times.sm_s[best, 0]), float(times.dram_s[best, 0])
        self.split_s = float(times.split_s[best, 0])
        self.blocks, self.splits = float(times.blocks[best, 0]), int(times.splits[best, 0])
        self.time_s = float(times.time_s[best, 0])
        self.core_s = self.time_s - menu.launch_s - self.split_s

    @property
    def waves(self) -> float:
        """Blocks over SMs: the last wave as far as it is full."""
        return self.blocks / self.rates.num_sms

    @property
    def ideal_s(self) -> float:
        """The FLOPs at the dense peak."""
        return self.gemm.flops / self.rates.flops_per_s

    @property
    def limit_s(self) -> float:
        """The roofline."""
        return max(self.ideal_s, self.gemm.bytes / self.rates.bytes_per_s)

    @property
    def bound_by(self) -> BoundBy:
        times = np.array(self.time_s), np.array(self.sm_s), np.array(self.dram_s)
        return BOUNDS[int(bound_codes(times, np.array(self.waves), self.menu.launch_s))]

    def parts(self) -> tuple[TimePart, ...]:
        """Where the time goes; the parts add up to it."""
        tail = (
            TimePart(name="split_k", time_s=self.split_s, reason=f"partial results of {self.splits} k-slices are added up"),
            TimePart(name="launch", time_s=self.menu.launch_s, reason="fixed time of a call"),
        )
        own = self._memory_parts() if self.dram_s > self.sm_s else self._compute_parts()
        return tuple(part for part in (*own, *tail) if part.time_s != 0)

    def _memory_parts(self) -> tuple[TimePart, ...]:
        floor = self.gemm.bytes / self.rates.bytes_per_s
        share = self.menu.bandwidth_share
        return (
            TimePart(name="bytes", time_s=floor, reason="operands and result once, at the datasheet's bandwidth"),
            TimePart(name="bandwidth", time_s=self.dram_s - floor, reason=f"{share:.0%} of the bandwidth is reached"),
            TimePart(name="compute_not_hidden", time_s=self.core_s - self.dram_s, reason="tile loops that the transfers do not cover"),
        )

    def _compute_parts(self) -> tuple[TimePart, ...]:
        rate_s = self.ideal_s / min(self.candidate.efficiency * self.group, 1)
        depth = float(np.ceil(self.gemm.k / (self.splits * self.menu.grain)) * self.menu.grain * self.splits)
        tile = self.candidate.tile_m * self.candidate.tile_n
        padded_s = rate_s * self.blocks / self.splits * tile * depth / (self.gemm.batch * self.gemm.m * self.gemm.n * self.gemm.k)
        filled = float(filled_waves(np.array(self.waves), self.menu.softness))
        waves_s = padded_s * filled / self.waves
        ends_s = filled * (self.menu.prologue_s + self.menu.epilogue_s * tile / REFERENCE_TILE)
        label = f"{self.candidate.tile_m} x {self.candidate.tile_n} tiles"
        return (
            TimePart(name="arithmetic", time_s=self.ideal_s, reason="FLOPs at the dense peak"),
            TimePart(name="kernel_rate", time_s=rate_s - self.ideal_s, reason=f"{self.ideal_s / rate_s:.0%} of the peak with {label}"),
            TimePart(name="partial_tiles", time_s=padded_s - rate_s, reason=f"{rate_s / padded_s:.0%} of the tiles' area is used"),
            TimePart(name="waves", time_s=waves_s - padded_s, reason=self._wave_words()),
            TimePart(name="operand_loads", time_s=self.sm_s - ends_s - waves_s, reason="tiles wait for operands; long products clock down"),
            TimePart(name="prologue_epilogue", time_s=ends_s, reason="filling the pipeline and writing the result, once a wave"),
            TimePart(name="memory_not_hidden", time_s=self.core_s - self.sm_s, reason="transfers that the tile loops do not cover"),
        )

    def _wave_words(self) -> str:
        sms, blocks = self.rates.num_sms, int(self.blocks)
        if blocks <= sms:
            return f"1 wave, {blocks} blocks on {sms} SMs ({blocks / sms:.0%} full)"
        last = blocks % sms or sms
        return f"{int(np.ceil(self.waves))} waves of {sms}, the last {last / sms:.0%} full"

    def reasons(self) -> tuple[str, ...]:
        """Tile, waves and split of the winner, in words."""
        area = self.gemm.batch * self.gemm.m * self.gemm.n / (self.blocks / self.splits * self.candidate.tile_m * self.candidate.tile_n)
        tile = f"tile {self.candidate.tile_m} x {self.candidate.tile_n}, {area:.0%} used"
        split = (f"split-K {self.splits}",) if self.splits > 1 else ()
        return (tile, self._wave_words(), *split)
