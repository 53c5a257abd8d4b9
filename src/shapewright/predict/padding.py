"""Products that a compiler pads: misaligned operands are copied into aligned ones where that takes less time than the misaligned kernel.

    time = min(misaligned product, aligned product + bytes of the padded operands, read and written)

Inductor tries both when it compiles (`pad_mm`), where the product is bound by compute: m n k / (m k + k n + m n) above FLOP/s over bytes/s.
On an H200 it padded 78 of 84 misaligned products that the project measured, all but those of 16 rows (`docs/measuring.md`); the sum above
makes the same choices. The result is a view of the padded one and costs nothing. Sizes in elements, seconds.
"""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import load_dtype
from ..hardware.gpu import Gpu
from ..operators.types import Gemm, MemoryPass
from .estimate import Estimate, TimePart
from .gemm import product_rates
from .gemm_reasons import aligned_product


def padded_product(gemm: Gemm, gpu: Gpu) -> tuple[Gemm, MemoryPass] | None:
    """The aligned product and the copies that make its operands; None where nothing is padded."""
    if not gemm.may_pad or not _is_compute_bound(gemm, gpu):
        return None
    aligned = aligned_product(gemm, product_rates(gpu, gemm.dtype))
    if aligned == gemm:
        return None
    operands = [(getattr(gemm, a) * getattr(gemm, b), getattr(aligned, a) * getattr(aligned, b)) for a, b in (("m", "k"), ("k", "n"))]
    copied = [(old, new) for old, new in operands if old != new]
    size = gemm.batch * load_dtype(gemm.dtype).size_bytes
    copies = MemoryPass(
        pattern="elementwise", read_bytes=float(size * sum(old for old, _ in copied)),
        written_bytes=float(size * sum(new for _, new in copied)), num_kernels=len(copied),
    )  # fmt: skip
    return aligned, copies


def _is_compute_bound(gemm: Gemm, gpu: Gpu) -> bool:
    """As Inductor asks: multiply-adds for each element moved, against the GPU's FLOP for each byte."""
    m, n, k = gemm.m, gemm.n, gemm.k
    return m * n * k / (m * k + k * n + m * n) > gpu.peak_flops_per_s(gemm.dtype) / gpu.memory_bytes_per_s


def shorter(plain: Estimate, aligned: Estimate, copies: Estimate) -> Estimate:
    """The product as it is, or the padded one with its copies, whichever takes less time."""
    time_s = aligned.time_s + copies.time_s
    if time_s >= plain.time_s:
        return plain
    part = TimePart(name="padding", time_s=copies.time_s, reason="misaligned operands are copied into aligned ones")
    gain = f"padded by the compiler: {plain.time_s / time_s:.1f}x faster than misaligned"
    return replace(
        aligned, time_s=time_s, low_s=aligned.low_s + copies.low_s, high_s=aligned.high_s + copies.high_s, limit_s=plain.limit_s,
        parts=(*aligned.parts, part), reasons=(gain, *aligned.reasons),
    )  # fmt: skip
