"""The vocabulary is no multiple of what the tensor cores load at once.

The logits of a decoder are one product of (tokens, hidden_size) by (hidden_size, vocab_size), the largest of the model. Its output, the
gradient of its output and, where the embeddings are tied, the embedding table all have rows of `vocab_size` elements. Tensor core kernels
load rows in vectors of 16 bytes, 8 elements of bf16; with a vocabulary of 50257 no row but the first begins on such a boundary, and
the library falls back to a slower kernel. Padding the table with rows that no token uses changes nothing that the model computes: the
loss ignores them, or their logits are set to minus infinity.

**Fix.** The next multiple of 64 (times the tensor-parallel size). nanoGPT went from 50257 to 50304 and trained about 25 % faster.

**Paper.** Section VI-B: the vocabulary should be divisible by 64; Figure 20a; section II-C.

**Where it holds.** Every GPU with tensor or matrix cores and every cuBLAS up to CUDA 13. Most of the gain comes at 8 elements of 16 bits;
the rest, up to 64, is small on an A100 and not to be seen on an H200. `torch.compile` pads most such products by itself, at the cost of a
copy. An embedding alone (an encoder without a language model head) does not care.

**Measured.** H200, PyTorch 2.11, CUDA 13: the logit product of 8192 tokens takes 5.8 times as long at 50257 as at 50304; products
at odd n take 5 to 8 times, at multiples of 2 and 4 alike 2.7 to 3.6 times as long as at multiples of 8 (`docs/measuring.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Change, Fault
from ..widths import STEPS, misalignment, padded


def check(case: Case) -> Iterator[Fault]:
    """A vocabulary whose logits are misaligned, or only off the paper's 64 (over several GPUs that is SW102's)."""
    vocab, parts = case.shape.vocab_size, case.workload.tensor_parallel
    is_fine = vocab % case.vector == 0 and (parts > 1 or vocab % STEPS[0] == 0)
    if not case.shape.has_lm_head or is_fine:
        return
    yield Fault(
        field="vocab_size", value=vocab, message=f"vocab_size {vocab} is {misalignment(vocab, case.vector, 'the logit products')}",
        changes=(Change(model=(("vocab_size", padded(vocab, parts=parts)),), is_safe=True),),
    )  # fmt: skip
