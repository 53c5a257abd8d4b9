"""What the host costs: seconds that it takes to issue work, with a GPU that never falls behind, and what a graph replay spends on a kernel.

`launch`: one eager elementwise kernel in place on a tensor of 32 elements; `module`: one `nn.Linear` (16 -> 16, one row, no gradients),
with PyTorch's way through a module; both host seconds a call. `replay`: GPU seconds a call of the same tiny kernel in a graph, gaps
included. On a CPU the calls include their work.
"""

from __future__ import annotations

from ..clock import Prepared
from ..points import HostPoint
from . import Bench

NUM_ELEMENTS, NUM_FEATURES = 32, 16


def prepare(point: HostPoint, bench: Bench) -> Prepared:
    """One call, issued again and again."""
    import torch

    if point.what == "module":
        linear = torch.nn.Linear(NUM_FEATURES, NUM_FEATURES, device=bench.device.name).requires_grad_(False)
        x = torch.zeros(1, NUM_FEATURES, device=bench.device.name)
        return Prepared(calls=[lambda: linear(x)], method="host")
    tiny = torch.zeros(NUM_ELEMENTS, device=bench.device.name)
    return Prepared(calls=[lambda: tiny.add_(1.0)], method="host" if point.what == "launch" else "graph")
