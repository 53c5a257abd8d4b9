"""Attention writes its scores to memory where a fused kernel could keep them on the chip.

Unfused attention (`--attention unfused`) writes b x a matrices of s x s scores a layer, and kernels for scale, mask, softmax and dropout
read and write them again; training keeps them for the backward pass. It is predicted as Megatron-LM and GPT-NeoX run it, with one kernel
for scale, mask and softmax; transformers' `eager` has more passes, in fp32, and costs more. A fused kernel (FlashAttention, cuDNN,
PyTorch's `scaled_dot_product_attention`) computes the scores in tiles that never leave the chip, and skips tiles that the mask hides.

**Fix.** `--attention flash`: in transformers `attn_implementation="sdpa"` or `"flash_attention_2"`. The model stays the same, up to
rounding.

**Caution.** A fused kernel must know what the model does to its scores: a cap (Gemma 2), biases of ALiBi and attention sinks (gpt-oss)
are taken by some libraries only.

**Paper.** Section VI-B advises FlashAttention-2 for small models; section VI-C and Figure 12: with it attention follows a roofline.

**Where it holds.** Every GPU whose profile has a kernel for the head size, in 16 bits. The kernels of V100 and AMD GPUs are assumed, with
wide intervals. Where shared key heads reach no fused kernel (SW205), `flash` would be slower, and the rule is silent.

**Measured.** H200, PyTorch 2.11, bf16, 4 x 32 heads of 128 over 2,048 tokens (`docs/measuring.md`): unfused 5763 us forward and 7027
backward, fused 264 and 825. A layer of GPT-3 2.7B, forward + backward: 8.5 ms with `sdpa`, 20.3 with `eager`
(`benchmarks/h200/prices-1.jsonl.gz`), of which 10.8 are predicted for unfused attention without the passes that only `eager` has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...dtypes import load_dtype
from ...operators.math_attention import falls_to_math
from ..case import Case
from ..change import Change, Fault
from ..heads import fused_heads

#: Fused kernels take formats of up to 16 bits.
FUSED_BYTES = 2


def check(case: Case) -> Iterator[Fault]:
    """Unfused attention whose head size a fused kernel takes."""
    shape, workload = case.shape, case.workload
    size = load_dtype(case.now.dtype).size_bytes
    if workload.attention != "unfused" or size > FUSED_BYTES or falls_to_math(shape, replace(workload, attention="flash")):
        return
    if shape.qk_head_dim > max(fused_heads(case).sizes):
        return
    change = Change(workload=(("attention", "flash"),), is_safe=True, caution=_caution(case))
    yield Fault(field="attention", value="unfused", message=f"attention unfused {_what_happens(case, size)}", changes=(change,))


def _what_happens(case: Case, size_bytes: int) -> str:
    """What the kernels do that a fused one would not."""
    shape, workload = case.shape, case.workload
    if workload.phase == "decode":
        return "goes over each new token's scores in a kernel for each product and for the softmax: a fused one does all at once"
    num_scores = workload.micro_batch * shape.num_attention_heads * workload.query_len * workload.kv_len / workload.tensor_parallel
    return f"writes {num_scores * size_bytes / 1e9:.2g} GB of scores a layer and reads them again: a fused kernel keeps them on the chip"


def _caution(case: Case) -> str:
    """What of the model not every fused kernel takes."""
    shape = case.shape
    parts = {
        "a cap on the scores": shape.attention_softcap is not None, "ALiBi": shape.position_embedding == "alibi",
        "attention sinks": shape.has_attention_sinks,
    }  # fmt: skip
    found = " and ".join(part for part, is_there in parts.items() if is_there)
    return f"not every fused kernel takes {found}" if found else ""
