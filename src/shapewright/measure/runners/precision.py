"""Whether fp32 products may use tensor cores (tf32) is a flag of the whole process: it is set around each call and put back after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_precision(function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """`function` with tf32 allowed if `dtype` is tf32, forbidden if fp32; other formats do not ask."""
    if dtype not in ("fp32", "tf32"):
        return function
    import torch

    flags = torch.backends.cuda.matmul

    def run(*operands: Any) -> Any:
        before = flags.allow_tf32
        flags.allow_tf32 = dtype == "tf32"
        try:
            return function(*operands)
        finally:
            flags.allow_tf32 = before

    return run
