"""The width of the model is no multiple of what the tensor cores load at once.

Every product with weights has rows of `hidden_size` elements in an operand or in its result, and so have norms, residuals and the
embedding table. A width off the vectors of 16 bytes, 8 elements of bf16, makes the library fall back to slower kernels throughout the
model.

**Fix.** The nearest multiples of 64 whose heads come out whole: hidden_size is heads x head_dim, so a new width takes other heads of the
same head_dim, or, where no such width lies within 6 %, a head_dim as near as possible to the present one (then the price holds what
attention gains by it). Heads divide by the tensor-parallel size. Where head_dim is given apart (Gemma), only hidden_size changes. Prices
are at equal work, operator by operator.

**Caution.** A trained model cannot change its width. Fewer heads may cost accuracy; the paper says so too (section VI-B).

**Paper.** Section VI-B: the inner and outer dimensions of each product divisible by 64 elements of 16 bits; section VI-A, Figure 20b.

**Where it holds.** Every GPU with tensor or matrix cores and every cuBLAS up to CUDA 13. Widths of 64 times an odd number, such as
Falcon-7B's 4544 = 71 x 64, are aligned, however odd the number of heads: the rule is silent there.

**Measured.** H200, PyTorch 2.11, CUDA 13: an odd contracted width takes 5.5 to 6.5 times, an odd output width 5 to 8 times as long as the
nearest multiple of 64; contracted widths at odd multiples of 8 take 1.06 times in layout NT, other layouts and output widths at most 1.02
times (`docs/measuring.md`). A100, CUDA 11.7, the authors' log: logits at odd h take 3.6 times, at multiples of 2 and 4 alike 1.5 times, of
8 1.02 times as long as at multiples of 64 (h as output width, 80 rows). H200, one layer of Llama's kind, forward and backward: 30 heads of
86 (2580) cost 56.4 % ± 0.9 against 32 of 80 (2560), where 55.3 are predicted (`docs/measuring.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..whole_heads import has_plain_heads, hidden_changes
from ..widths import STEPS, misalignment


def check(case: Case) -> Iterator[Fault]:
    """A hidden_size off the multiples of 64."""
    shape, hidden = case.shape, case.shape.hidden_size
    # A head_dim off the vectors under an aligned width is the heads' fault (SW201).
    if hidden % STEPS[0] == 0 or (hidden % case.vector == 0 and has_plain_heads(shape) and shape.head_dim % case.vector):
        return
    parts = case.workload.tensor_parallel
    kept = hidden_changes(shape, step=STEPS[0], parts=parts, keeps_head_dim=True)
    yield Fault(
        field="hidden_size", value=hidden,
        message=f"hidden_size {hidden} is {misalignment(hidden, case.vector, 'all products with weights')}",
        changes=kept or hidden_changes(shape, step=STEPS[0], parts=parts),
    )  # fmt: skip
