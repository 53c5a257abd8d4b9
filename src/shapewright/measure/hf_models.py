"""Hugging Face models with random weights, from a config alone: nothing is fetched and no code of a checkpoint runs.

`build(recipe, ...)` makes the model of a `hf_fields.Recipe` on a device, in one number format. `weight_bytes` says before anything is
allocated what its weights take, and `require_memory` refuses what the device cannot hold.

Errors: `MissingError` without transformers; `InputError` where transformers refuses the config; a `MemoryError` that names both sizes in
bytes where weights, gradients and optimizer state exceed the device's memory.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from ..errors import InputError, MissingError
from ..shape import ModelShape
from .devices import Device, require_torch
from .hf_fields import Recipe
from .operands import torch_dtype


def check_transformers(hint: str = "pip install transformers, or measure with source reference") -> None:
    """The error that names transformers where they are missing; imports nothing."""
    if importlib.util.find_spec("transformers") is None:
        raise MissingError("Hugging Face models need transformers", hint=hint)


def require_transformers() -> Any:
    """transformers, or the error that names it."""
    check_transformers()
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def build(recipe: Recipe, device: Device, *, dtype: str, attention: str) -> Any:
    """The causal (or masked) language model of `recipe` in evaluation mode."""
    torch, transformers = require_torch(), require_transformers()
    if dtype == "fp8":
        raise InputError("models of fp8 are not built", hint="use bf16, fp16 or fp32", field="dtype")
    config = _config(transformers, recipe)
    kind = transformers.AutoModelForMaskedLM if recipe.shape.kind == "encoder" else transformers.AutoModelForCausalLM
    with torch.device(device.name):
        try:
            model = kind.from_config(config, dtype=torch_dtype(dtype), attn_implementation=attention)
        except ValueError as error:
            if "attention implementation" in str(error):
                raise InputError(f"transformers has no {attention} attention for {recipe.model_type}", hint="use attention eager",
                                 field="attention") from error  # fmt: skip
            raise _refused(recipe, error) from error
    return model.eval()


def weight_bytes(shape: ModelShape, dtype: str) -> int:
    """Bytes of the weights in `dtype`."""
    return shape.num_params * torch_dtype(dtype).itemsize


def require_memory(needed_bytes: int, device: Device, what: str) -> None:
    """Refuse what cannot be held, before it is allocated."""
    if needed_bytes > device.memory_bytes:
        text = f"out of memory before allocation: {what} needs at least {needed_bytes} bytes, {device.gpu} has {device.memory_bytes}"
        raise MemoryError(text)


def _config(transformers: Any, recipe: Recipe) -> Any:
    try:
        return transformers.AutoConfig.for_model(recipe.model_type, **recipe.values)
    except Exception as error:  # its checks raise errors of many kinds
        raise _refused(recipe, error) from error


def _refused(recipe: Recipe, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(f"transformers refuses this {recipe.model_type}: {lines[-1].strip()[:200]}", hint="change the model or its fields")
