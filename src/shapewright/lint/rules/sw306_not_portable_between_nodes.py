"""The heads do not divide over all GPUs of a node, though they divide over the GPUs asked for.

Tensor parallelism commonly spans a node, where links are fast: 8 GPUs on most machines, 6 on Summit, 4 on Expanse. A model whose heads
divide over 4 and 8 GPUs may be impossible on a node of six, and one made for six awkward on eight.

The rule looks only where a node was named (`--node`), and there where several GPUs share a layer or the node's GPUs are no power of two:
the node that a GPU is usually found in is nobody's choice. It prices the model over t = GPUs of the node: the step there beside that of a
model whose heads divide, at an equal number of parameters and over the same GPUs; the share is carried over to the step that was asked
for. What SW301, SW302 and SW303 say of the tensor-parallel size asked for is left to them.

Over six GPUs the price holds what uneven widths cost as well: an MLP of 10240 leaves 1707 to the fullest GPU, which is odd.

**Fix.** Heads that divide over the node's GPUs. For six GPUs widths too: hidden sizes in multiples of 384 leave each GPU a multiple of
64, and 12288 with 96 heads (GPT-3 175B) is even on 1, 2, 3, 4, 6 and 8. Fixes are read together with the tensor-parallel size that they
are priced at.

**Caution.** A new shape to train. Fewer heads may cost accuracy. Serving with fewer GPUs than a node has needs no fix at all.

**Paper.** Section VII-A: on Summit, hidden sizes 2560 and 4096 with 32 heads (RedPajama-INCITE 3B and 7B, trained there) are impossible
at t = 6; hidden sizes divisible by 6 and by 64 are efficient.

**Where it holds.** Every GPU and library: it is arithmetic.

**Measured.** Nothing on several GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...hardware.node import Node
from ...units import ceil_div
from ..case import Case
from ..change import FEWER_HEADS, RETRAINED, Change, Fault
from ..splits import head_changes, key_value_changes, over, shared_heads
from ..widths import multiples

YIELDS_TO = ("SW301", "SW302", "SW303")
#: GPUs a node of usual machines, over which the message says whether heads divide.
USUAL_SIZES = (2, 4, 6, 8)
#: Elements of 16 bits in the paper's 128 bytes.
EVEN = 64
#: Widths of a head that new shapes are offered with.
HEAD_DIMS = (128, 64)


def check(case: Case) -> Iterator[Fault]:
    """Heads that the node's GPUs cannot share evenly."""
    shape, node, size = case.shape, case.machine.node, case.workload.tensor_parallel
    # Nobody chose the node that a GPU is usually found in.
    if node is None or "node" not in case.given or size > node.gpus_per_node:
        return
    if size == 1 and not _is_odd(node.gpus_per_node):
        return
    gpus = node.gpus_per_node
    if shape.num_attention_heads % gpus:
        changes = (*_wide_changes(case, gpus), *head_changes(case, gpus, at=gpus))
        yield _fault(case, "num_attention_heads", node, changes)
    elif shape.num_key_value_heads % gpus and not shape.latent_attention:
        yield _fault(case, "num_key_value_heads", node, tuple(key_value_changes(case, gpus, at=gpus)))


def _fault(case: Case, field: str, node: Node, changes: tuple[Change, ...]) -> Fault:
    value, gpus = getattr(case.shape, field), node.gpus_per_node
    whole = [str(size) for size in USUAL_SIZES if value % size == 0]
    where = f"{', '.join(whole[:-1])} and {whole[-1]}" if len(whole) > 1 else whole[0] if whole else "none of 2, 4, 6 and 8"
    width = case.shape.hidden_size
    uneven = f", and hidden_size {width} gives each no multiple of {EVEN}" if _is_odd(gpus) and width % (EVEN * gpus) else ""
    message = (
        f"{field} {value} divides over {where} GPUs, not over the {gpus} of {node.name}: the fullest holds {ceil_div(value, gpus)}{uneven}"
    )
    return Fault(field=field, value=value, message=message, changes=changes)


def _is_odd(gpus: int) -> bool:
    """Whether the number of GPUs is no power of two."""
    return gpus & (gpus - 1) != 0


def _wide_changes(case: Case, gpus: int) -> Iterator[Change]:
    """Where GPUs are no power of two: hidden sizes whose share is a multiple of 64, heads that divide, and the MLP in proportion."""
    shape = case.shape
    if not _is_odd(gpus) or shape.latent_attention:
        return
    for width in multiples(shape.hidden_size, EVEN * gpus):
        head_dim = next((size for size in HEAD_DIMS if width % (size * gpus) == 0), None)
        if head_dim is None:
            continue
        inner = max(1, round(shape.intermediate_size * width / shape.hidden_size / (EVEN * gpus))) * EVEN * gpus
        heads = width // head_dim
        caution = f"{RETRAINED}; {FEWER_HEADS}" if heads < shape.num_attention_heads else RETRAINED
        fields = (("num_attention_heads", heads), ("hidden_size", width), ("head_dim", head_dim), ("intermediate_size", inner),
                  *shared_heads(case, heads, gpus))  # fmt: skip
        yield over(Change(model=fields, compare="equal_params", caution=caution), gpus)
