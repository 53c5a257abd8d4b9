"""A backward pass as a call of its own: the forward pass runs once, its graph is kept, and the call makes the gradients of its inputs.

A backward kernel runs on the stream of its forward one, so the forward pass runs on the clock's stream: only there can it be captured.
Gradients are new tensors each call, as in training before they are accumulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..clock import Call
from . import Bench


def backward_call(function: Callable[..., Any], inputs: Sequence[Any], gradient: Any | None, bench: Bench) -> Call:
    """Gradients of `function(*inputs)` by those of its `inputs` that are real numbers.

    `gradient`: of the result, in its shape; None: ones.
    """
    import torch

    with bench.clock.own_stream():
        leaves = [each.detach().requires_grad_() if each.is_floating_point() else each for each in inputs]
        result = function(*leaves)
        given = torch.ones_like(result) if gradient is None else gradient
    wanted = [each for each in leaves if each.requires_grad]
    return lambda: torch.autograd.grad(result, wanted, given, retain_graph=True)
