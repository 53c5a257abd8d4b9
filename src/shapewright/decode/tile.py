"""How one product of a decode step runs: which kernel, over which tiles."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """`gemv` and `direct` take `block_n` outputs of every row a program, `stages` tiles of the weight in registers (`direct`: of 32
    columns a warp, k shared out among the `warps`); `flat` `block_n` outputs of `block_m` rows, k in `splits` ranges, `stages` tiles of the
    weight on their way; `library` is torch's own product with the epilogue after it. `chains`: sums of a `flat` tile on the matrix units
    that do not wait for one another, added up at the end. `late`: the next kernel may start after a `flat` program's sums, not before them.
    `norm_apart`: the norm is a kernel of its own before this one.
    """

    kernel: Literal["gemv", "direct", "flat", "library"]
    block_m: int = 1
    block_n: int = 1
    block_k: int = 1
    splits: int = 1
    stages: int = 1
    warps: int = 4
    chains: int = 1
    late: bool = False
    norm_apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTile:
    """`splits` ranges of slots a key-value head, `block_s` slots at a time, `stages` of them on their way.

    `unified`: the asynchronous softmax with one maximum `phi` for all (natural log), valid within `bound` (log2) of it. `on_matrix_units`:
    a query alone is padded to their 16 rows as a group is.
    """

    splits: int
    block_s: int
    stages: int = 1
    warps: int = 4
    unified: bool = False
    phi: float = 0.0
    bound: float = 60.0
    on_matrix_units: bool = True

    def queries(self, group: int) -> int:
        """Rows of the product with the keys: one query alone, or as many as the matrix units take at once."""
        return 1 if group == 1 and not self.on_matrix_units else max(16, 1 << (group - 1).bit_length())


def block_d(head_dim: int) -> int:
    """Width of a head's tile: a power of two, and no narrower than the matrix units take."""
    return max(16, 1 << (head_dim - 1).bit_length())
