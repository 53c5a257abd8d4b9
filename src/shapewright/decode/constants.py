"""What products take from weights alone where they take a layer norm into themselves: W w and W b, of the norm's weight w and bias b.

`values [1 or 2, Σ n_i]` (fp32; one row where the norm has no bias): `kernels/gemv` says what for. Making them reads the weights of these
products once, which takes most of a step; they are made with a prompt, not in steps. They lie at one address, where a captured step finds
them, and are as old as the last `refresh`: whoever lets others write into weights in place asks for one after it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shapewright.decode.layers import Linear, Norm
from shapewright.decode.products import Operands, Product, Scratch, product_calls
from shapewright.decode.tile import Tile


class Constants:
    """Of one product, whose norm is a layer norm, made by GEMVs of its own `tile`."""

    def __init__(self, product: Product, tile: Tile, scratch: Scratch, *, overlaps: bool = False) -> None:
        assert product.norm is not None
        rows = _rows(product.norm)
        device = rows[0].device
        self.rows = rows
        self.x = torch.empty(len(rows), product.k, dtype=rows[0].dtype, device=device)
        self.values = torch.empty(len(rows), product.n, dtype=torch.float32, device=device)
        self.calls = []
        for plain, first in _plain_products(product):
            out = self.values[:, first : first + plain.n]
            self.calls += product_calls(plain, tile, Operands(x=self.x, out=out, scratch=scratch, overlaps=overlaps))

    def refresh(self) -> None:
        """Queue them anew, from the weights as they are now."""
        torch.stack(self.rows, out=self.x)
        for call in self.calls:
            call()


def _rows(norm: Norm) -> list[Tensor]:
    # Parameters want gradients, which torch.stack(out=...) refuses; these are the same memory.
    return [row.detach() for row in (norm.weight, norm.bias) if row is not None]


def _plain_products(product: Product) -> Iterator[tuple[Product, int]]:
    """The parts without norm, bias and activation, and where their outputs begin. Gate and up, which meet otherwise, are two."""
    parts = tuple(replace(part, bias=None) for part in product.parts)
    groups: Sequence[tuple[Linear, ...]] = [(part,) for part in parts] if product.is_gated else [parts]
    first = 0
    for group in groups:
        plain = Product(epilogue="qkv", parts=group)
        yield plain, first
        first += plain.n
