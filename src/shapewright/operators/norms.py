"""LayerNorm and RMSNorm, as eager PyTorch and as compiled code run them.

Kernels and bytes of the eager forms are those that transformers 5.17 ran on an H200 (PyTorch 2.11, bf16): `nn.LayerNorm` is one kernel;
RMSNorm is written out as a cast to fp32, a square, a mean, a reciprocal root, two products and a cast back. Statistics (a few
bytes a row) are not counted; their kernels are.
"""

from __future__ import annotations

from .scope import FP32_BYTES, Kernel, Scope, Unit, chain


def norm(scope: Scope, name: str, *, rows: int, width: int, norm_kind: str | None = None, num_residuals: int = 0) -> Unit:
    """A norm over the last `width` elements of `rows` rows.

    `num_residuals` tensors are added to the residual stream in the same kernel, which then also writes the sum (compiled code only).
    """
    kind = norm_kind or scope.shape.norm
    size, per_row = scope.size, 1.0 / width
    if scope.is_compiled:
        forward = _fused_forward(size, num_residuals)
        backward = _fused_backward(size, num_residuals, has_weight=kind != "nonparametric")
        saved = size
    elif kind == "rmsnorm":
        forward, backward = _rms_forward(size, per_row), _rms_backward(size, per_row)
        saved = 2 * FP32_BYTES if size == FP32_BYTES else FP32_BYTES + size
    elif kind == "nonparametric":
        forward, backward = _cast_norm_forward(size), _cast_norm_backward(size)
        saved = FP32_BYTES
    else:
        forward: list[Kernel] = [("norm", size, size)]
        backward: list[Kernel] = [("norm_backward", 2 * size, size), ("weight_gradient", 2 * size, 0)]
        saved = size
    elements, num_params = rows * width, scope.num_params(name)
    works = chain(elements, *forward, rows=rows), chain(elements, *backward, rows=rows)
    return scope.unit(name, "norm", *works, saved_bytes=elements * saved, num_params=num_params, local_params=num_params)


def _fused_forward(size: int, num_residuals: int) -> list[Kernel]:
    """One kernel: the stream and what is added to it in, the normed and (if it changed) the new stream out."""
    # Generated kernels stream: 3.4 to 4.1 TB/s on an H200 where PyTorch's own layer norm reaches 2.1 (benchmarks/h200/layers).
    return [("elementwise", (1 + num_residuals) * size, (2 if num_residuals else 1) * size)]


def _fused_backward(size: int, num_residuals: int, *, has_weight: bool) -> list[Kernel]:
    """One kernel reads dy, x and the gradient that comes along the stream; the weight's gradient is a second, over dy and x."""
    kernels: list[Kernel] = [("elementwise", (3 if num_residuals else 2) * size, size)]
    return [*kernels, ("weight_gradient", 2 * size, 0)] if has_weight else kernels


def _rms_forward(size: int, per_row: float) -> list[Kernel]:
    """x -> fp32, square, mean, + eps, rsqrt, x * r, -> dtype, * weight; 6 kernels over the tensor, 2 over its rows."""
    row = FP32_BYTES * per_row
    middle: list[Kernel] = [
        ("elementwise", 4, 4),
        ("reduction", 4, row),
        ("elementwise", row, row),
        ("elementwise", row, row),
        ("broadcast", 4, 4),
    ]
    if size == FP32_BYTES:
        return [*middle, ("broadcast", 4, 4)]
    return [("upcast", size, 4), *middle, ("elementwise", 4, size), ("strided", size, size)]


def _rms_backward(size: int, per_row: float) -> list[Kernel]:
    """Autograd's transcription of the forward pass: gradients of weight, product, root, mean and square, and their sum in fp32."""
    row = FP32_BYTES * per_row
    weight: list[Kernel] = [("strided", size, size), ("elementwise", 2 * size, size), ("reduction", size, 0)]
    tiny: list[Kernel] = [("elementwise", row, row)] * 3
    root: list[Kernel] = [("elementwise", 8, 4), ("broadcast", 4, 4), ("reduction", 4, row), *tiny]
    square: list[Kernel] = [("strided", row, 4), ("elementwise", 4, 4), ("elementwise", 4, 4), ("elementwise", 8, 4), ("elementwise", 8, 4)]
    if size == FP32_BYTES:
        return weight + root + square
    return [*weight, ("upcast", size, 4), *root, *square, ("elementwise", 4, size)]


def _cast_norm_forward(size: int) -> list[Kernel]:
    """OLMo's norm without parameters runs in fp32 between two casts."""
    if size == FP32_BYTES:
        return [("norm", 4, 4)]
    return [("upcast", size, 4), ("norm", 4, 4), ("elementwise", 4, size)]


def _cast_norm_backward(size: int) -> list[Kernel]:
    if size == FP32_BYTES:
        return [("norm_backward", 8, 4)]
    return [("upcast", size, 4), ("norm_backward", 8, 4), ("elementwise", 4, size)]
