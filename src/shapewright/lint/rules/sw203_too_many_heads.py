"""Unfused attention pays for every head: fewer and wider ones of the same total width cost less.

Unfused attention writes one matrix of s x s scores a head and sequence, and then reads and writes it again to scale, mask and normalise
it, to drop some of it out, and to multiply it with the values. All of that grows with the number of heads and not with their width: b x a
x s x s elements a pass. At equal hidden size the products do the same FLOPs with fewer, wider heads; they only get faster, since they
write less.

**Fix.** Heads of up to 128 elements: the fewest heads of the same total width that tensor-parallel GPUs share evenly, shared key heads
moved with them. No weight changes its size.

**Caution.** Fewer heads may cost accuracy (paper, section VI-B).

**Paper.** Section VI-B and Figure 1: at h=2560 a layer's throughput is lowest with 64 heads, then 40, 32 and 20 (83, 109, 119 and 141
TFLOP/s on an A100, fp16, b=4, s=2048). The paper explains it by alignment (80 is no multiple of 64), but 40 heads of 64 are slower than
32 of 80: it is the number of heads. Its last bar, 166 TFLOP/s, goes with 10 heads of 256, which the rule does not propose: few models
train with heads wider than 128.

**Where it holds.** Unfused attention on every GPU, over many tokens (not in decoding, where a head has one row of scores). Fused
attention makes no pass over the scores: there the rule is silent, and SW202 speaks of head sizes that a kernel pads.

**Measured.** A100: the paper's bars, which the predictor meets within 8 % (`tests/paper/test_figure1.py`). H200, PyTorch 2.11, bf16,
transformers' eager attention, one layer at h=2560, forward + backward (`benchmarks/h200/prices-1.jsonl.gz`): 33.2 ms with 64 heads, 23.5
with 40, 20.3 with 32, 15.5 with 20, 11.8 with 10. With fused attention 9.0, 8.3, 8.5, 8.2 and 8.4 ms. The price is that of one fused
kernel for scale, mask and softmax, as Megatron-LM and GPT-NeoX run it; eager attention has more passes, in fp32, and pays more for each
head.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..heads import head_pairs, with_heads
from ..whole_heads import head_step

#: Heads wider than this are rare in trained models.
WIDEST_HEAD = 128
MAX_CHANGES = 3


def check(case: Case) -> Iterator[Fault]:
    """Heads narrower than they could be where scores are written out."""
    shape, workload = case.shape, case.workload
    if workload.attention != "unfused" or workload.phase == "decode" or shape.latent_attention:
        return
    pairs = head_pairs(shape, workload.tensor_parallel, multiple=head_step(case))
    wider = [pair for pair in pairs if shape.head_dim < pair[1] <= WIDEST_HEAD][-MAX_CHANGES:]
    if not wider:
        return
    heads, scores = shape.num_attention_heads, f"{workload.query_len} x {workload.kv_len} scores"
    why = f"unfused attention passes several times over one matrix of {scores} for each head, however narrow"
    yield Fault(
        field="num_attention_heads", value=heads,
        message=f"num_attention_heads {heads}, of {shape.head_dim} elements each: {why}",
        changes=tuple(with_heads(shape, *pair, field="num_attention_heads") for pair in reversed(wider)),
    )  # fmt: skip
