"""The width of a gated MLP was left at 8h/3, which is seldom a multiple of anything.

A gated MLP (SwiGLU, GeGLU) has three matrices where a plain one has two, so its width is cut from 4h to two thirds of it, 8h/3, to keep
the parameters. Taken literally that is no width for a GPU: for h = 4096 it is int(10922.67) = 10922 = 2 x 43 x 127, or 10923 when
rounded, and all nine products of the MLP, forward and backward, leave the tensor cores' fast path. Nothing holds a model to 8h/3:
Llama-2-7B takes 11008, 2.69 h, Llama-2-70B 28672, 3.5 h.

**Fix.** The nearest multiples of 64 (times the tensor-parallel size) and the next of 256, which is Llama's own rule and leaves whole
shares for 2 and 4 GPUs. Prices are at equal work.

**Caution.** A trained model cannot change its width; this is for models yet to be trained.

**Paper.** Section VII-B: 8h/3 breaks alignment; a search over widths finds 11008 among the best.

**Where it holds.** Every GPU with tensor or matrix cores and every cuBLAS up to CUDA 13. `torch.compile` pads most misaligned products by
itself, at the cost of a copy: forward products of 10922 and 10923 then run in 0.37 and 0.13 of the eager time on an H200.

**Measured.** H200, one layer of Llama-2-7B, b=4, s=2048, bf16, flash attention, forward + backward, eager: 62.4 ms at 10923, 36.8 ms at
10922, 21.5 ms aligned, that is 40.9 and 15.3 ms for the fault; the rule prices it at 42.2 and 15.6 ms a layer (in a step of training). On
other occasions 61.6, 37.6 and 21.7, and 63.0, 36.7 and 21.3 (11008), where 64.1, 37.5 and 22.0 are predicted. Compiled, where Inductor
pads, 19.6, 19.4 and 19.1: next to nothing is left of the fault (`docs/measuring.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import Change, Fault
from ..widths import STEPS, misalignment, neighbours, power_of_two

#: Elements that Llama rounds the width of its MLP up to.
LLAMA_MULTIPLE = 256


def check(case: Case) -> Iterator[Fault]:
    """A gated dense MLP of 8h/3, whole or rounded to less than 64."""
    shape, parts = case.shape, case.workload.tensor_parallel
    width = shape.intermediate_size
    if not is_unrounded(width, shape.hidden_size) or not shape.is_gated or all(kind.mlp == "moe" for kind in shape.layer_kinds):
        return
    step = math.lcm(LLAMA_MULTIPLE, STEPS[0] * parts)
    better = dict.fromkeys((*neighbours(width, parts=parts), ceil_div(width, step) * step))
    yield Fault(
        field="intermediate_size", value=width,
        message=f"intermediate_size {width} is 8/3 of hidden_size {shape.hidden_size} and "
        + misalignment(width, case.vector, "the gated MLP's products"),
        changes=tuple(Change(model=(("intermediate_size", value),), compare="equal_work") for value in better),
    )  # fmt: skip


def is_unrounded(width: int, hidden_size: int) -> bool:
    """Whether `width` is 8h/3 rounded up or down to a step of less than 64 elements: |width - 8h/3| < that step."""
    step = power_of_two(width)
    return step < STEPS[0] and abs(3 * width - 8 * hidden_size) < 3 * step
