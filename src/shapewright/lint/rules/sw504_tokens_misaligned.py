"""The sequence, or the tokens of a micro-batch, are no multiple of what the tensor cores load at once.

Unfused attention writes scores of s x s: their rows are s elements long, and so are those that the second product reads. An odd s, 2047
for 2048 tokens shifted by one, takes all of attention off the tensor cores' fast path. Products with weights are different: b s is the
number of rows, which lie one after another, so that only the last tile is less full; and fused attention never writes scores.

**Fix.** A sequence that is a multiple of 64, or of 8: pad or cut it. Compared per token.

**Caution.** Padding tokens are computed and thrown away; many short sequences are better packed.

**Paper.** Section VI-B: b s divisible by 8, better by 64; b alone need not be, since s is.

**Where it holds.** Unfused attention on every GPU on which misaligned products lose time. With fused attention the paper's rule costs
nothing that could be told from noise on an H200 or A100, and the rule is silent. Decode is left out: its keys grow by one each token.

**Measured.** H200, a layer of Pythia-1B, forward + backward, b = 4: with unfused attention 2047 tokens cost 27.1 % (+-1.9; 29.7
predicted) beside 2048, 2040 tokens 1.8 % (+-3.0); with fused attention 3.2 % (+-6.0) and 0.9 % (+-2.3). Of single products y = x w^T the
rows m may be any number, while a misaligned n takes up to 7.9 and k up to 6.5 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Change, Fault
from ..widths import divisibility, neighbours


def check(case: Case) -> Iterator[Fault]:
    """A misaligned sequence in unfused attention, or misaligned tokens of a micro-batch."""
    workload = case.workload
    if workload.phase == "decode":
        return
    is_unfused = workload.attention == "unfused"
    counted = workload.sequence if is_unfused else workload.num_tokens
    if counted % case.vector == 0:
        return
    whole = f"so are the {workload.num_tokens} tokens of a micro-batch of {workload.micro_batch}"
    what = "the rows of the s x s scores leave the tensor cores' fast path" if is_unfused else whole
    limit = case.shape.max_position_embeddings
    better = [each for each in neighbours(workload.sequence) if limit is None or each <= limit]
    yield Fault(
        field="sequence", value=workload.sequence,
        message=f"sequence {workload.sequence} is {divisibility(workload.sequence, case.vector)}: {what}",
        changes=tuple(Change(workload=(("sequence", value),)) for value in better),
    )  # fmt: skip
