"""The operator table of `explain`: a line an operator, and under it what does not fit beside it and why it takes its time.

Times, FLOPs and bytes are per call; share counts all calls. The columns are chosen so that the table fits the width: a wide terminal
gets FLOPs, bytes and the bound as columns, a narrow one gets them in the line below. An operator whose name is too long for its column
has it on a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Work
from ..predict.explanation import Explanation, OperatorTime
from . import units
from .table import GAP, Block, Row, format_table, table_width

#: Every column of line 1 with its alignment.
_SHAPE = "GEMM (b x) m x n x k"
_COLUMNS = {
    "operator": "<", "calls": ">", _SHAPE: "<", "FLOPs": ">", "bytes": ">", "time": ">", "share": ">", "SOL": ">",
    "bound by": "<",
}  # fmt: skip
#: What is left out of line 1, from the widest page to the narrowest; it moves to line 2.
_DROPPED = (
    (), ("FLOPs", "bytes"), (_SHAPE, "FLOPs", "bytes"), (_SHAPE, "FLOPs", "bytes", "bound by"),
    (_SHAPE, "FLOPs", "bytes", "bound by", "calls"), (_SHAPE, "FLOPs", "bytes", "bound by", "calls", "SOL"),
)  # fmt: skip
_LAYOUTS = tuple(tuple(name for name in _COLUMNS if name not in dropped) for dropped in _DROPPED)
#: A layout that shows GEMM shapes must hold every name whole; the others need this much for names, in characters.
MIN_NAME_WIDTH = 16
_PART_NAMES = {"forward": "forward", "backward": "backward", "recompute": "recomputation"}
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
        units.column_percent(timed.share),
        f"{100 * estimate.speed_of_light:.0f} %",
        estimate.bound_by,
    )
    return dict(zip(_COLUMNS, texts, strict=True))


def remark(timed: OperatorTime, columns: Sequence[str]) -> str:
    """Line 2: what has no column, then the reasons."""
    every = {name: "" if name in columns or text == NOTHING else text for name, text in cells(timed).items()}
    calls = "1 call" if every["calls"] == "1" else f"{every['calls']} calls"
    named = (
        f"{every['bound by']} bound" if every["bound by"] else "",
        calls if every["calls"] else "",
        f"{every['SOL']} of the speed of light" if every["SOL"] else "",
    )
    sizes = ", ".join(filter(None, (every["FLOPs"], every["bytes"])))
    facts = (*named, every[_SHAPE], sizes, work_detail(timed.operator.work), *timed.estimate.reasons)
    return "; ".join(fact for fact in facts if fact)


def choose_columns(operators: Sequence[OperatorTime], width: int) -> tuple[str, ...]:
    """The first layout that fits `width`, else the narrowest."""
    every = [cells(timed) for timed in operators]
    longest = max(len(row["operator"]) for row in every)
    for columns in _LAYOUTS:
        needed = longest if _SHAPE in columns else min(longest, MIN_NAME_WIDTH)
        if needed + _other_width(every, columns) <= width:
            return columns
    return _LAYOUTS[-1]


def _other_width(every: Sequence[Mapping[str, str]], columns: Sequence[str]) -> int:
    """Characters of a line that all columns but the first take, with the gap before them."""
    return len(GAP) + table_width([columns[1:], *([row[name] for name in columns[1:]] for row in every)])


def operator_lines(explanation: Explanation, width: int) -> list[str]:
    """The table: the header, then each section under its title."""
    columns = choose_columns(explanation.operators, width)
    room = width - _other_width([cells(timed) for timed in explanation.operators], columns)
    blocks = [
        Block(title=_title(section, explanation), rows=tuple(_row(timed, columns, room, width) for timed in section.operators))
        for section in sections(explanation.operators)
    ]
    alignment = "".join(_COLUMNS[name] for name in columns)
    return format_table(columns, blocks, alignment, width=width, indent=REMARK_INDENT)


def _row(timed: OperatorTime, columns: Sequence[str], room: int, width: int) -> Row:
    """One operator; a name longer than `room` goes on a line above its numbers, unindented where the page is that narrow."""
    every = cells(timed)
    name, *others = (every[column] for column in columns)
    is_long = len(name) > room
    return Row(
        cells=("" if is_long else name, *others),
        lead=(name if len(name) <= width else name.strip(),) if is_long else (),
        remark=remark(timed, columns),
    )


def _title(section: Section, explanation: Explanation) -> str:
    """What the section is and what it adds up to; a stage of a pipeline lists some of the model's layers only."""
    counts = {layer.kind.name: layer.kind.count for layer in explanation.layers}
    name = section.layer
    if section.layer in counts:
        # Some operator runs once a layer, so the smallest count is the number of layers listed.
        listed, count = min(timed.operator.count for timed in section.operators), counts[section.layer]
        name = f"layer {name} (x {count})" if listed == count else f"layer {name} (x {listed} of {count}, on one pipeline stage)"
    name = "once a step, optimizer" if section.part == "optimizer" else f"{name}, {_PART_NAMES[section.part]}"
    return f"{name}: {units.seconds(section.total_s)}, {units.percent(section.share)}"


def largest_operators(operators: Iterable[OperatorTime], most: int) -> list[OperatorTime]:
    """The `most` operators that take the largest shares, largest first."""
    return sorted(operators, key=lambda timed: -timed.share)[:most]
