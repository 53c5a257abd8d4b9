"""Plain text tables: columns as wide as their content, left or right aligned, with wrapped remarks under a row.

Why not rich: its import alone takes longer than predicting a model, and a table of numbers needs nothing that it adds
(docs/decisions/0002-plain-text-tables.md).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cells, one a column; `remark` stands under them, indented and wrapped."""

    cells: tuple[str, ...]
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows under a common title, set off by an empty line; an untitled block follows the header at once."""

    title: str = ""
    rows: tuple[Row, ...]


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Width of each column in characters: its longest cell."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def table_width(rows: Sequence[Sequence[str]]) -> int:
    """Width in characters of the table that `format_table` makes of these cells."""
    widths = column_widths(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def format_cells(cells: Sequence[str], widths: Sequence[int], alignment: str) -> str:
    """One line; `alignment` holds `<` or `>` for each column."""
    padded = (f"{cell:{side}{width}}" for cell, width, side in zip(cells, widths, alignment, strict=True))
    return GAP.join(padded).rstrip()


def format_remark(remark: str, width: int, indent: int) -> list[str]:
    """`remark` wrapped to `width` characters, every line indented by `indent`."""
    space = " " * indent
    return textwrap.wrap(remark, width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False, break_long_words=False)


def format_table(header: Sequence[str], blocks: Sequence[Block], alignment: str, *, width: int = 80, indent: int = 6) -> list[str]:
    """Lines of a table: the header, then every block; all blocks share one set of column widths."""
    widths = column_widths([tuple(header), *(row.cells for block in blocks for row in block.rows)])
    lines = [format_cells(header, widths, alignment)]
    for block in blocks:
        lines += ["", block.title] if block.title else []
        for row in block.rows:
            lines.append(format_cells(row.cells, widths, alignment))
            lines.extend(format_remark(row.remark, width, indent))
    return lines


def format_pairs(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """`label  text` lines, labels aligned, text wrapped beside them."""
    indent = max(len(label) for label, _ in pairs) + len(GAP)
    lines: list[str] = []
    for label, text in pairs:
        wrapped = textwrap.wrap(text, max(20, width - indent), break_on_hyphens=False, break_long_words=False) or [""]
        lines.append(f"{label:<{indent}}{wrapped[0]}".rstrip())
        lines.extend(" " * indent + more for more in wrapped[1:])
    return lines
