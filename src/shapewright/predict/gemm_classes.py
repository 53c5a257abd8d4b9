"""Which alignment class a product falls in: the name of its `KernelMenu`, and the misalignment pattern within it.

Tensor cores load leading dimensions in vectors of 16 bytes. Where the leading dimensions of all three matrices are multiples of that the
product is `aligned_nt`, `aligned_nn_tn` or `batched`; where the worst is a multiple of 4 bytes it is `half`; below that `odd`. The
pattern names the layout and whether operands or output are at fault, for example `NT:8:1` for an odd n with an aligned k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hardware.profile import KernelMenu
from ..operators.types import Gemm
from .gemm_model import LAYOUT_CODES, leading_alignments

Array = NDArray[Any]
CLASSES = ("aligned_nt", "aligned_nn_tn", "batched", "half", "odd")
#: Bytes that tensor core kernels load at once, and the least that an asynchronous copy to shared memory moves (Ampere and later).
VECTOR_BYTES, MIN_COPY_BYTES = 16, 4
_LAYOUT_NAMES = tuple(LAYOUT_CODES)
_BUCKETS = (8, 2, 1)
#: Patterns that each layout has: batched or not, three buckets of operands and of output.
PATTERNS_A_LAYOUT = 2 * len(_BUCKETS) ** 2
#: Pattern names by code: layout, batched or not, operands' bucket, output's bucket.
_PATTERNS = np.array(
    [
        f"{layout}{batched}:{operands}:{output}"
        for layout in _LAYOUT_NAMES
        for batched in ("", "b")
        for operands in _BUCKETS
        for output in _BUCKETS
    ]
)


def vector_size(size_bytes: int, vector_bytes: int = VECTOR_BYTES) -> int:
    """Elements of `size_bytes` in one vector load of `vector_bytes` (a GPU's `alignment_bytes`), as a power of two."""
    return 1 << (max(vector_bytes // size_bytes, 1).bit_length() - 1)


def class_codes(
    batch: Array, m: Array, n: Array, k: Array, layout: Array, size_bytes: int, *, vector_bytes: int = VECTOR_BYTES
) -> tuple[Array, Array]:
    """Index into `CLASSES` and into the patterns, for integer arrays and layout codes."""
    vector = vector_size(size_bytes, vector_bytes)
    operands, output = leading_alignments(m, n, k, layout, vector)
    worst = np.minimum(operands, output)
    batched = (batch > 1).astype(np.int64)
    aligned = np.where(batched == 1, 2, np.where(layout == 0, 0, 1))
    code = np.where(worst >= vector, aligned, np.where(worst * size_bytes >= MIN_COPY_BYTES, 3, 4))
    pattern = ((layout * 2 + batched) * 3 + _bucket(operands, vector, size_bytes)) * 3 + _bucket(output, vector, size_bytes)
    return code, pattern


def gemm_class(gemm: Gemm, size_bytes: int, vector_bytes: int = VECTOR_BYTES) -> tuple[int, int]:
    """Class and pattern index of one product."""
    b, m, n, k, layout = (np.array([value]) for value in (gemm.batch, gemm.m, gemm.n, gemm.k, LAYOUT_CODES[gemm.layout]))
    code, pattern = class_codes(b, m, n, k, layout, size_bytes, vector_bytes=vector_bytes)
    return int(code[0]), int(pattern[0])


def classify_products(
    batch: Array, m: Array, n: Array, k: Array, layout: Array, size_bytes: int, *, vector_bytes: int = VECTOR_BYTES
) -> tuple[Array, Array]:
    """Class name and pattern name of each product; aligned products have the pattern ""."""
    code, pattern = class_codes(batch, m, n, k, layout, size_bytes, vector_bytes=vector_bytes)
    return np.array(CLASSES)[code], np.where(code < 3, "", _PATTERNS[pattern])


def pattern_factors(groups: dict[str, float]) -> Array:
    """Efficiency factor by pattern code (1 where a menu knows no factor)."""
    return np.array([groups.get(str(name), 1.0) for name in _PATTERNS])


def row_factors(menu: KernelMenu, pattern: Array, k: Array) -> Array:
    """What multiplies the efficiency of each product of a menu: by its misalignment pattern, and by what divides its k."""
    factors = pattern_factors(dict(menu.groups))[pattern] if menu.groups else np.ones(len(k))
    if menu.k_step > 1:
        # Layout TN reads no matrix along k.
        is_along_k = pattern // PATTERNS_A_LAYOUT != LAYOUT_CODES["TN"]
        factors = factors * np.where(is_along_k & (k % menu.k_step > 0), menu.k_share, 1.0)
    return factors.astype(np.float32)


def _bucket(align: Array, vector: int, size_bytes: int) -> Array:
    """0: full vectors, 1: at least 4 bytes, 2: less."""
    return np.where(align >= vector, 0, np.where(align * size_bytes >= MIN_COPY_BYTES, 1, 2))
