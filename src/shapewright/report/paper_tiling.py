"""Figure 3 as a drawing: how the output of a product falls into tiles and waves on a GPU, by the predictor's own choice of tile.

    tiling_svg(figure, [tiling(PRODUCT, load_gpu("h200"))])

C (m x n) = A (m x k) B (k x n) is cut into tiles of tile_m x tile_n, a block each; a GPU runs as many blocks at once as it has SMs, a wave.
Tiles are numbered down the columns of C; kernels may walk another way, and their libraries may pick another tile. Sizes in elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..dtypes import load_dtype
from ..hardware.gpu import Gpu
from ..lint.tiles import TiledProduct, tiled
from ..operators.types import Gemm, Operator
from ..paper.figure import Figure
from ..predict.gemm import Product, product_rates
from ..predict.gemm_classes import CLASSES, gemm_class
from ..predict.operators import Machine
from ..predict.profiles import load_profile
from ..units import ceil_div
from . import svg
from .paper_marks import wrapped

#: A product of Figure 5c whose output is no whole number of tiles: (2304, 4096) x (4096, 1984).
PRODUCT = Gemm(m=2304, n=1984, k=4096, dtype="fp16", layout="NN")
#: Pixels of the longer side of C, of the depth of A and B (not to scale), of gaps, and of a GPU's part of the page.
SIDE, DEPTH, GAP, PANEL_WIDTH, TOP = 330, 110, 12, 560, 66
#: Colours of waves in turn.
WAVES = ("#8fb8e8", "#f3b27a", "#a5d6a1", "#d3a8dc", "#f0dd86", "#9fdede")
HATCH = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """A product's tiles on one GPU, and how deep one step of their loop over k is."""

    gpu: str
    product: TiledProduct
    step_k: int

    @property
    def rows(self) -> int:
        return ceil_div(self.product.work.m, self.product.tile_m)

    @property
    def columns(self) -> int:
        return ceil_div(self.product.work.n, self.product.tile_n)

    @property
    def num_waves(self) -> int:
        return ceil_div(self.product.num_tiles * self.product.num_splits, self.product.num_sms)

    def wave_of(self, row: int, column: int) -> int:
        """The wave, from 0, in which the last block of a tile runs."""
        return ((column * self.rows + row + 1) * self.product.num_splits - 1) // self.product.num_sms

    def is_partial(self, row: int, column: int) -> bool:
        """Whether a tile reaches over the edge of C."""
        work = self.product.work
        return (row + 1) * self.product.tile_m > work.m or (column + 1) * self.product.tile_n > work.n


def tiling(product: Gemm, gpu: Gpu, library: str | None = None) -> Tiling:
    """The tiles that the predictor's model picks for a product on a GPU."""
    machine = Machine(gpu=gpu, profile=load_profile(gpu, library))
    operator = Operator(name="product", kind="gemm", layer="product", part="forward", work=product)
    rates = product_rates(gpu, product.dtype)
    code, _ = gemm_class(product, load_dtype(product.dtype).size_bytes, gpu.alignment_bytes)
    menu = Product(gpu=gpu, profile=machine.profile, dtype=product.dtype, rates=rates).menu(CLASSES[code])
    return Tiling(gpu=gpu.name, product=tiled(operator, product, machine), step_k=int(menu.grain))


def tiling_svg(figure: Figure, tilings: Sequence[Tiling]) -> str:
    """The whole drawing: a part a GPU, two in a row, notes below."""
    columns = min(2, len(tilings))
    width = columns * PANEL_WIDTH + 20
    panel_height = TOP + DEPTH + SIDE + 120
    hatch = svg.element(
        "pattern", svg.line(0, 0, 0, 6, stroke="#333333", stroke_width=1.3), id=HATCH, width=6, height=6, patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )  # fmt: skip
    parts = [svg.element("defs", hatch), svg.text(10, 24, f"Figure {figure.id}. {figure.title}", size=16, font_weight="bold")]
    for place, each in enumerate(tilings):
        corner = (10 + place % columns * PANEL_WIDTH, 34 + place // columns * panel_height)
        parts.append(svg.element("g", "\n".join(_panel(each)), transform=f"translate({corner[0]} {corner[1]})"))
    notes = wrapped([*figure.notes, "Tiles are numbered down the columns of C; kernels may walk another way."], width - 20)
    bottom = 34 + ceil_div(len(tilings), columns) * panel_height
    parts += svg.paragraph(10, bottom, notes)
    return svg.document(parts, width=width, height=bottom + svg.LINE * len(notes))


def tiling_table(tilings: Sequence[Tiling]) -> tuple[list[str], list[list[object]]]:
    """What is drawn, as columns and rows."""
    header = ["gpu", "m", "n", "k", "dtype", "tile_m", "tile_n", "step_k", "num_tiles", "num_splits", "num_sms", "waves", "used"]
    rows: list[list[object]] = []
    for each in tilings:
        product, work = each.product, each.product.work
        rows.append(
            [
                each.gpu, work.m, work.n, work.k, work.dtype, product.tile_m, product.tile_n, each.step_k, product.num_tiles,
                product.num_splits, product.num_sms, product.waves, product.used,
            ]
        )  # fmt: skip
    return header, rows


def _panel(each: Tiling) -> Iterator[str]:
    """A beside C, B above it, tiles in the colours of their waves, and what they add up to."""
    product, work = each.product, each.product.work
    scale = SIDE / max(each.rows * product.tile_m, each.columns * product.tile_n)
    left, top = 40 + DEPTH + GAP, TOP + DEPTH + GAP
    width, height = work.n * scale, work.m * scale
    yield svg.text(0, 22, each.gpu, size=13, font_weight="bold")
    yield svg.text(0, 40, f"C (m x n) = A (m x k) B (k x n), {work.m} x {work.n} x {work.k}, {work.dtype}")
    yield from _operands(each, scale, left, top)
    for column in range(each.columns):
        for row in range(each.rows):
            yield from _tile(each, row, column, (left, top, scale))
    yield svg.rect(left, top, width, height, fill="none", stroke="#000000", stroke_width=2)
    yield svg.rect(left, top, product.tile_n * scale, product.tile_m * scale, fill="none", stroke="#c0392b", stroke_width=2.5)
    bottom = top + each.rows * product.tile_m * scale + 20
    yield from _words(each, bottom)


def _operands(each: Tiling, scale: float, left: float, top: float) -> Iterator[str]:
    """A and B as deep as there is room for, with the strips that the first tile reads and one step of its loop."""
    product, work = each.product, each.product.work
    width, height = work.n * scale, work.m * scale
    strip = {"fill": "#f6d5d1", "stroke": "#c0392b"}
    step = max(5.0, DEPTH * each.step_k / work.k)
    x, y = left - GAP - DEPTH, top - GAP - DEPTH
    edge = {"fill": "#f2f2f2", "stroke": "#000000", "stroke_width": 1.5}
    yield svg.rect(x, top, DEPTH, height, **edge)
    yield svg.rect(left, y, width, DEPTH, **edge)
    yield svg.rect(x, top, DEPTH, product.tile_m * scale, **strip)
    yield svg.rect(left, y, product.tile_n * scale, DEPTH, **strip)
    yield svg.rect(x, top, step, product.tile_m * scale, fill="#c0392b", hint=f"one step: {each.step_k} of k")
    yield svg.rect(left, y, product.tile_n * scale, step, fill="#c0392b", hint=f"one step: {each.step_k} of k")
    yield svg.text(x + DEPTH / 2, top + height / 2, "A", size=15, text_anchor="middle")
    yield svg.text(left + width / 2, y + DEPTH / 2, "B", size=15, text_anchor="middle")
    yield svg.text(x + DEPTH / 2, top - 5, f"k = {work.k}", text_anchor="middle", size=10)
    yield svg.text(
        x - 5, top + height / 2, f"m = {work.m}", text_anchor="end", size=10, transform=f"rotate(-90 {x - 5:g} {top + height / 2:g})"
    )
    yield svg.text(left + width / 2, y - 5, f"n = {work.n}", text_anchor="middle", size=10)


def _tile(each: Tiling, row: int, column: int, place: tuple[float, float, float]) -> Iterator[str]:
    """One tile in its wave's colour, hatched where it reaches over the edge."""
    left, top, scale = place
    width, height = each.product.tile_n * scale, each.product.tile_m * scale
    x, y = left + column * width, top + row * height
    wave = each.wave_of(row, column)
    number = column * each.rows + row + 1
    yield svg.rect(
        x, y, width, height, fill=WAVES[wave % len(WAVES)], stroke="white", stroke_width=0.8, hint=f"tile {number}, wave {wave + 1}"
    )  # fmt: skip
    if each.is_partial(row, column):
        yield svg.rect(x, y, width, height, fill=f"url(#{HATCH})", opacity=0.55)


def _words(each: Tiling, top: float) -> Iterator[str]:
    """What the tiles add up to, and the colours of the waves."""
    product = each.product
    split = f", k in {product.num_splits} slices" if product.num_splits > 1 else ""
    num_steps = ceil_div(product.work.k, each.step_k)
    lines = [
        f"{each.rows} x {each.columns} = {product.num_tiles} tiles of {product.tile_m} x {product.tile_n}, "
        f"{product.used:.1%} of their area used",
        f"each steps through k by {each.step_k}, {num_steps} times{split} (red: the first tile and what it reads)",
        f"{product.waves:.2f} waves of {product.num_sms} SMs, the last {product.last_wave:.0%} full",
    ]
    for place, words in enumerate(lines):
        yield svg.text(0, top + 16 * place, words)
    x, y = 0.0, top + 16 * len(lines) + 4
    blocks = product.num_tiles * product.num_splits
    for wave in range(min(each.num_waves, len(WAVES))):
        count = min(product.num_sms, blocks - wave * product.num_sms)
        yield svg.rect(x, y - 10, 14, 12, fill=WAVES[wave])
        yield svg.text(x + 18, y, f"wave {wave + 1}: {count} blocks")
        x += 125
    yield svg.rect(x, y - 10, 14, 12, fill=f"url(#{HATCH})", stroke="#333333", opacity=0.7)
    yield svg.text(x + 18, y, "partial tile")
