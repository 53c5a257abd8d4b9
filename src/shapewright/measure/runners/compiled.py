"""A function through `torch.compile` (Inductor), for this shape alone: no dynamic sizes, no graph breaks.

Compiling says things about torch's own code (deprecated modules, tf32 that could be on) which are no news to whoever measures: its
warnings are dropped, those of later calls are not made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled at its first call."""
    import torch
    from torch._functorch import config

    torch._dynamo.reset()  # else the second shape would compile as a dynamic one
    config.donated_buffer = False  # a backward pass that is timed again and again keeps what it read
    run = torch.compile(function, dynamic=False, fullgraph=True)

    def quiet(*operands: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(*operands)

    return quiet
