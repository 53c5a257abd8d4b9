"""A width that is aligned itself loses its alignment when tensor parallelism splits it.

With t GPUs each holds intermediate_size / t columns of the MLP and its share of the heads, hidden_size / t columns. Each halving takes a
factor of two from the width: 11008 = 43 x 256 is a multiple of 64 for up to 4 GPUs, but an eighth of it, 1376, is not. Where t is no
power of two (6 GPUs a node on Summit) or does not divide the width, shares are uneven or odd, and the fullest GPU sets the pace of all.

**Fix.** The nearest widths whose shares are multiples of 64: multiples of 64 x t. For hidden_size the heads come out whole and divide by
t. Prices are at equal work.

**Caution.** A trained model cannot change its width; for it, choose another t.

**Paper.** Section VI-B: h/t divisible by a power of two up to 64; section VII-A: models made for 6 GPUs a node and for 8.

**Where it holds.** Every GPU with tensor or matrix cores. A share at multiples of 8 elements of 16 bits costs a few percent of the
products that sum over it on an H200, below the noise in most models: the rule speaks where shares are odd, uneven, or multiples of 2 and
4.

**Measured.** Shares as such were not measured; the product of one share is that of a model of such a width. H200, PyTorch 2.11, CUDA 13:
a contracted width at multiples of 2 and 4 takes 3.2 to 3.7 times, an odd one 5.5 to 6.5 times as long as at multiples of 64, one at odd
multiples of 8 1.06 times in layout NT and 1.02 in NN (`docs/measuring.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...units import ceil_div
from ..case import Case
from ..change import Change, Fault
from ..whole_heads import has_plain_heads, hidden_changes
from ..widths import STEPS, divisibility, neighbours

YIELDS_TO = ("SW103", "SW104", "SW105")


def check(case: Case) -> Iterator[Fault]:
    """Shares of the MLP or of the heads off the multiples of 64."""
    shape, parts = case.shape, case.workload.tensor_parallel
    if parts == 1:
        return
    width = shape.intermediate_size
    if width % (STEPS[0] * parts) and width % STEPS[0] == 0 and any(kind.mlp == "dense" for kind in shape.layer_kinds):
        changes = tuple(Change(model=(("intermediate_size", each),), compare="equal_work") for each in neighbours(width, parts=parts))
        yield _fault("intermediate_size", width, parts, changes)
    hidden, heads = shape.hidden_size, shape.num_attention_heads
    # Heads that t does not divide are another fault (SW301).
    if has_plain_heads(shape) and heads % parts == 0 and hidden % (STEPS[0] * parts) and hidden % STEPS[0] == 0:
        yield _fault("hidden_size", hidden, parts, hidden_changes(shape, step=STEPS[0] * parts, parts=parts))


def _fault(field: str, width: int, parts: int, changes: tuple[Change, ...]) -> Fault:
    share = ceil_div(width, parts)
    holder = "the fullest GPU" if width % parts else "each"
    message = f"{field} {width} over {parts} GPUs leaves {share} to {holder}, {divisibility(share, STEPS[0])}"
    return Fault(field=field, value=width, message=message, changes=changes)
