"""What the kernels compute, written out plainly in float64, and the operands to compare them on.

Shapes as in the kernels: x `[rows, k]`, W `[n, k]` or transposed, qkv `[batch, heads of queries, of keys, of values]`, cache
`[batch, num_key_value_heads, capacity, head_dim]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shapewright.decode.constants import Constants
from shapewright.decode.layers import Linear, Norm
from shapewright.decode.products import (
    Epilogue,
    Handover,
    Operands,
    Product,
    Scratch,
    num_programs,
    product_calls,
    takes_constants,
    takes_handover,
)
from shapewright.decode.tile import Tile

# Largest error of an output, in parts of the largest output. In fp16 a product may round its normed input too.
TOLERANCES = {torch.float32: 3e-6, torch.float16: 2e-3}


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def error_of(found: Tensor, expected: Tensor) -> float:
    """Largest error in parts of the largest expected value; NaN, which no comparison passes, where an output is NaN."""
    found, expected = found.double(), expected.double()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def plain_activation(name: str, x: Tensor) -> Tensor:
    match name:
        case "silu":
            return x / (1 + torch.exp(-x))
        case "relu":
            return torch.where(x > 0, x, 0)
        case "gelu":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        case "gelu_tanh":
            return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x


def plain_norm(norm: Norm | None, x: Tensor) -> Tensor:
    """Over the last dimension."""
    if norm is None:
        return x
    centre = x.mean(-1, keepdim=True) if norm.kind == "layer" else 0
    deviation = ((x - centre) ** 2).mean(-1, keepdim=True) + norm.eps
    y = (x - centre) / torch.sqrt(deviation) * norm.weight.double()
    return y if norm.bias is None else y + norm.bias.double()


def plain_product(product: Product, x: Tensor, residual: Tensor | None) -> Tensor:
    normed = plain_norm(product.norm, x.double())
    parts = []
    for part in product.parts:
        weight = part.weight.double() if part.transposed else part.weight.double().t()
        parts.append(normed @ weight + (0 if part.bias is None else part.bias.double()))
    if product.is_gated:
        y = plain_activation(product.activation, parts[0]) * parts[1]
    else:
        y = plain_activation(product.activation, torch.cat(parts, 1))
    return y if residual is None else y + residual.double()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One product: `n` outputs of each part. `residual` is added in place: out and residual are one buffer, as in a step."""

    n: tuple[int, ...] = (13,)
    k: int = 37
    rows: int = 1
    epilogue: Epilogue = "residual"
    norm: str | None = None
    has_norm_bias: bool = True
    activation: str = "none"
    transposed: bool = False
    bias: bool = False
    residual: bool = False
    dtype: torch.dtype = torch.float32
    x_scale: float = 2.0

    def product(self) -> Product:
        norm = None
        if self.norm is not None:
            bias = drawn(self.k, seed=2, dtype=self.dtype) if self.norm == "layer" and self.has_norm_bias else None
            norm = Norm(kind=self.norm, weight=drawn(self.k, seed=1, dtype=self.dtype) + 1, bias=bias, eps=1e-3)  # type: ignore[arg-type]
        parts = tuple(self._part(n, 10 + 2 * index) for index, n in enumerate(self.n))
        return Product(epilogue=self.epilogue, parts=parts, norm=norm, activation=self.activation)

    def _part(self, n: int, seed: int) -> Linear:
        weight = drawn(n, self.k, seed=seed) / self.k**0.5
        bias = drawn(n, seed=seed + 1, dtype=self.dtype) if self.bias else None
        stored = weight.t().contiguous() if self.transposed else weight
        return Linear(weight=stored.to(self.dtype), bias=bias, transposed=self.transposed)


def handed_over(norm: Norm, x: Tensor, programs: int) -> Handover:
    """What `programs` programs that made x leave for a norm."""
    sums = [part.float().square().sum(1) for part in torch.tensor_split(x, programs, dim=1)]
    return Handover(norm=norm, scaled=x * norm.weight, squares=torch.stack(sums, 1))


def empty_handover(product: Product, tile: Tile, out: Tensor) -> Handover:
    """NaN, for a product of this tile to fill for the norm of its output."""
    weight = drawn(product.outputs, seed=4, dtype=out.dtype).to(out.device)
    squares = torch.full((out.shape[0], num_programs(product, tile)), float("nan"), device=out.device)
    scaled = torch.full(out.shape, float("nan"), dtype=out.dtype, device=out.device)
    return Handover(norm=Norm(kind="rms", weight=weight, eps=1e-5), scaled=scaled, squares=squares)


def operands_of(
    product: Product, tile: Tile, x: Tensor, out: Tensor, scratch: Scratch, *, has_residual: bool, programs: int
) -> Operands:  # fmt: skip
    """A residual is added in place, and what follows it is left for a norm; x comes from so many programs where the tile can tell.
    Constants, where the tile wants them, are made.
    """
    norm = product.norm
    is_begun = norm is not None and takes_handover(product, tile, len(x), programs)
    return Operands(
        x=x, out=out, residual=out if has_residual else None, scratch=scratch,
        before=handed_over(norm, x, programs) if norm is not None and is_begun else None,
        after=empty_handover(product, tile, out) if has_residual else None,
        constants=made_constants(product, tile, scratch) if takes_constants(product, tile) else None,
    )  # fmt: skip


def made_constants(product: Product, tile: Tile, scratch: Scratch) -> Tensor:
    """What a layer norm within a product wants."""
    constants = Constants(product, tile, scratch)
    constants.refresh()
    return constants.values


def handover_error(after: Handover, out: Tensor) -> float:
    """Of x · w and of the sum of squares, against the output as it was stored."""
    of_scaled = error_of(after.scaled, out.double() * after.norm.weight.double())
    return max(of_scaled, error_of(after.squares.double().sum(1), out.double().square().sum(1)))


def check_product(case: Case, tile: Tile) -> None:
    """Against float64: all of the output is written and nothing beside it, counters end at zero, a second run repeats every bit.

    An RMS norm is handed over before where the tile takes it so, and one is after every product with a residual.
    """
    product = case.product()
    # A mean far from 0 tells a layer norm that forgets it.
    x = drawn(case.rows, case.k, seed=0, dtype=case.dtype) * case.x_scale + 0.7
    residual = drawn(case.rows, product.outputs, seed=3, dtype=case.dtype) if case.residual else None
    field = torch.full((case.rows + 2, product.outputs), float("nan"), dtype=case.dtype)
    out = field[1:-1]
    scratch = Scratch(x.device, x.dtype)
    operands = operands_of(product, tile, x, out, scratch, has_residual=case.residual, programs=3)
    calls = product_calls(product, tile, operands)
    results = []
    for _ in range(2):
        scratch.sums.fill_(float("nan"))
        scratch.normed.fill_(float("nan"))
        out.fill_(float("nan")) if residual is None else out.copy_(residual)
        for call in calls:
            call()
        results.append(out.clone())
    error = error_of(results[0], plain_product(product, x, residual))
    assert error < TOLERANCES[case.dtype], error
    if operands.after is not None:
        error = handover_error(operands.after, results[0])
        assert error < TOLERANCES[case.dtype], error
    assert torch.equal(*results)
    assert field[0].isnan().all()
    assert field[-1].isnan().all()
    assert not scratch.counters.any()
