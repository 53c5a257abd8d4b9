"""The width of a head is no multiple of what the tensor cores load at once.

Unfused attention is two batched products a layer, one small pair of matrices a head: scores q k^T, which sums over head_dim, and P v,
whose rows are head_dim wide. Where head_dim is no multiple of 16 bytes (8 elements of 16 bits), no row but the first begins on the
boundary that tensor core kernels load from, and the library falls back to slower ones. Fused kernels exist for multiples of 8 alone:
PyTorch fills and copies q, k and v to the next one, runs FlashAttention-2 instead of cuDNN, and cuts the results. Multiples of 8 that are
none of 64 are tried too where attention is unfused, against narrower heads alone, since wider ones are faster for another reason (SW203).

**Fix.** Another number of heads of the same total width, so that every projection keeps its size: the next narrower and the next wider
head that is a multiple of 8, in numbers that the tensor-parallel GPUs share evenly. Where head_dim is a choice of its own (`head_dim` in
the config), as many heads of the next multiple of 8. The price is that of equal work: passes over the scores that fewer heads would save
are left out of it.

**Caution.** Fewer heads may cost accuracy (paper, section VI-B).

**Paper.** Section VI-B: h/a should be divisible by as large a power of two as possible, with no further benefit beyond 64; Figures 7,
21-33 and 35-47. The example of the paper, GPT-3 2.7B with 32 heads of 80, is faster with 20 heads of 128 because there are fewer of them:
40 heads of 64 are aligned and slower.

**Where it holds.** Unfused attention on every NVIDIA GPU with tensor cores; fused attention off the grid of 8 with PyTorch (2.11 was
measured). On an MI250X the fitted profile loses nothing at multiples of 2 or 4. In decoding, only the grid of 8 counts.

**Measured.** H200, PyTorch 2.11, bf16, 4 x 32 heads over 2,048 tokens (`docs/measuring.md`): fused attention takes 814 us at a head size
of 100 and 260 at 96, backward 1901 and 796; unfused 6576 and 5450. The score product alone takes 3.3 times as long at multiples of 2 and
4 and 4.0 times at odd sizes as at multiples of 16, the product with v 1.8 and 3.7 times; at odd multiples of 8 the medians are 1.06 and
1.01.

Whole layers, forward + backward (`benchmarks/h200/prices-1.jsonl.gz`, Llama-2-7B at h=2600): 26 heads of 100 take 12.2 ms fused and 22.7
unfused, 25 of 104 take 10.8 and 20.6, 20 of 130 take 12.5 and 21.2.

A100, fp16, score product (the authors' log, the hidden size swept with 128 heads): 63, 78, 95 and 113 TFLOP/s at head sizes of 64, 80, 96
and 128, so that 80 and 96 do not fall below the line from 64 to 128; 120 (93) falls 13 % below it. Between 65 and 127 odd sizes reach a
median of 31, multiples of 2 and 4 reach 60 and 61.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...operators.math_attention import falls_to_math
from ...predict.attention import GRID
from ...units import ceil_div
from ..case import Case
from ..change import Change, Fault
from ..heads import has_own_head_dim, head_pairs, nearest_pairs, resized, with_heads
from ..whole_heads import head_step
from ..widths import STEPS, divisibility, neighbours, power_of_two


def check(case: Case) -> Iterator[Fault]:
    """A head off the grid of the kernels; with unfused attention, also one that is no multiple of 64."""
    shape, workload = case.shape, case.workload
    if shape.latent_attention or falls_to_math(shape, workload):
        return
    is_fused = workload.attention == "flash"
    vector = GRID if is_fused else case.vector
    if shape.head_dim % vector:
        what = f"head_dim {shape.head_dim} is {divisibility(shape.head_dim, vector)}: "
        yield Fault(field="head_dim", value=shape.head_dim, message=what + (_fused(case) if is_fused else _UNFUSED), changes=_aligned(case))
    elif not is_fused and workload.phase != "decode" and shape.head_dim % STEPS[0]:
        power = power_of_two(shape.head_dim)
        message = (
            f"head_dim {shape.head_dim} is a multiple of {power} only: the products of unfused attention are faster at multiples of 64"
        )
        yield Fault(field="head_dim", value=shape.head_dim, message=message, changes=_narrower(case))


_UNFUSED = "the score and value products of unfused attention leave the tensor cores' fast path"


def _fused(case: Case) -> str:
    """What becomes of a head off the grid in fused attention."""
    size, library = ceil_div(case.shape.head_dim, GRID) * GRID, case.machine.profile.attention.odd_library
    own = f", and {library}'s kernel runs in place of the usual one" if library else ""
    return f"fused kernels take multiples of {GRID}, so that q, k and v are copied to {size}{own}"


def _aligned(case: Case) -> tuple[Change, ...]:
    """Narrower and wider heads on the grid: of the same total width, and as many of them as now."""
    shape, step = case.shape, head_step(case)
    pairs = nearest_pairs(shape, head_pairs(shape, case.workload.tensor_parallel, multiple=step))
    traded = tuple(with_heads(shape, *pair, field="head_dim", compare="equal_work") for pair in pairs)
    own = tuple(resized(size) for size in neighbours(shape.head_dim, largest=step))
    return (*own, *traded) if has_own_head_dim(shape) else (*traded, *own)


def _narrower(case: Case) -> tuple[Change, ...]:
    """Heads of the next multiple of 64 below: what they gain, they gain by their alignment."""
    shape, step = case.shape, STEPS[0]
    pairs = [pair for pair in head_pairs(shape, case.workload.tensor_parallel, multiple=step) if pair[1] < shape.head_dim][-1:]
    own = [shape.head_dim // step * step] if has_own_head_dim(shape) and shape.head_dim > step else []
    return (*map(resized, own), *(with_heads(shape, *pair, field="head_dim") for pair in pairs))
