"""A bare read: what the memory gives a kernel that does nothing else, the ceiling of a decode step.

sums[p] = sum of source[(p mod num_blocks) TILES BLOCK : ... + TILES BLOCK], int32 with wrap-around; source `[num_blocks, TILES, BLOCK]`
int32, sums `[programs]` int32. Where there are more programs than blocks they begin anew: no buffer of a step's size is needed.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _read_kernel(source, sums, num_blocks, BLOCK: tl.constexpr, TILES: tl.constexpr):
    program = tl.program_id(0)
    offsets = (program % num_blocks).to(tl.int64) * (BLOCK * TILES) + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.int32)
    for tile in tl.static_range(TILES):
        total += tl.load(source + offsets + tile * BLOCK, eviction_policy="evict_first")
    tl.store(sums + program, tl.sum(total, 0))


def read(source: Tensor, sums: Tensor, *, block: int, tiles: int, num_warps: int) -> None:
    """Read `len(sums)` blocks of `tiles * block` elements; the source holds a whole number of them."""
    assert source.dtype == sums.dtype == torch.int32 and source.numel() % (block * tiles) == 0
    kernel: Any = _read_kernel
    kernel[(sums.numel(),)](source, sums, source.numel() // (block * tiles), BLOCK=block, TILES=tiles, num_warps=num_warps)


def read_reference(source: Tensor, num_programs: int, *, block: int, tiles: int) -> Tensor:
    """`sums` in plain torch."""
    blocks = source.view(-1, block * tiles)
    rows = torch.arange(num_programs, device=source.device) % len(blocks)
    return blocks[rows].sum(1, dtype=torch.int64).to(torch.int32)
