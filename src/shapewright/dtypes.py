"""Number formats: their names, their size in memory and the rate class of a GPU that multiplies them.

A `tf32` operand is stored as fp32 (4 bytes) and multiplied by tensor cores; `fp8` is either e4m3 or e5m2 (1 byte, the same
rate); products of fp8 operands write bf16.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtype:
    """A number format: `size_bytes` of an operand, `output_bytes` of a product's result."""

    name: str
    size_bytes: int
    output_bytes: int


DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype(name="fp32", size_bytes=4, output_bytes=4),
        Dtype(name="tf32", size_bytes=4, output_bytes=4),
        Dtype(name="fp16", size_bytes=2, output_bytes=2),
        Dtype(name="bf16", size_bytes=2, output_bytes=2),
        Dtype(name="fp8", size_bytes=1, output_bytes=2),
    )
}

_ALIASES = {
    "float32": "fp32", "float": "fp32", "f32": "fp32", "float16": "fp16", "half": "fp16", "f16": "fp16",
    "bfloat16": "bf16", "float8": "fp8", "e4m3": "fp8", "e5m2": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "tensorfloat32": "tf32",
}  # fmt: skip


def load_dtype(name: str) -> Dtype:
    """The format called `name` (`bf16`, `bfloat16`, `torch.bfloat16`, ...); unknown names are refused with the nearest."""
    key = str(name).lower().removeprefix("torch.")
    key = _ALIASES.get(key, key)
    if key not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    return DTYPES[key]
