"""Bytes and kernels of a layer's memory-bound operators against those that eager PyTorch dispatches for transformers' own code.

A layer is what one more layer adds. Tensors are small enough for the CPU but large beside weights. The CPU differs from a GPU in three
ways that the tolerances leave room for: LayerNorm's gradient reads its inputs once where a GPU runs two kernels, a slice's gradient is
one operator where a GPU fills and copies, and layouts need other copies.
"""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shapewright.operators import MemoryChain, MemoryPass, lower
from shapewright.read.hf import shape_from_hf_config_object
from shapewright.workload import Workload

BATCH, SEQUENCE = 2, 64
SIZES = {
    "hidden_size": 256, "num_attention_heads": 8, "vocab_size": 131, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
#: model class, configuration class and its changes, relative tolerance of bytes forward and backward
CASES = {
    "llama": ("LlamaForCausalLM", transformers.LlamaConfig, {"num_key_value_heads": 4, "intermediate_size": 704}, 0.02, 0.03),
    "phi": ("PhiForCausalLM", transformers.PhiConfig, {"intermediate_size": 704}, 0.02, 0.08),
    "gpt_neox": ("GPTNeoXForCausalLM", transformers.GPTNeoXConfig, {"rotary_pct": 0.25, "intermediate_size": 704}, 0.02, 0.15),
    "gpt2": ("GPT2LMHeadModel", transformers.GPT2Config, {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}, 0.02, 0.08),
}
VIEWS = frozenset({
    "view", "transpose", "t", "expand", "unsqueeze", "slice", "detach", "permute", "split", "_unsafe_view", "alias", "select", "squeeze",
    "split_with_sizes", "unbind",
})  # fmt: skip
PRODUCTS = frozenset({
    "mm", "addmm", "bmm", "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward",
})  # fmt: skip


class MovedBytes(TorchDispatchMode):
    """Adds up the bytes that operators other than views and products read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func._schema.name.split("::")[1] not in VIEWS | PRODUCTS:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self.total += sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in tensors)
            self.total += sum(leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        return result


def moved_bytes(class_name: str, config: transformers.PretrainedConfig) -> tuple[int, int]:
    """Bytes of a forward and of a backward pass."""
    config._attn_implementation = "sdpa"
    model = getattr(transformers, class_name)(config).to(torch.bfloat16).train()
    tokens = torch.randint(3, 131, (BATCH, SEQUENCE))
    with MovedBytes() as forward:
        output = model(input_ids=tokens, labels=tokens, use_cache=False)
    with MovedBytes() as backward:
        output.loss.backward()
    return forward.total, backward.total


@pytest.mark.parametrize("case", CASES)
def test_bytes_of_a_layer(case: str) -> None:
    class_name, config_class, changes, *tolerances = CASES[case]
    two, three = (config_class(**SIZES, **changes, num_hidden_layers=layers) for layers in (2, 3))
    measured = [after - before for before, after in zip(moved_bytes(class_name, two), moved_bytes(class_name, three), strict=True)]
    operators = lower(shape_from_hf_config_object(two).shape, Workload(micro_batch=BATCH, sequence=SEQUENCE), "bf16")
    passes = [op for op in operators if op.layer == "full+dense" and isinstance(op.work, MemoryPass | MemoryChain)]
    for part, expected, tolerance in zip(("forward", "backward"), measured, tolerances, strict=True):
        assert sum(op.bytes for op in passes if op.part == part) == pytest.approx(expected, rel=tolerance), part
