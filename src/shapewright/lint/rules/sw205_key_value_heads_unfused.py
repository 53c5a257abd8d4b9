"""Shared key heads reach attention in a form that no fused kernel takes, and it runs as math kernels in fp32.

PyTorch's `scaled_dot_product_attention` wants as many key heads as query heads unless `enable_gqa` is set. Falcon-7B's modelling file
hands it one key head for 71 query heads without: every fused backend refuses, and the math path widens q, k and v to fp32, copies k and v
for each query head, writes the s x s scores in fp32 and passes over them again and again.

**Fix.** `has_fused_gqa` is no field of a config: pass `enable_gqa=True` to `scaled_dot_product_attention`, or expand the key heads before
it; `--has-fused-gqa` shows what that saves. What the model computes stays the same, up to rounding.

**Paper.** Not in the paper, whose models have as many key heads as query heads.

**Where it holds.** PyTorch 2.11 (`check_batch_size_and_num_heads_dense`) on every GPU; transformers 5.17's Falcon with `multi_query` and
not the new decoder architecture. With tensor parallelism that leaves each GPU as many key heads as query heads nothing is lost.

**Measured.** H200, PyTorch 2.11, bf16, b=4, s=2048: a layer of Falcon-7B takes 29.5 ms forward and 62.4 forward + backward
(`docs/measuring.md`); with fused attention 6.4 ms forward are predicted, which was not measured (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...operators.math_attention import falls_to_math
from ..case import Case
from ..change import Change, Fault

WHAT_TO_DO = "no field of the config says it: pass enable_gqa=True to scaled_dot_product_attention, or expand the key heads before it"


def check(case: Case) -> Iterator[Fault]:
    """Attention meant to be fused that is not, for its key heads."""
    shape = case.shape
    if not falls_to_math(shape, case.workload):
        return
    kv_heads = "one key head" if shape.num_key_value_heads == 1 else f"{shape.num_key_value_heads} key heads"
    what = f"{kv_heads} for {shape.num_attention_heads} query heads, handed to SDPA without enable_gqa"
    yield Fault(
        field="has_fused_gqa", value=False,
        message=f"has_fused_gqa false: no fused kernel takes {what}, and math kernels run in fp32",
        changes=(Change(model=(("has_fused_gqa", True),), is_safe=True, caution=WHAT_TO_DO),),
    )  # fmt: skip
