"""A head has no fused attention kernel of its own width and runs padded to the next one.

Libraries write fused attention for a few head sizes: cuDNN on Hopper for 64, 128, 192 and 256, FlashAttention-2 for multiples of 32 (up
to 256). A head in between runs as the next larger one: 80 as 128 in cuDNN, 1.6 times the FLOPs of the scores, in the forward and in the
backward pass. Some kernels are slower of themselves: cuDNN's backward of 136 to 192 takes 2.2 times as long as that of 128, with 1.5
times the work.

**Fix.** Heads of a kernel's own size, as many as make the same total width and divide over tensor-parallel GPUs: every projection keeps
its size. Where head_dim is a choice of its own (`head_dim` in the config), as many heads of that size, compared at equal work.

**Caution.** Fewer heads may cost accuracy (paper, section VI-B).

**Paper.** Not in the paper, which has h/a divisible by 64 for products (section VI-B) and finds FlashAttention-2 to follow a roofline in
the hidden size (section VI-C, Figure 12, 128 heads).

**Where it holds.** Fused attention over many tokens; in decoding the time goes into loading keys and values, which are not padded in
memory. The sizes are those of the library that a GPU's profile names: cuDNN (H200), FlashAttention-3 (H100), FlashAttention-2 (A100); for
V100 and AMD they are assumed, at 64, 128 and 256. Heads above 256, which FlashAttention refuses, are priced as the Triton kernel of 512
that was measured on an H100, or at the rate of the largest kernel. On an H200 head sizes from 64 to 128 are left alone: layers with 40,
32 and 20 heads of equal width differ by no more than predictions of whole layers are off (`lint/heads.toml`).

**Measured.** H200, PyTorch 2.11, cuDNN, bf16, 4 x 32 heads over 2,048 tokens (`docs/measuring.md`): forward 181 us at a head size of 64,
260 at 80, 264 at 128, 375 at 136, 364 at 192, 467 at 256; backward 545, 775, 825, 1823, 1805 and 2043. Whole layers of GPT-3 2.7B,
forward + backward, with 64 heads of 40, 40 of 64, 32 of 80, 20 of 128 and 10 of 256: 8.96, 8.29, 8.47, 8.19 and 8.35 ms
(`benchmarks/h200/prices-1.jsonl.gz`); on another occasion 8.84, 8.87 and 8.60 for the three in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...operators.math_attention import falls_to_math
from ...predict.attention import GRID
from ..case import Case
from ..change import Change, Fault
from ..heads import FusedHeads, are_alike, fused_heads, has_own_head_dim, head_pairs, nearest_pairs, resized, with_heads

YIELDS_TO = ("SW201",)


def check(case: Case) -> Iterator[Fault]:
    """A head that a fused kernel pads, or that is wider than any."""
    shape, workload = case.shape, case.workload
    is_fused = workload.attention == "flash" and not falls_to_math(shape, workload)
    if not is_fused or workload.phase == "decode" or shape.latent_attention:
        return
    fused = fused_heads(case)
    size = max(fused.runs_as)
    if size <= shape.head_dim <= max(fused.sizes) or are_alike(shape.head_dim, size, case.machine.gpu):
        return
    changes = _changes(case, fused)
    if changes:
        yield Fault(field="head_dim", value=shape.head_dim, message=_message(shape.head_dim, fused), changes=changes)


def _changes(case: Case, fused: FusedHeads) -> tuple[Change, ...]:
    """Heads of the next kernel size below and above."""
    shape = case.shape
    pairs = tuple(pair for pair in head_pairs(shape, case.workload.tensor_parallel, multiple=GRID) if pair[1] in fused.sizes)
    traded = tuple(with_heads(shape, *pair, field="head_dim") for pair in nearest_pairs(shape, pairs))
    if not has_own_head_dim(shape):
        return traded
    sizes = [size for size in fused.sizes if shape.head_dim / 2 <= size <= 2 * shape.head_dim]
    nearest = sorted(sizes, key=lambda size: abs(size - shape.head_dim))[:2]
    return (*map(resized, nearest), *traded)


def _message(head_dim: int, fused: FusedHeads) -> str:
    largest, padded = max(fused.sizes), max(fused.runs_as)
    if head_dim > largest:
        return f"head_dim {head_dim} is wider than {largest}, the largest that fused attention has a kernel for here"
    more = f"{padded / head_dim:.2g} times the FLOPs of the scores"
    return f"head_dim {head_dim} has no fused attention kernel of its own: it runs as {padded}, {more}"
