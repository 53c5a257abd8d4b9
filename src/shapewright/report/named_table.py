"""Tables of named things: the name has the room that the numbers leave, and a line of its own where it is longer."""

from __future__ import annotations

from collections.abc import Sequence

from .table import GAP, Block, Row, format_hanging, format_table, table_width

#: A thing's name, its other cells, and a remark under them.
Named = tuple[str, tuple[str, ...], str]


def named_table(header: Sequence[str], rows: Sequence[Named], alignment: str, width: int) -> list[str]:
    """Lines of the table; `header` names the first column too."""
    room = max(len(header[0]), width - table_width([header[1:], *(cells for _, cells, _ in rows)]) - len(GAP))
    made = [_row(name, cells, remark, room=room, width=width) for name, cells, remark in rows]
    return format_table(header, [Block(rows=tuple(made))], alignment, width=width)


def _row(name: str, cells: tuple[str, ...], remark: str, *, room: int, width: int) -> Row:
    if len(name) <= room:
        return Row(cells=(name, *cells), remark=remark)
    return Row(cells=("", *cells), lead=tuple(format_hanging(name, width)), remark=remark)
