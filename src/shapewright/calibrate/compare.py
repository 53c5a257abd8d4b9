"""What the predictor in force says of a measured point, by the protocol that measures it.

    compared = compare_points(points, load_gpu("h200"))        # one `Compared`, or the reason why there is none, a point
    compare_point(point, gpu).predicted_s

Products, attention, memory-bound kernels and optimizers are timed alone in graph replay: their predictions are those of a burst, on
operands that come from DRAM. Layers and models run for seconds: their predictions are `explain`'s, power
limit and host included (`compare_steps`). Seconds; a kind, backend or dtype without a model is a reason, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ShapewrightError
from ..hardware.gpu import Gpu
from ..hardware.load import default_node
from ..measure.operators import works_of
from ..measure.points import AttentionPoint, GemmPoint, LayerPoint, ModelPoint, OptimizerPoint, Point
from ..operators.types import Collective, FlashAttention, Gemm, MemoryChain, MemoryPass, Work
from ..predict.attention import estimate_attention
from ..predict.collectives import estimate_collective
from ..predict.estimate import PROVENANCES, Estimate
from ..predict.explain import load_machine
from ..predict.gemm import estimate_gemm, predict_gemm
from ..predict.memory_bound import estimate_memory
from ..predict.operators import Machine
from ..predict.profiles import load_profile

#: Architectures on which SDPA left to itself takes cuDNN's kernels, which is what their profiles hold; the flash backend's elsewhere
#: (benchmarks/h200/heads.jsonl.gz: the flash backend takes 1.5 to 2 times as long as cuDNN there).
CUDNN_ARCHITECTURES = ("hopper", "blackwell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A prediction beside a measurement. `low_s`, `high_s`: 10th and 90th percentile; `limit_s`: the roofline.

    `gpu_s` and `host_s` are set of layers and models: GPU time alone, and what the host needs to issue the launches (0: none was counted).
    """

    predicted_s: float
    low_s: float
    high_s: float
    limit_s: float
    bound_by: str
    provenance: str
    gpu_s: float | None = None
    host_s: float | None = None

    @property
    def is_host_bound(self) -> bool:
        """Whether issuing the kernels is said to take longer than running them."""
        return self.gpu_s is not None and self.host_s is not None and self.host_s > self.gpu_s


#: A prediction, or why there is none.
Answer = Compared | str


def compare_point(point: Point, gpu: Gpu, library: str | None = None) -> Answer:
    """The prediction of one point."""
    return compare_points([point], gpu, library)[0]


def compare_points(points: Sequence[Point], gpu: Gpu, library: str | None = None, *, is_long_run: bool = False) -> list[Answer]:
    """Predictions in the order of the points; products all at once, what is asked for twice once.

    `is_long_run`: as amid many calls of the like, back to back, where the card's power limit slows what keeps its tensor cores busy.
    """
    known: dict[Point, Answer] = {}
    known.update(_products([point for point in points if isinstance(point, GemmPoint)], gpu, library))
    for point in points:
        if point not in known:
            known[point] = _other(point, gpu, library)
    if is_long_run:
        machine = load_machine(gpu, library=library)
        known = {point: _sustained(point, said, machine) for point, said in known.items()}
    return [known[point] for point in points]


def _sustained(point: Point, said: Answer, machine: Machine) -> Answer:
    """A burst as it is in a long run; layers and models are long runs already."""
    if isinstance(said, str) or not isinstance(point, GemmPoint | AttentionPoint):
        return said
    works = works_of(point)
    flops = sum(
        work.executed_flops if isinstance(work, FlashAttention) else work.flops for work in works if isinstance(work, Gemm | FlashAttention)
    )
    factor = float(machine.slowdown(flops, said.predicted_s, point.dtype))
    return replace(said, predicted_s=said.predicted_s * factor, low_s=said.low_s * factor, high_s=said.high_s * factor)


def _products(points: Sequence[GemmPoint], gpu: Gpu, library: str | None) -> dict[Point, Answer]:
    """Matrix products through the vectorised predictor."""
    lacking = [point for point in points if point.dtype not in gpu.flops_per_s]
    found: dict[Point, Answer] = {point: f"{gpu.name} has no {point.dtype} products" for point in lacking}
    asked = [point for point in points if point not in found]
    if not asked:
        return found
    sizes = {name: np.array([getattr(point, name) for point in asked], np.int64) for name in ("batch", "m", "n", "k")}
    dtypes, layouts = [point.dtype for point in asked], [point.layout for point in asked]
    answer = predict_gemm(gpu, **sizes, dtype=dtypes, layout=layouts, library=library)
    columns = (answer.time_s, answer.low_s, answer.high_s, answer.limit_s, answer.bound_by, answer.provenance)
    for point, *values in zip(asked, *(column.tolist() for column in columns), strict=True):
        time_s, low_s, high_s, limit_s, bound_by, provenance = values
        found[point] = Compared(
            predicted_s=time_s, low_s=low_s, high_s=high_s, limit_s=limit_s, bound_by=bound_by, provenance=provenance
        )  # fmt: skip
    return found


def _other(point: Point, gpu: Gpu, library: str | None) -> Answer:
    """A point that is no product."""
    try:
        if isinstance(point, LayerPoint | ModelPoint):
            from .compare_steps import compare_step

            return compare_step(point, gpu, library)
        reason = _why_not(point, gpu)
        backend = "flash" if isinstance(point, AttentionPoint) and point.backend == "flash" and _holds_flash(gpu) else None
        return reason or _summed([_burst(work, gpu, library, backend) for work in works_of(point)])
    except ShapewrightError as error:
        return error.what


def _why_not(point: Point, gpu: Gpu) -> str:
    """Why no profile can say how long the point takes; empty where one can."""
    if isinstance(point, AttentionPoint):
        fused = "cudnn" if gpu.architecture in CUDNN_ARCHITECTURES else "flash"
        if point.backend not in ("sdpa", "unfused", fused) and not (point.backend == "flash" and _holds_flash(gpu)):
            return f"no profile holds the {point.backend} backend on {gpu.name}, where SDPA takes {fused}"
        return "" if point.dtype in gpu.flops_per_s else f"{gpu.name} has no {point.dtype} products"
    if isinstance(point, OptimizerPoint) and point.variant != "fused":
        return f"no profile holds the {point.variant} optimizer"
    return "" if works_of(point) else f"a {point.kind} point is measured, not predicted"


def _holds_flash(gpu: Gpu) -> bool:
    """Whether torch's FlashAttention-2 kernels were measured beside those that SDPA takes."""
    return load_profile(gpu).attention.odd_library == "flash"


def _burst(work: Work, gpu: Gpu, library: str | None, backend: str | None) -> Estimate:
    """One call in graph replay, which turns over copies of the operands that the L2 does not hold; `backend` None: attention's first."""
    profile = load_profile(gpu, library)
    match work:
        case Gemm():
            return estimate_gemm(work, gpu, profile)
        case FlashAttention():
            return estimate_attention(work, gpu, profile, is_replayed=False, library=backend)
        case MemoryPass() | MemoryChain():
            return estimate_memory(work, gpu, profile)
        case _:
            assert isinstance(work, Collective)
            return estimate_collective(work, default_node(gpu), gpu, profile)


def _summed(estimates: Sequence[Estimate]) -> Compared:
    """Kernels one after another: bound by what bounds the longest, no better known than the least known."""
    return Compared(
        predicted_s=sum(each.time_s for each in estimates),
        low_s=sum(each.low_s for each in estimates),
        high_s=sum(each.high_s for each in estimates),
        limit_s=sum(each.limit_s for each in estimates),
        bound_by=max(estimates, key=lambda each: each.time_s).bound_by,
        provenance=max((each.provenance for each in estimates), key=PROVENANCES.index),
    )
