"""The width of the MLP is no multiple of what the tensor cores load at once.

Two or three products of a dense layer have rows of `intermediate_size` elements in their operands or their result, forward and backward:
most of a model's arithmetic. Tensor core kernels load rows in vectors of 16 bytes, 8 elements of bf16. At 10923 no row but the first
begins on such a boundary, at 10922 every fourth does, and in both cases the library falls back to a slower kernel for all products of the
MLP.

**Fix.** The nearest multiples of 64 (times the tensor-parallel size) above and below. Prices are at equal work: a narrower MLP is no gain
by being narrower.

**Caution.** A trained model cannot change its width; this is for models yet to be trained.

**Paper.** Section VI-B: the inner and outer dimensions of each product divisible by 64 elements of 16 bits; Figures 10 and 20; section
VII-B.

**Where it holds.** Every GPU with tensor or matrix cores and every cuBLAS up to CUDA 13. Most of the gain comes at 8 elements; what the
paper asks for beyond, up to 64, is priced apart: a width at odd multiples of 8 costs the products that sum over it a few percent on an
H200. The MI210 and the MI250X lose next to nothing off the multiples of 8. `torch.compile` pads most misaligned products by itself, at
the cost of a copy.

**Measured.** H200, PyTorch 2.11, CUDA 13: products whose contracted width is odd take 5.5 to 6.5 times, at multiples of 2 and 4 alike 3.2
to 3.7 times as long as at multiples of 64. At odd multiples of 8: 1.06 times in layout NT (1.03 to 1.30, most in small products) and 1.02
in NN, where 1.06 and 1.03 are predicted (`docs/measuring.md`). A100, CUDA 11.7, the authors' log of (8192, k)(k, 14336) near k = 51200:
odd multiples of 8 take 1.13 times as long as multiples of 64, those of 16 take 1.01 times (5 and 3 rows); output widths 1.02 times. That
is what the A100's constants hold, for all products with weights that sum over such a width. V100, CUDA 11.3, the authors' log of (27648,
4096)(4096, n): set against the tile model, output widths at odd multiples of 8 take 0.97 of the time of multiples of 64 (13 and 47 rows),
so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Change, Fault
from ..widths import STEPS, misalignment, neighbours

YIELDS_TO = ("SW104",)


def check(case: Case) -> Iterator[Fault]:
    """A dense MLP whose width is misaligned."""
    width = case.shape.intermediate_size
    if width % STEPS[0] == 0 or all(kind.mlp == "moe" for kind in case.shape.layer_kinds):
        return
    better = neighbours(width, parts=case.workload.tensor_parallel)
    yield Fault(
        field="intermediate_size", value=width,
        message=f"intermediate_size {width} is " + misalignment(width, case.vector, "the MLP's products"),
        changes=tuple(Change(model=(("intermediate_size", value),), compare="equal_work") for value in better),
    )  # fmt: skip
