"""The operator table of `explain`: a line an operator, and under it what does not fit beside it and why it takes its time.

Times, FLOPs and bytes are per call; share counts all calls. The columns are chosen so that the table fits the width: a wide terminal
gets FLOPs, bytes and the bound as columns, a narrow one gets them in the line below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Work
from ..predict.explanation import Explanation, OperatorTime
from . import units
from .table import Block, Row, format_table, table_width

#: Every column of line 1 with its alignment, and the layouts from the widest to the narrowest; what is left out moves to line 2.
_SHAPE = "GEMM (b x) m x n x k"
_COLUMNS = {
    "operator": "<", "calls": ">", _SHAPE: "<", "FLOPs": ">", "bytes": ">", "time": ">", "share": ">", "SOL": ">",
    "bound by": "<",
}  # fmt: skip
_LAYOUTS = tuple(
    tuple(name for name in _COLUMNS if name not in dropped) for dropped in ((), ("FLOPs", "bytes"), (_SHAPE, "FLOPs", "bytes"))
)
_PART_NAMES = {"forward": "forward", "backward": "backward", "recompute": "recomputation", "optimizer": "optimizer"}
REMARK_INDENT = 6
NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Operators of one part of one kind of layer, in the order in which they run."""

    layer: str
    part: str
    operators: tuple[OperatorTime, ...]

    @property
    def total_s(self) -> float:
        return sum(operator.total_s for operator in self.operators)

    @property
    def share(self) -> float:
        return sum(operator.share for operator in self.operators)


def sections(operators: Iterable[OperatorTime]) -> list[Section]:
    """Neighbouring operators of the same layer and part together."""
    groups = groupby(operators, key=lambda each: (each.operator.layer, each.operator.part))
    return [Section(layer=layer, part=part, operators=tuple(members)) for (layer, part), members in groups]


def work_shape(work: Work) -> str:
    """What the operator works on, in a few characters: a GEMM's "32 x 2048 x 2048 x 80 NN", batch left out where it is 1.

    Of memory-bound kernels the bytes say it all.
    """
    match work:
        case Gemm():
            batch = f"{work.batch} x " if work.batch > 1 else ""
            return f"{batch}{work.m} x {work.n} x {work.k} {work.layout}"
        case GroupedGemm():
            return f"{work.num_rows} x {work.n} x {work.k} {work.layout}"
        case FlashAttention():
            return f"{work.batch} x {work.num_heads} heads of {work.qk_head_dim}"
        case Collective():
            return f"over {work.group_size} GPUs"
        case MemoryPass() | MemoryChain():
            return NOTHING


def work_detail(work: Work) -> str:
    """What `work_shape` leaves out and the time depends on; empty for a plain GEMM."""
    match work:
        case GroupedGemm():
            return f"rows over {units.three_digits(work.num_active_groups)} of {work.num_groups} experts"
        case FlashAttention():
            window = f" in a window of {work.window}" if work.window else ""
            queries = "1 query" if work.query_len == 1 else f"{work.query_len} queries"
            return f"{queries} x {work.kv_len} keys{window}"
        case Collective():
            return f"{work.name} of {units.num_bytes(work.message_bytes)}"
        case _:
            return ""


def cells(timed: OperatorTime) -> dict[str, str]:
    """Every column of one operator, by header."""
    operator, estimate = timed.operator, timed.estimate
    texts = (
        "  " + operator.name,
        str(operator.count),
        work_shape(operator.work),
        units.num_flops(operator.flops) if operator.flops else NOTHING,
        units.num_bytes(operator.bytes),
        units.seconds(estimate.time_s),
        units.percent(timed.share),
        f"{100 * estimate.speed_of_light:.0f} %",
        estimate.bound_by,
    )
    return dict(zip(_COLUMNS, texts, strict=True))


def remark(timed: OperatorTime, columns: Sequence[str]) -> str:
    """Line 2: what has no column, then the reasons."""
    every = cells(timed)
    sizes = ", ".join(every[name] for name in ("FLOPs", "bytes") if name not in columns and every[name] != NOTHING)
    shape = every[_SHAPE] if _SHAPE not in columns and every[_SHAPE] != NOTHING else ""
    facts = (shape, sizes, work_detail(timed.operator.work), *timed.estimate.reasons)
    return "; ".join(fact for fact in facts if fact)


def choose_columns(operators: Sequence[OperatorTime], width: int) -> tuple[str, ...]:
    """The first layout that fits `width`, else the narrowest."""
    every = [cells(timed) for timed in operators]
    for columns in _LAYOUTS:
        if table_width([columns, *([row[name] for name in columns] for row in every)]) <= width:
            return columns
    return _LAYOUTS[-1]


def operator_lines(explanation: Explanation, width: int) -> list[str]:
    """The table: the header, then each section under its title."""
    columns = choose_columns(explanation.operators, width)
    blocks = [
        Block(title=_title(section, explanation), rows=tuple(_row(timed, columns) for timed in section.operators))
        for section in sections(explanation.operators)
    ]
    alignment = "".join(_COLUMNS[name] for name in columns)
    return format_table(columns, blocks, alignment, width=width, indent=REMARK_INDENT)


def _row(timed: OperatorTime, columns: Sequence[str]) -> Row:
    every = cells(timed)
    return Row(cells=tuple(every[name] for name in columns), remark=remark(timed, columns))


def _title(section: Section, explanation: Explanation) -> str:
    counts = {layer.kind.name: layer.kind.count for layer in explanation.layers}
    name = f"layer {section.layer} (x {counts[section.layer]})" if section.layer in counts else section.layer
    return f"{name}, {_PART_NAMES[section.part]}: {units.seconds(section.total_s)}, {units.percent(section.share)}"
