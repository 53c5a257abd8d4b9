"""Figure 4 as a drawing: a model with the operators of its layer, in the order in which they run.

    layer_svg(figure, layer_operators())

Matrix products are in one colour, operators bound by memory in another, each with its sizes: (m x k)(k x n), or bytes read and written.
Drawn from the operators that the model is lowered to. Residual sums take what entered their half of the layer, along the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..operators.lower import lower
from ..operators.types import FlashAttention, Gemm, GroupedGemm, Operator, Work
from ..paper.cases import LAYER_MODEL, MICRO_BATCH, SEQUENCE
from ..paper.figure import Figure
from ..read.resolve import load_shape
from ..shape import ModelShape
from ..workload import Workload
from . import svg
from .paper_marks import wrapped

#: Pixels: the page, a box, the gap between boxes, and where boxes begin.
WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP, LEFT = 760, 560, 24, 10, 110
PRODUCT, MEMORY, OTHER = "#bcd4f2", "#fbd9b0", "#dddddd"


def paper_shape() -> ModelShape:
    """The model of the paper's layers."""
    return load_shape(LAYER_MODEL)


def model_operators(shape: ModelShape, dtype: str = "fp16") -> tuple[Operator, ...]:
    """Forward, attention in separate kernels, as the paper's figure has it."""
    workload = Workload(phase="forward", attention="unfused", dtype=dtype, micro_batch=MICRO_BATCH, sequence=SEQUENCE)
    return lower(shape, workload, dtype)


def layer_svg(figure: Figure, shape: ModelShape, operators: Sequence[Operator]) -> str:
    """The whole drawing, from the embedding at the top to the logits."""
    top = 74
    places = {index: top + index * (BOX_HEIGHT + GAP) + 16 * _num_groups(operators, index) for index in range(len(operators))}
    bottom = places[len(operators) - 1] + BOX_HEIGHT + 34
    title = f"Figure {figure.id}. {figure.title}: {shape.name}"
    parts = [svg.text(10, 24, title, size=16, font_weight="bold"), *_legend(44)]
    parts += _frames(operators, places)
    parts += _residuals(operators, places)
    for index, operator in enumerate(operators):
        parts += _box(operator, places[index])
        if index + 1 < len(operators):
            middle = LEFT + BOX_WIDTH / 2
            parts.append(svg.line(middle, places[index] + BOX_HEIGHT, middle, places[index + 1], stroke="#777777", stroke_width=1.2))
    work = f"Sizes of {MICRO_BATCH} sequences of {SEQUENCE} tokens, forward; MB are 10^6 bytes."
    notes = wrapped([*figure.notes, work], WIDTH - 20)
    parts += svg.paragraph(10, bottom, notes)
    return svg.document(parts, width=WIDTH, height=bottom + svg.LINE * len(notes))


def layer_table(operators: Sequence[Operator]) -> tuple[list[str], list[list[object]]]:
    """What is drawn, as columns and rows; FLOPs and bytes of one call."""
    header = ["layer", "operator", "kind", "count", "sizes", "flops", "bytes"]
    return header, [[each.layer, each.name, each.kind, each.count, sizes(each.work), each.flops, each.bytes] for each in operators]


def sizes(work: Work) -> str:
    """A product's factors, or the bytes that a memory-bound operator moves."""
    match work:
        case Gemm():
            factors = f"({work.m} x {work.k})({work.k} x {work.n})"
            return factors if work.batch == 1 else f"{work.batch} x {factors}"
        case GroupedGemm():
            return f"{work.num_groups} experts, ({work.num_rows} x {work.k})({work.k} x {work.n})"
        case FlashAttention():
            return f"{work.num_heads} heads of {work.qk_head_dim}, {work.query_len} x {work.kv_len} scores"
        case _:
            return f"{work.bytes / 1e6:,.0f} MB moved"


def _num_groups(operators: Sequence[Operator], index: int) -> int:
    """How often the kind of layer changes up to an operator: frames need room there."""
    return sum(operators[place].layer != operators[place - 1].layer for place in range(1, index + 1))


def _box(operator: Operator, y: float) -> Iterator[str]:
    fill = PRODUCT if isinstance(operator.work, Gemm | GroupedGemm | FlashAttention) else MEMORY if operator.bytes else OTHER
    hint = f"{operator.kind}: {operator.flops:.3g} FLOPs, {operator.bytes:.3g} bytes a call"
    yield svg.rect(LEFT, y, BOX_WIDTH, BOX_HEIGHT, rx=4, fill=fill, stroke="#666666", hint=hint)
    yield svg.text(LEFT + 12, y + 16, operator.name, size=12, font_weight="bold")
    yield svg.text(LEFT + BOX_WIDTH - 12, y + 16, sizes(operator.work), size=11, text_anchor="end")


def _frames(operators: Sequence[Operator], places: Mapping[int, float]) -> Iterator[str]:
    """A dashed frame around the operators of a layer, with how often it is run."""
    for layer in dict.fromkeys(each.layer for each in operators if each.layer not in ("embedding", "head", "step")):
        inside = [index for index, each in enumerate(operators) if each.layer == layer]
        top, bottom = places[inside[0]] - 12, places[inside[-1]] + BOX_HEIGHT + 12
        count = max(operators[index].count for index in inside)
        yield svg.rect(58, top, WIDTH - 68, bottom - top, rx=8, fill="none", stroke="#333333", stroke_dasharray="6 4")
        yield svg.text(LEFT + BOX_WIDTH + 18, (top + bottom) / 2, f"x {count}", size=16, font_weight="bold")


def _residuals(operators: Sequence[Operator], places: Mapping[int, float]) -> Iterator[str]:
    """From where a half of a layer begins to its residual sum, along the left."""
    start = next((index for index, each in enumerate(operators) if each.layer not in ("embedding", "step")), 0)
    for index, each in enumerate(operators):
        if each.kind != "residual":
            continue
        top, bottom, x = places[start] - 5, places[index] + BOX_HEIGHT / 2, LEFT - 24
        path = f"M {LEFT + BOX_WIDTH / 2} {top} H {x} V {bottom} H {LEFT - 7}"
        yield svg.element("path", d=path, fill="none", stroke="#c0392b", stroke_width=1.5)
        yield svg.element("path", d=f"M {LEFT} {bottom} l -8 -4 v 8 z", fill="#c0392b")
        start = index + 1


def _legend(y: float) -> Iterator[str]:
    for x, fill, words in ((10, PRODUCT, "matrix product"), (140, MEMORY, "bound by memory")):
        yield svg.rect(x, y - 10, 14, 12, fill=fill, stroke="#666666")
        yield svg.text(x + 20, y, words)
    yield svg.line(290, y - 4, 310, y - 4, stroke="#c0392b", stroke_width=1.5)
    yield svg.text(316, y, "residual")
