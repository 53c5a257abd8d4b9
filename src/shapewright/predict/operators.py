"""Time of any operator: hands its work to the model of its kind. Identical work is estimated once.

`estimate_operators` gives estimates with parts and reasons; `estimate_works` gives the same times without them, products as arrays, for
callers that compare hundreds of shapes. Seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..hardware.gpu import Gpu
from ..hardware.node import Node
from ..hardware.profile import Profile
from ..operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Operator, Work
from .attention import estimate_attention
from .collectives import estimate_collective
from .estimate import Estimate, TimePart
from .gemm import estimate_gemm, estimate_gemms
from .memory_bound import estimate_memory
from .padding import padded_product, shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What operators run on: a GPU with one library's constants, and the node around it (None: a single GPU)."""

    gpu: Gpu
    profile: Profile
    node: Node | None = None

    def estimate(self, work: Work) -> Estimate:
        """One call of `work` amid a step; several GPUs without a node are refused."""
        if isinstance(work, Gemm):
            return self._product(work)
        if isinstance(work, GroupedGemm):
            return self.sustained(_grouped(work, self.gpu, self.profile), work.flops, work.dtype)
        if isinstance(work, FlashAttention):
            return self.sustained(estimate_attention(work, self.gpu, self.profile, is_replayed=False), work.executed_flops, work.dtype)
        if isinstance(work, MemoryPass | MemoryChain):
            return estimate_memory(work, self.gpu, self.profile)
        assert isinstance(work, Collective)
        return estimate_collective(work, self.node, self.gpu, self.profile)

    def _product(self, gemm: Gemm) -> Estimate:
        """A product as it is, or as a compiler pads it."""
        plain = self.sustained(estimate_gemm(gemm, self.gpu, self.profile), gemm.flops, gemm.dtype)
        padded = padded_product(gemm, self.gpu)
        return plain if padded is None else shorter(plain, self._product(padded[0]), self.estimate(padded[1]))

    def slowdown(self, flops: Any, time_s: Any, dtype: str) -> Any:
        """What a burst of `time_s` is multiplied by amid a step; numbers or arrays.

        Constants of plain-core products (fp32) come from whole layers, so they hold it already.
        """
        if dtype == "fp32":
            return 1.0
        power = self.profile.power
        busy = flops / (time_s * self.gpu.peak_flops_per_s(dtype))
        return 1 + power.slope * np.maximum(0.0, busy - power.threshold) / (1 + power.held_per_tflop * flops / 1e12)

    def sustained(self, burst: Estimate, flops: float, dtype: str) -> Estimate:
        """`burst` as it is amid a step.

        A step runs kernels back to back: those that keep the tensor cores busy slow down at the card's power limit.

        """
        factor = float(self.slowdown(flops, burst.time_s, dtype))
        slower = factor - 1
        if slower == 0:
            return burst
        part = TimePart(name="power", time_s=burst.time_s * slower, reason="lower clock at the power limit in a long run")
        return replace(
            burst, time_s=burst.time_s + part.time_s, low_s=burst.low_s * factor, high_s=burst.high_s * factor, parts=(*burst.parts, part),
            reasons=(*burst.reasons, f"power limit +{slower:.0%}"),
        )  # fmt: skip


def estimate_operators(operators: Iterable[Operator], machine: Machine) -> list[Estimate]:
    """Estimates per call, in order."""
    known: dict[Work, Estimate] = {}
    estimates = []
    for operator in operators:
        if operator.work not in known:
            known[operator.work] = machine.estimate(operator.work)
        estimate = known[operator.work]
        estimates.append(estimate.with_reasons(operator.note) if operator.note else estimate)
    return estimates


def estimate_works(works: Iterable[Work], machine: Machine) -> dict[Work, Estimate]:
    """Estimates of distinct works without reasons, as `Machine.estimate` gives them but for the last of 32-bit digits."""
    works = list(dict.fromkeys(works))
    products = {work: grouped_product(work) if isinstance(work, GroupedGemm) else (work, 1) for work in works
                if isinstance(work, Gemm | GroupedGemm)}  # fmt: skip
    padded = {gemm: found for gemm, _ in products.values() if (found := padded_product(gemm, machine.gpu))}
    gemms = list(dict.fromkeys([*(gemm for gemm, _ in products.values()), *(aligned for aligned, _ in padded.values())]))
    times = dict(zip(gemms, estimate_gemms(gemms, machine.gpu, machine.profile), strict=True))
    estimates = {}
    for work in works:
        if not isinstance(work, Gemm | GroupedGemm):
            estimates[work] = machine.estimate(work)
            continue
        gemm, repeats = products[work]
        estimates[work] = machine.sustained(_repeated(times[gemm], repeats), work.flops, work.dtype)
        if gemm in padded:
            aligned, copies = padded[gemm]
            alone = machine.sustained(times[aligned], aligned.flops, aligned.dtype)
            estimates[work] = shorter(estimates[work], alone, machine.estimate(copies))
    return estimates


def grouped_product(work: GroupedGemm) -> tuple[Gemm, int]:
    """Experts as one batched product of the mean number of rows, or as a plain one and how often it runs; all rounded to whole ones."""
    experts, rows = max(1, round(work.num_active_groups)), max(1, round(work.rows_per_group))
    if work.layout == "TN":  # wgrad: the contracted dimension is the tokens
        shape = Gemm(m=work.n, n=work.k, k=rows, dtype=work.dtype, layout="TN")
    else:
        shape = Gemm(m=rows, n=work.n, k=work.k, dtype=work.dtype, layout=work.layout)
    return (shape, experts) if work.is_loop else (replace(shape, batch=experts), 1)


def _grouped(work: GroupedGemm, gpu: Gpu, profile: Profile) -> Estimate:
    """The product of a mixture of experts, and in words how its experts run."""
    product, repeats = grouped_product(work)
    how = f"a loop over {repeats} experts" if work.is_loop else f"{product.batch} experts in one kernel"
    mean = "mean rows an expert; uneven routing makes the fullest expert later"
    return _repeated(estimate_gemm(product, gpu, profile), repeats).with_reasons(how, mean)


def _repeated(one: Estimate, times: int) -> Estimate:
    """The estimate of `times` such calls in a row."""
    if times == 1:
        return one
    return replace(
        one, time_s=one.time_s * times, low_s=one.low_s * times, high_s=one.high_s * times, limit_s=one.limit_s * times,
        parts=tuple(TimePart(name=part.name, time_s=part.time_s * times, reason=part.reason) for part in one.parts),
    )  # fmt: skip
