"""Fits a training stack (`predict/stacks.py`) to measured steps by least squares on ln(time), whole models held out.

What the operators of a step take comes from the profile and is not fitted here: a few factors a stack are, with a ridge that draws them to
where they start. Rows are split by a hash of the model's name, never row by row.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.load import load_gpu
from ..hardware.node import Node
from ..hardware.profile import Spread
from ..operators.lower import lower
from ..predict.operators import Machine, estimate_operators
from ..predict.profiles import load_profile
from ..predict.stacks import FACTORS, Stack, StepLoad, stack_time, step_load
from ..predict.step import with_shares
from ..shape import ModelShape
from ..workload import Workload

Array = NDArray[Any]

RIDGE, SOFT_LOG_ERROR = 0.05, 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One measured step: `model` names it in the split, `time_s` is its wall-clock time."""

    model: str
    gpu: str
    shape: ModelShape
    workload: Workload
    node: Node
    time_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StackForm:
    """Which constants of a stack are fitted, and what the others are.

    `tied` names factors that share one fitted value, one for each architecture where `by_architecture` lists it; names in `scalars` and
    `fixed` are fields of `Stack`.
    """

    name: str
    origin: str
    architectures: tuple[str, ...]
    tied: Mapping[str, tuple[str, ...]]
    by_architecture: tuple[str, ...]
    scalars: Mapping[str, float]
    fixed: Mapping[str, Any]

    @property
    def start(self) -> dict[str, float]:
        """Name -> value where the fit begins; a factor of its own for each architecture is called `architecture/name`."""
        names = [f"{arch}/{name}" for name in self.by_architecture for arch in self.architectures]
        names += [name for name in self.tied if name not in self.by_architecture]
        return dict.fromkeys(names, 1.0) | dict(self.scalars)


MEGATRON = StackForm(
    name="megatron",
    origin="vtrain (MIT): Megatron-DeepSpeed iterations on A100, fp16, full recomputation, 1 to 64 nodes",
    architectures=("ampere",),
    tied={"work": ("product", "product_fp8", "attention", "memory"), "tensor": ("tensor",), "edge": ("edge",), "gradient": ("gradient",),
          "gradient_crowded": ("gradient_crowded",)},
    by_architecture=(),
    scalars={"launch_host_s": 50e-6, "join": 3.0, "unfused_softmax": 20.0},
    fixed={"exposed": 1.0, "straggling": 0.0, "is_ring_on_one_adapter": True},
)  # fmt: skip
LLM_FOUNDRY = StackForm(
    name="llm-foundry",
    origin="llm-foundry (Apache-2.0): throughput tables of MPT with FSDP on A100 and H100, bf16 and fp8, 8 to 512 GPUs",
    architectures=("ampere", "hopper"),
    tied={"product": ("product",), "product_fp8": ("product_fp8",), "attention": ("attention",), "memory": ("memory", "edge"),
          "communication": ("tensor", "gradient", "gradient_crowded")},
    by_architecture=("product", "product_fp8", "attention", "memory"),
    scalars={"exposed": 0.5, "straggling": 0.01},
    fixed={"launch_host_s": 16e-6, "join": 3.0, "unfused_softmax": 0.0, "is_ring_on_one_adapter": False},
)  # fmt: skip


def is_held_out(models: Sequence[str], share: float = 0.3) -> Array:
    """Whether each row's model is kept out of the fit, by hash; the prefix was chosen so that both stacks have models on both sides."""
    return np.array([zlib.crc32(f"whole {model}".encode()) / 2**32 < share for model in models], bool)


def loads(rows: Sequence[StepRow]) -> StepLoad:
    """The work of every step, one entry a row."""
    each = [step_load(_times(row), row.shape, row.workload, row.node.gpus_per_node) for row in rows]
    return StepLoad(*(np.array(column, float) for column in zip(*each, strict=True)))


def _times(row: StepRow) -> Any:
    gpu = load_gpu(row.gpu)
    machine = Machine(gpu=gpu, profile=load_profile(gpu), node=row.node)
    operators = lower(row.shape, row.workload, row.workload.dtype or "bf16")
    return with_shares(operators, estimate_operators(operators, machine), row.workload.num_micro_batches)


def take(load: StepLoad, index: Array) -> StepLoad:
    """The rows numbered or masked by `index`."""
    return StepLoad(*(column[index] for column in load))


def predicted_s(load: StepLoad, stack: Stack, architectures: Array) -> Array:
    """Seconds of each step."""
    seconds = np.zeros(len(architectures))
    for name in np.unique(architectures):
        own = architectures == name
        seconds[own] = stack_time(take(load, own), stack, str(name)).time_s
    return seconds


def fit_stack(form: StackForm, load: StepLoad, time_s: Array, architectures: Array) -> Stack:
    """The stack whose steps come nearest to `time_s`."""
    from scipy.optimize import least_squares

    names, start = list(form.start), np.log(list(form.start.values()))

    def residual(logs: Array) -> Array:
        stack = build(form, dict(zip(names, np.exp(logs), strict=True)))
        return np.append(np.log(predicted_s(load, stack, architectures) / time_s), RIDGE * (logs - start))

    fit = least_squares(residual, start, loss="soft_l1", f_scale=SOFT_LOG_ERROR, max_nfev=100)
    return build(form, dict(zip(names, np.exp(fit.x), strict=True)), num_rows=len(time_s))


def build(form: StackForm, values: Mapping[str, float], *, num_rows: int = 0) -> Stack:
    """A stack of `form` with the fitted `values`."""
    factors = {}
    for arch in form.architectures:
        own = dict.fromkeys(FACTORS, 1.0)
        for name, kinds in form.tied.items():
            own |= dict.fromkeys(kinds, float(values.get(f"{arch}/{name}", values.get(name, 1.0))))
        factors[arch] = own
    scalars: dict[str, Any] = {name: float(values[name]) for name in form.scalars} | dict(form.fixed)
    return Stack(
        name=form.name, factors=factors, spread=Spread(low=0.8, high=1.25), num_rows=num_rows, origin=form.origin, accuracy={}, **scalars
    )


def cross_ratios(form: StackForm, load: StepLoad, time_s: Array, architectures: Array, models: Array) -> Array:
    """measured / predicted of each row by a fit that has not seen the row's model."""
    ratio = np.zeros(len(time_s))
    for model in np.unique(models):
        out = models == model
        stack = fit_stack(form, take(load, ~out), time_s[~out], architectures[~out])
        ratio[out] = time_s[out] / predicted_s(take(load, out), stack, architectures[out])
    return ratio


def percentiles(ratio: Array) -> Spread:
    """10th and 90th percentile of measured / predicted."""
    low, high = np.quantile(ratio, (0.1, 0.9))
    return Spread(low=round(float(min(low, 0.99)), 3), high=round(float(max(high, 1.01)), 3))
