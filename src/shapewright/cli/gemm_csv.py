"""A CSV table of products and the same table with their predicted times, in blocks of rows so that memory stays small.

Errors: a row that cannot be predicted is refused as `FILE:LINE: what; what now`; nothing is guessed for it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ..dtypes import load_dtype
from ..errors import InputError, ShapewrightError, shown, unknown_name
from ..hardware.gpu import Gpu
from ..operators.types import LAYOUTS
from ..predict.gemm import MAX_SIZE, predict_gemm

if TYPE_CHECKING:
    import _csv

SIZES = ("batch", "m", "n", "k")
REQUIRED = ("m", "n", "k")
TIMES = ("time_s", "low_s", "high_s", "limit_s")
ADDED = (*TIMES, "bound_by", "provenance")
BLOCK_ROWS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where the table (called `name` in messages) keeps what; `places` maps a column's name to its index, `kept` are those copied."""

    name: str
    width: int
    places: dict[str, int]
    kept: tuple[int, ...]

    def at(self, line: int) -> str:
        return f"{self.name}:{line}"

    def copied(self, row: list[str]) -> list[str]:
        """The cells of a row that the output keeps."""
        return row if len(self.kept) == self.width else [row[place] for place in self.kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows of the table, and the line of the file where each one ends."""

    rows: list[list[str]]
    lines: list[int]

    def column(self, columns: Columns, name: str, default: str) -> list[str]:
        """Cells of a column; `default` where the cell or the column is absent."""
        place = columns.places.get(name)
        return [default] * len(self.rows) if place is None else [row[place].strip() or default for row in self.rows]


def predict_table(source: TextIO, sink: TextIO, gpu: Gpu, *, name: str, library: str | None = None, replace: bool = False) -> int:
    """Copy the table with its predictions added; returns the number of products. With `replace`, they replace columns of their names."""
    reader, writer = csv.reader(source, strict=True), csv.writer(sink, lineterminator="\n")
    num_rows = 0
    try:
        header = next(reader, None)
        columns = read_header(header or [], name, replace=replace)
        writer.writerow([*columns.copied(header or []), *ADDED])
        for block in read_blocks(reader, columns):
            writer.writerows(predicted_rows(block, columns, gpu, library))
            num_rows += len(block.rows)
    except csv.Error as error:
        raise InputError(f"not a CSV table ({error})", where=f"{name}:{reader.line_num}", hint="expected comma-separated UTF-8") from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", where=name, hint="expected comma-separated UTF-8") from None
    return num_rows


def read_header(header: list[str], name: str, *, replace: bool = False) -> Columns:
    """The table's columns; names ignore case and surrounding blanks. Columns named like an added one are dropped with `replace`."""
    names = [cell.strip().lower() for cell in header]
    missing = [column for column in REQUIRED if column not in names]
    if missing:
        hint = "the first line names the columns: batch,m,n,k,dtype,layout (batch, dtype and layout may be left out)"
        raise InputError(f"no column {' or '.join(missing)}", where=f"{name}:1", hint=hint)
    taken = [column for column in names if column in ADDED]
    if taken and not replace:
        hint = "rename it, or add --force to replace it in the output"
        raise InputError(f"column {taken[0]} would be overwritten", where=f"{name}:1", hint=hint)
    wanted = (*SIZES, "dtype", "layout")
    for column in wanted:
        if names.count(column) > 1:
            raise InputError(f"column {column} appears twice", where=f"{name}:1", hint="rename one")
    places = {column: names.index(column) for column in wanted if column in names}
    kept = tuple(place for place, column in enumerate(names) if column not in ADDED)
    return Columns(name=name, width=len(names), places=places, kept=kept)


def read_blocks(reader: _csv.Reader, columns: Columns) -> Iterator[Block]:
    """The table in blocks; empty lines are skipped."""
    numbered = ((reader.line_num, row) for row in reader if row)
    while chunk := list(islice(numbered, BLOCK_ROWS)):
        for line, row in chunk:
            if len(row) != columns.width:
                what = f"{len(row)} fields where the header has {columns.width}"
                raise InputError(what, where=columns.at(line), hint="quote fields that contain commas")
        yield Block(rows=[row for _, row in chunk], lines=[line for line, _ in chunk])


def predicted_rows(block: Block, columns: Columns, gpu: Gpu, library: str | None) -> Iterator[list[str]]:
    """Every row of the block with the cells of `ADDED` behind it."""
    sizes = {name: read_sizes(block, columns, name) for name in SIZES}
    dtypes = read_names(block, columns, "dtype", gpu.default_dtype, lambda cell: runnable_dtype(cell, gpu))
    layouts = read_names(block, columns, "layout", "NT", known_layout)
    answer = predict_gemm(gpu, **sizes, dtype=dtypes, layout=layouts, library=library)
    numbers = ([f"{value:.9g}" for value in getattr(answer, name).tolist()] for name in TIMES)
    for row, *cells in zip(block.rows, *numbers, answer.bound_by.tolist(), answer.provenance.tolist(), strict=True):
        yield [*columns.copied(row), *cells]


def read_sizes(block: Block, columns: Columns, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A column of positive integers."""
    cells = block.column(columns, name, "1" if name == "batch" else "")
    try:
        sizes = np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        sizes = None
    if sizes is None or sizes.min() < 1 or sizes.max() > MAX_SIZE:
        line, cell = next((line, cell) for line, cell in zip(block.lines, cells, strict=True) if not _is_size(cell))
        raise InputError(f"{name} is {shown(cell)}", where=columns.at(line), hint=f"expected an integer from 1 to {MAX_SIZE}")
    return sizes


def _is_size(cell: str) -> bool:
    try:
        return 1 <= int(cell) <= MAX_SIZE
    except ValueError:
        return False


def read_names(block: Block, columns: Columns, name: str, default: str, canonical: Callable[[str], str]) -> list[str]:
    """A column of names in our spelling; `canonical` refuses those that it does not know."""
    cells = block.column(columns, name, default)
    spelling: dict[str, str] = {}
    for line, cell in zip(block.lines, cells, strict=True):
        if cell not in spelling:
            try:
                spelling[cell] = canonical(cell)
            except ShapewrightError as error:
                raise error.at(columns.at(line)) from None
    return [spelling[cell] for cell in cells]


def runnable_dtype(cell: str, gpu: Gpu) -> str:
    """The dtype, which the GPU must have products of."""
    dtype = load_dtype(cell).name
    gpu.peak_flops_per_s(dtype)
    return dtype


def known_layout(cell: str) -> str:
    if cell.upper() not in LAYOUTS:
        raise unknown_name("layout", cell, LAYOUTS)
    return cell.upper()
