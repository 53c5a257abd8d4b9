"""A product's output fills its tiles badly: the last row or column of tiles is mostly empty.

A kernel cuts its output into tiles of, say, 128 x 256 elements and computes every tile whole, however little of the last one is part of
the output. A width of 1088 takes nine tiles of 128 where eight and a half are full: 6 % of the work is thrown away. Libraries choose
among many tiles and often find one that fits better, at some loss of its own rate; what is left over is small in large products.

The rule looks at the four products with weights that take most of the step and are bound by arithmetic, and speaks where the tile model
finds less than 95 % of the tiles' area used and a neighbour predicted to be 2 % quicker a FLOP.

**Fix.** Multiples of 64 (times the tensor-parallel size) within 6 % of the width behind the product's rows or columns (intermediate_size,
vocab_size, or hidden_size with heads of the same head_dim), or, where you chose it, a micro-batch within 25 %. Prices are at equal work,
those of a micro-batch per token.

**Caution.** A trained model cannot change its widths; its vocabulary can be padded. The tiles are those of a model of the library, not
what a profiler would show.

**Paper.** Section VI-B: outputs divisible into tiles of 128 x 256; section III-B: partial tiles cost whole ones.

**Where it holds.** GPUs with fitted tile models; it depends on GPU and library more than any alignment does. Misaligned widths are left
to the rules of their own (SW101 to SW106).

**Measured.** H200, PyTorch 2.11, CUDA 13: sweeps of eight products along m or n in steps of 64 and 128 elements, of which nothing was
fitted. 13 products (of 4 sweeps) have less than 95 % of their tiles used and a neighbour within 6 % that is predicted at least 2 %
quicker a FLOP: it is in 12 cases, by 4.7 % in the median where 4.4 % are predicted. The authors' logs hold too few such products to tell
(A100 and V100 one each, both quicker; MI250X 4 of 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from ..change import Fault
from ..tiles import TiledProduct, tile_faults

YIELDS_TO = ("SW101", "SW102", "SW103", "SW104", "SW105", "SW106", "SW501", "SW504", "SW602")
#: Share of the tiles' area that must go to waste.
LEAST_WASTE = 0.05


def check(case: Case) -> Iterator[Fault]:
    """A dear product whose output leaves much of its last row or column of tiles empty."""
    return tile_faults(case, is_faulty=_is_faulty, words=_words)


def _is_faulty(product: TiledProduct) -> bool:
    return product.is_compute_bound and product.used <= 1 - LEAST_WASTE


def _words(product: TiledProduct) -> str:
    return f"with {100 * product.used:.0f} % of its {product.num_tiles} tiles of {product.tile_m} x {product.tile_n} used"
