"""One product of a decode step, ready to launch: norm, weights, bias, activation and residual over fixed buffers.

Shapes: x `[rows, k]`, parts `[n_i, k]`, out `[rows, Σ n_i]` (gated: `[rows, n_0]`), residual as out. A product is made once for its
buffers; calling it launches one kernel (two where the norm stands apart, the library's where the dispatch table says so). Nothing is
allocated and nothing is read back by a call, so that a CUDA graph can hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import triton
from torch import Tensor
from torch.nn import functional

from shapewright.decode.kernels.direct import direct_kernel
from shapewright.decode.kernels.flat import flat_kernel
from shapewright.decode.kernels.gemv import gemv_kernel
from shapewright.decode.kernels.norm import norm_kernel
from shapewright.decode.layers import Decoder, Layer, Linear, Norm
from shapewright.decode.tile import Tile
from shapewright.units import ceil_div

Call = Callable[[], object]
Epilogue = Literal["qkv", "residual", "gated", "activation", "logits"]

# Neighbours of a row of a weight that one thread loads at once: 16 bytes.
FOLD = 8
# Sums of squares that a thread of a product may hold until its end.
SQUARES_OF_THREAD = 64
THREADS_OF_WARP = 32
# Rows that fill the 8-wide side of a matrix instruction.
SWAPPED_ROWS = 8

NORMS = {"none": 0, "rms": 1, "layer": 2}
ACTIVATIONS = {"none": 0, "silu": 1, "relu": 2, "gelu": 3, "gelu_tanh": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is computed, whatever computes it. `gated`: parts are gate and up."""

    epilogue: Epilogue
    parts: tuple[Linear, ...]
    norm: Norm | None = None
    activation: str = "none"
    norm_after: str = "none"
    """Kind of the norm that takes its output."""

    @property
    def is_gated(self) -> bool:
        """Whether the two parts meet in act(gate) · up."""
        return self.epilogue == "gated"

    @property
    def n(self) -> int:
        """Outputs of all parts."""
        return sum(part.n for part in self.parts)

    @property
    def k(self) -> int:
        """Inputs."""
        return self.parts[0].k

    @property
    def written(self) -> tuple[Linear, ...]:
        """The parts whose outputs are written: gate and up write one."""
        return self.parts[:1] if self.is_gated else self.parts

    @property
    def outputs(self) -> int:
        """Width of what is written."""
        return sum(part.n for part in self.written)

    def blocks(self, block_n: int) -> int:
        """Blocks of so many outputs, none of them in two parts."""
        return sum(ceil_div(part.n, block_n) for part in self.written)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProducts:
    """The products of one layer, in their order."""

    layer: Layer
    qkv: Product
    out: Product
    up: Product
    down: Product


def layer_products(layer: Layer) -> LayerProducts:
    """What a layer multiplies with its weights."""
    attention, mlp = layer.attention, layer.mlp
    return LayerProducts(
        layer=layer,
        qkv=Product(epilogue="qkv", parts=attention.parts, norm=layer.attention_norm),
        # In a parallel block only the sum with the MLP's output is normed.
        out=Product(epilogue="residual", parts=(attention.out,), norm_after="none" if layer.is_parallel else layer.mlp_norm.kind),
        up=Product(
            epilogue="activation" if mlp.gate is None else "gated",
            parts=(mlp.up,) if mlp.gate is None else (mlp.gate, mlp.up),
            norm=layer.mlp_norm,
            activation=mlp.activation,
        ),
        down=Product(epilogue="residual", parts=(mlp.down,), norm_after=layer.attention_norm.kind),
    )


def logits_product(decoder: Decoder) -> Product:
    """The last of a step."""
    return Product(epilogue="logits", parts=(decoder.head,), norm=decoder.final_norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What the maker of x leaves for the RMS norm after it, so that no kernel stands between: x · w `[rows, k]` and sums of squares of x.

    `squares [rows, programs]` (fp32): each program of the maker writes one a row.
    """

    norm: Norm
    scaled: Tensor
    squares: Tensor


class Scratch:
    """Memory that products share, one after another: normed inputs, sums of split products and the counters that tell who is last."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.sums = torch.empty(0, dtype=torch.float32, device=device)
        self.counters = torch.zeros(4096, dtype=torch.int32, device=device)
        self.normed = torch.empty(0, dtype=dtype, device=device)
        self.scaled = torch.empty(0, dtype=dtype, device=device)
        self.squares = torch.empty(0, dtype=torch.float32, device=device)

    def normed_rows(self, rows: int, k: int) -> Tensor:
        """`[rows, k]`, written by the norm before a product."""
        if self.normed.numel() < rows * k:
            self.normed = torch.empty(rows * k, dtype=self.dtype, device=self.device)
        return self.normed[: rows * k].view(rows, k)

    def handover(self, norm: Norm, rows: int, programs: int) -> Handover:
        """For a norm over x of `rows` rows that so many programs make."""
        k = norm.weight.shape[0]
        if self.scaled.numel() < rows * k:
            self.scaled = torch.empty(rows * k, dtype=self.dtype, device=self.device)
        if self.squares.numel() < rows * programs:
            self.squares = torch.empty(rows * programs, dtype=torch.float32, device=self.device)
        scaled, squares = self.scaled[: rows * k].view(rows, k), self.squares[: rows * programs].view(rows, programs)
        return Handover(norm=norm, scaled=scaled, squares=squares)

    def split_sums(self, count: int, programs: int) -> tuple[Tensor, Tensor]:
        """`count` sums and a zeroed counter for each of `programs`."""
        if self.sums.numel() < count:
            self.sums = torch.empty(count, dtype=torch.float32, device=self.device)
        if self.counters.numel() < programs:
            self.counters = torch.zeros(programs, dtype=torch.int32, device=self.device)
        return self.sums, self.counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """The buffers of one product. `overlaps`: it may start before the kernel before it ends.

    `before`: what the maker of x left for this product's RMS norm; `after`: what this one leaves for the norm of its output; `constants`
    `[1 or 2, Σ n_i]`: what a layer norm within the product wants (`constants`).
    """

    x: Tensor
    out: Tensor
    residual: Tensor | None = None
    scratch: Scratch
    overlaps: bool = False
    before: Handover | None = None
    after: Handover | None = None
    constants: Tensor | None = None


def product_calls(product: Product, tile: Tile, operands: Operands) -> list[Call]:
    """The launches of a product."""
    if tile.kernel == "library":
        return _library(product, operands)
    if product.norm is None or _is_normed_within(product.norm, operands):
        return _kernel(product, tile, operands)
    normed = replace(operands, x=operands.scratch.normed_rows(operands.x.shape[0], product.k))
    return [norm_call(product.norm, operands), *_kernel(replace(product, norm=None), tile, normed)]


def _is_normed_within(norm: Norm, operands: Operands) -> bool:
    """An RMS norm where it was begun, a layer norm with its constants; any other is a kernel of its own."""
    return (operands.before if norm.kind == "rms" else operands.constants) is not None


def takes_constants(product: Product, tile: Tile) -> bool:
    """Whether a product takes a layer norm into itself, for which it wants constants."""
    return product.norm is not None and product.norm.kind == "layer" and tile.kernel == "gemv" and not tile.norm_apart


def takes_handover(product: Product, tile: Tile, rows: int, programs: int) -> bool:
    """Whether a product takes its norm from the maker of x, which has so many programs. fp16 could overflow in x · w."""
    norm, dtype = product.norm, product.parts[0].weight.dtype
    if norm is None or norm.kind != "rms" or tile.kernel == "library" or tile.norm_apart or dtype == torch.float16:
        return False
    rows_of_program = {"gemv": rows, "flat": tile.block_m, "direct": _direct_rows(rows, tile)}[tile.kernel]
    return rows_of_program * (1 << (programs - 1).bit_length()) <= SQUARES_OF_THREAD * THREADS_OF_WARP * tile.warps


def num_programs(product: Product, tile: Tile) -> int:
    """Programs that share out a product's outputs: sums of squares a row that it hands over."""
    return 1 if tile.kernel == "library" else product.blocks(tile.block_n)


def norm_call(norm: Norm, operands: Operands) -> Call:
    """The norm of x into the scratch."""
    rows, k = operands.x.shape
    out = operands.scratch.normed_rows(rows, k)
    arguments = (operands.x, norm.weight, _or(norm.bias, norm.weight), out, k, norm.eps)
    options = {
        "NORM": NORMS[norm.kind],
        "HAS_BIAS": norm.bias is not None,
        "BLOCK_K": triton.next_power_of_2(k),
        "OVERLAP": operands.overlaps,
        "num_warps": 8 if k > 2048 else 4,
    }
    return launch(norm_kernel, (rows,), arguments, options)


def _kernel(product: Product, tile: Tile, operands: Operands) -> list[Call]:
    options = {
        "PARTS": len(product.written),
        "GATED": product.is_gated,
        "HAS_BIAS": product.parts[0].bias is not None,
        "NORM": NORMS["none" if product.norm is None else product.norm.kind],
        "ACTIVATION": ACTIVATIONS[product.activation],
        "HAS_RESIDUAL": operands.residual is not None,
        "SQUARES": 1 if operands.before is None else triton.next_power_of_2(operands.before.squares.shape[1]),
        "HANDS_OVER": operands.after is not None,
        "BLOCK_N": tile.block_n,
        "OVERLAP": operands.overlaps,
        "num_warps": tile.warps,
    }
    make = {"gemv": _gemv, "direct": _direct, "flat": _flat}[tile.kernel]
    return [make(product, tile, operands, options)]


def _direct(product: Product, tile: Tile, operands: Operands, options: dict) -> Call:
    x, out, (squares, num_squares) = _input(operands), operands.out, _squares(operands)
    weights, biases, sizes = _parts(product)
    arguments = (
        x, *weights, *biases, squares, _or(operands.residual, out), out, *next_of(out, operands.after),
        x.shape[0], *sizes, out.stride(0), num_squares, _eps(product), product.k,
    )  # fmt: skip
    block_m = _direct_rows(x.shape[0], tile)
    more = {
        "BLOCK_M": block_m,
        "DEPTH": tile.stages,
        "WARPS": tile.warps,
        "SWAPPED": block_m == SWAPPED_ROWS,
        "num_stages": 1,
    }
    return launch(direct_kernel, (product.blocks(tile.block_n),), arguments, options | more)


def _direct_rows(rows: int, tile: Tile) -> int:
    """Rows that the direct kernel pads to: those of one side of a matrix unit, or of several."""
    return SWAPPED_ROWS if rows <= SWAPPED_ROWS and tile.block_n >= 16 else max(16, 1 << (rows - 1).bit_length())


def _gemv(product: Product, tile: Tile, operands: Operands, options: dict) -> Call:
    norm, x, out, (squares, num_squares) = product.norm, _input(operands), operands.out, _squares(operands)
    weights, biases, sizes = _parts(product)
    gain_sums, shift_sums = (x, x) if operands.constants is None else (operands.constants[0], operands.constants[-1])
    arguments = (
        x, *weights, *biases, x if norm is None else norm.weight, gain_sums, shift_sums, squares, _or(operands.residual, out), out,
        *next_of(out, operands.after), *sizes, out.stride(0), num_squares, _eps(product), product.k,
    )  # fmt: skip
    more = {
        "TRANSPOSED": product.parts[0].transposed,
        "BLOCK_K": tile.block_k,
        "FOLD": 1 if product.parts[0].transposed else min(FOLD, tile.block_k),
        "HAS_NORM_BIAS": norm is not None and norm.bias is not None,
        "EVEN": all(part.n % tile.block_n == 0 for part in product.parts),
        "ROWS": x.shape[0],
        "DEPTH": tile.stages,
    }
    return launch(gemv_kernel, (product.blocks(tile.block_n),), arguments, options | more)


def _flat(product: Product, tile: Tile, operands: Operands, options: dict) -> Call:
    x, out, (squares, num_squares) = _input(operands), operands.out, _squares(operands)
    weights, biases, sizes = _parts(product)
    grid = (product.blocks(tile.block_n), ceil_div(x.shape[0], tile.block_m), tile.splits)
    width = 2 * tile.block_n * tile.block_m
    programs = grid[0] * grid[1]
    sums, counters = operands.scratch.split_sums(programs * tile.splits * width if tile.splits > 1 else 1, programs)
    arguments = (
        x, *weights, *biases, squares, _or(operands.residual, out), out, *next_of(out, operands.after), sums, counters,
        x.shape[0], *sizes, out.stride(0), num_squares, _eps(product), product.k,
    )  # fmt: skip
    more = {
        "TRANSPOSED": product.parts[0].transposed,
        "BLOCK_M": tile.block_m,
        "BLOCK_K": tile.block_k,
        "SPLITS": tile.splits,
        "STAGES": tile.stages,
        "CHAINS": tile.chains,
        "LATE": tile.late,
        "EVEN": all(part.n % tile.block_n == 0 for part in product.parts) and product.k % (tile.block_k * tile.splits) == 0,
    }
    return launch(flat_kernel, grid, arguments, options | more)


def _input(operands: Operands) -> Tensor:
    return operands.x if operands.before is None else operands.before.scaled


def _squares(operands: Operands) -> tuple[Tensor, int]:
    """Sums of squares that were handed over, and how many a row."""
    before = operands.before
    return (operands.x, 1) if before is None else (before.squares, before.squares.shape[1])


def next_of(out: Tensor, after: Handover | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weight of the next norm, and where x · w and the squares go; anything where nothing is handed over."""
    return (out, out, out) if after is None else (after.norm.weight, after.scaled, after.squares)


def _eps(product: Product) -> float:
    return 0.0 if product.norm is None else product.norm.eps


def _parts(product: Product) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Three weights, biases and sizes: the kernels take three of each, and touch as many as there are."""
    parts = [*product.parts, *([product.parts[0]] * (3 - len(product.parts)))]
    weights = [part.weight for part in parts]
    return weights, [_or(part.bias, part.weight) for part in parts], [part.n for part in parts]


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    return other if tensor is None else tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A Triton kernel (whose own type is private) with all that it is launched with."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple
    options: dict[str, Any]

    def __call__(self) -> None:
        self.kernel[self.grid](*self.arguments, **self.options)


def launch(kernel: Any, grid: tuple[int, ...], arguments: tuple, options: dict) -> Launch:
    """A launch as early as its `OVERLAP` allows."""
    if options["OVERLAP"]:
        options = options | {"launch_pdl": True}
    return Launch(kernel=kernel, grid=grid, arguments=arguments, options=options)


def _library(product: Product, operands: Operands) -> list[Call]:
    """torch's products, with what comes before and after them; the epilogue in plain operators over fixed buffers."""
    calls: list[Call] = []
    x, out = operands.x, operands.out
    if product.norm is not None:
        calls.append(norm_call(product.norm, Operands(x=x, out=out, scratch=operands.scratch)))
        x = operands.scratch.normed_rows(x.shape[0], product.k)
    calls.append(lambda: _library_product(product, x, out, operands.residual))
    after = operands.after
    if after is not None:
        calls.append(lambda: _hand_over(out, after))
    return calls


@torch.no_grad()
def _hand_over(out: Tensor, after: Handover) -> None:
    after.scaled.copy_(out * after.norm.weight)
    after.squares.copy_(out.float().square().sum(1, keepdim=True))


@torch.no_grad()
def _library_product(product: Product, x: Tensor, out: Tensor, residual: Tensor | None) -> None:
    parts = [_linear(part, x) for part in product.parts]
    if product.is_gated:
        result = _activated(parts[0], product.activation) * parts[1]
    else:
        result = _activated(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], product.activation)
    if residual is not None:
        result = result + residual
    out.copy_(result)


def _linear(part: Linear, x: Tensor) -> Tensor:
    if part.transposed:
        return x @ part.weight if part.bias is None else torch.addmm(part.bias, x, part.weight)
    return functional.linear(x, part.weight, part.bias)


def _activated(x: Tensor, activation: str) -> Tensor:
    match activation:
        case "silu":
            return functional.silu(x)
        case "relu":
            return functional.relu(x)
        case "gelu":
            return functional.gelu(x)
        case "gelu_tanh":
            return functional.gelu(x, approximate="tanh")
    return x
