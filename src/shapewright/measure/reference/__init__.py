"""Transformer layers in plain PyTorch, driven by a `ModelShape`: what a layer costs without transformers.

GPT-NeoX's kind (LayerNorm, plain MLP, sequential or parallel residuals, learned, rotary, ALiBi or no positions) and Llama's (RMSNorm,
gated MLP, grouped queries), attention by `scaled_dot_product_attention` (sdpa), by a kernel an operation (eager), or by two products
and one kernel of mask and softmax between them (unfused; forward). `reference_shape` says
whether a shape is covered; `build_reference` makes the model. The modules below import torch at their top and are imported only here,
when a model is built.

Errors: `InputError` naming the field that the layers do not have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import InputError, shown
from ...shape import ModelShape
from ..devices import Device
from ..operands import torch_dtype

#: Fields of a shape and the values that these layers have.
_COVERED: dict[str, tuple[Any, ...]] = {
    "kind": ("decoder",), "norm_placement": ("pre",), "qk_norm": (None,), "moe": (None,), "latent_attention": (None,),
    "attention_pattern": (("full",),), "has_attention_sinks": (False,), "attention_softcap": (None,), "final_softcap": (None,),
    "embedding_size": (None,), "num_token_types": (0,), "has_lm_head_transform": (False,),
    "hidden_act": ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "relu", "relu2"),
}  # fmt: skip


def reference_shape(shape: ModelShape) -> ModelShape:
    """`shape` as these layers run it, if they cover it: shared key heads reach SDPA with `enable_gqa`."""
    for name, values in _COVERED.items():
        value = getattr(shape, name)
        if value not in values:
            known = f"they have {' or '.join(map(str, values))}" if len(values) < 3 else f"known: {', '.join(map(str, values))}"
            raise InputError(f"the reference layers cover no {name} {shown(value)} ({shape.name})", hint=f"{known}; or use source hf",
                             field=name)  # fmt: skip
    if shape.num_rotary_dims % 2:
        raise InputError(f"rotary_dim {shape.num_rotary_dims} is odd", hint="positions turn pairs of elements", field="rotary_dim")
    return replace(shape, has_fused_gqa=True)


def build_reference(shape: ModelShape, device: Device, *, dtype: str, attention: str) -> Any:
    """A model of `shape` with random weights (normal, deviation 0.02) on `device`, in evaluation mode."""
    import torch

    from .model import ReferenceModel

    with torch.device("meta"):
        model = ReferenceModel(reference_shape(shape), attention=attention)
    model = model.to(torch_dtype(dtype)).to_empty(device=device.name)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model.eval()
