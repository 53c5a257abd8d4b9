"""What a Hugging Face model is made of, read from its modules: `read_decoder(model)`, or `Unsupported` with the reason.

A family's file knows how its blocks compute, so a module counts as known only if its class, and the forward that runs, are
transformers' own: a subclass, an adapter, a hook or a patched forward would be skipped by the kernels, and is refused instead.
Nothing of the model is changed or copied.
"""

from importlib import import_module
from typing import Any

from shapewright.decode.families.checks import check_adapters, check_class, check_dtype, check_heads, check_modules, check_placement
from shapewright.decode.layers import Decoder, Unsupported

FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "opt": "opt",
    "gpt_neox": "neox",
    "gpt2": "gpt2",
}
"""From a configuration's `model_type` to the file here that reads it."""


def read_decoder(model: Any) -> Decoder:
    """The model's weights and wiring, in bf16, fp16 or fp32; `Unsupported` says why a model has to run plain."""
    decoder = read_any_dtype(model)
    check_dtype(model)
    return decoder


def read_any_dtype(model: Any) -> Decoder:
    """As `read_decoder`, whatever the dtype of the weights: a float64 model serves as a reference."""
    check_adapters(model)
    check_class(model)
    family = model.config.model_type
    if family not in FAMILIES:
        raise Unsupported(f"its family, {family}, is not among the known ones: {', '.join(FAMILIES)}")
    check_placement(model)
    check_modules(model)
    decoder = import_module(f"{__name__}.{FAMILIES[family]}").read(model)
    check_heads(decoder)
    return decoder
