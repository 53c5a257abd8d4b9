"""Measured rows from a file as numpy columns: .csv, .jsonl (both also .gz) and .parquet.

    table = read_table(Path("rows.jsonl.gz"))
    table.integers("m"), table.positive("us"), table.texts("layout", "NT")    # checked columns, one entry a row
    table.take(table.texts("gpu") == "h200"), table.columns["us"]             # some rows; a column as it was read

A column is int64, float64 (an absent value is NaN), bool, or text (an absent value is ""); units are those of the file, which a
column's name tells. In JSON Lines a line {"environment": {...}} describes the machine and is no row; a row with an `error`, or a `status`
other than "ok", is a failed measurement: left out and counted.
Errors: a file or row that cannot be read is refused as `FILE:LINE: what; what now` (Parquet: FILE, row N), one that is not there as a
`MissingFileError`. Parquet needs pyarrow (the `calibrate` extra).
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingError, shown

Array = NDArray[Any]
SUFFIXES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz", ".parquet")


class MissingFileError(InputError):
    """The file is not there at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Rows of one file, called `name` in messages; `lines` is the line of each row (of Parquet its number, from 0)."""

    name: str
    columns: Mapping[str, Array]
    lines: Array
    environment: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of the machine; empty where it says nothing."""
    num_failed: int = 0
    """Failed measurements among the rows of the file, left out of the columns."""

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def take(self, rows: Array) -> Table:
        """The rows of a mask or an index."""
        return replace(self, columns={name: column[rows] for name, column in self.columns.items()}, lines=self.lines[rows])

    def numbers(self, name: str, default: float | None = None) -> Array:
        """A column as float64, NaN where absent; a column that is not there is `default` throughout, or refused."""
        if name not in self.columns and default is not None:
            return np.full(len(self), float(default))
        column = self._column(name)
        if column.dtype.kind in "iuf":
            return column.astype(float)
        wrong = np.array([not _is_number(value) for value in column], bool)
        if wrong.any():
            raise self._wrong(name, wrong, "expected a number")
        # What made the whole column text stands in rows that were not taken.
        return np.array([float(str(value)) for value in column], float)

    def positive(self, name: str, default: float | None = None) -> Array:
        """A column of finite numbers above 0."""
        column = self.numbers(name, default)
        wrong = ~(np.isfinite(column) & (column > 0))
        if wrong.any():
            raise self._wrong(name, wrong, "expected a number above 0")
        return column

    def integers(self, name: str, default: int | None = None, *, most: int = 2**53) -> Array:
        """A column of whole numbers from 1 to `most`, as int64; an absent value is the default where there is one."""
        column = self.numbers(name, default)
        column = column if default is None else np.where(np.isnan(column), default, column)
        wrong = ~((column >= 1) & (column <= most) & (np.floor(column) == column))
        if wrong.any():
            raise self._wrong(
                name, wrong, "expected a whole number from 1 on" if most == 2**53 else f"expected a whole number from 1 to {most}"
            )
        return column.astype(np.int64)

    def texts(self, name: str, default: str | None = None) -> Array:
        """A column as text; a column or value that is not there is `default`, or "" where the column must be there."""
        if name not in self.columns and default is not None:
            return np.full(len(self), default)
        column = self._column(name).astype(str)
        return column if not default else np.where(column == "", default, column)

    def where(self, row: int) -> str:
        """The place of a row, for messages."""
        return f"{self.name}, row {self.lines[row]}" if self.name.endswith(".parquet") else f"{self.name}:{self.lines[row]}"

    def _column(self, name: str) -> Array:
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "nothing"
            raise InputError(f"has no column {name}", where=self.name, hint=f"it has {known}", field=name)
        return self.columns[name]

    def _wrong(self, name: str, wrong: Array, hint: str) -> InputError:
        row = int(np.argmax(wrong))
        value = self.columns[name][row].item() if name in self.columns else None
        what = f"{name} is missing" if value in ("", None) or value != value else f"{name} is {shown(value)}"
        return InputError(what, where=self.where(row), hint=hint, field=name)


def read_table(path: Path | str) -> Table:
    """All rows of a file; its suffix tells the form."""
    path = Path(path)
    name = path.name.lower()
    if path.is_dir():
        raise InputError("is a folder", where=str(path), hint="name a file of measured rows")
    if not name.endswith(SUFFIXES):
        raise InputError(f"unknown form {shown(path.suffix)}", where=str(path), hint=f"known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise MissingFileError("no such file", where=str(path), hint="name a file of measured rows")
    return _read_parquet(path) if name.endswith(".parquet") else _read_text(path)


def table_of(name: str, rows: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]) -> Table:
    """Rows that are in memory as a table called `name`, numbered from 1; failed ones are counted."""
    good = [row for row in rows if row.get("status") in (None, "", "ok") and not row.get("error")]
    names = dict.fromkeys(key for row in good for key in row)
    columns = {key: _typed([row.get(key) for row in good], is_csv=False) for key in names}
    lines = np.arange(1, len(good) + 1)
    return Table(name=name, columns=columns, lines=lines, environment=environment, num_failed=len(rows) - len(good))


def _read_text(path: Path) -> Table:
    """Rows of CSV or JSON Lines, compressed or not."""
    is_csv = path.name.lower().endswith((".csv", ".csv.gz"))
    environment: dict[str, Any] = {}
    lines, rows, num_failed = [], [], 0
    for line, row in _text_rows(path, is_csv):
        if isinstance(row.get("environment"), dict):
            environment = environment or row["environment"]
        elif row.get("error") or row.get("status") not in (None, "", "ok"):
            num_failed += 1
        else:
            lines.append(line)
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _typed([row.get(name) for row in rows], is_csv) for name in names}
    return Table(name=str(path), columns=columns, lines=np.array(lines, np.int64), environment=environment, num_failed=num_failed)


def _text_rows(path: Path, is_csv: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and values of each row of the file."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as source:
            yield from (_csv_rows if is_csv else _json_rows)(source, str(path))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read as text: {error}", where=str(path), hint="expected UTF-8, or the same in gzip") from None


def _csv_rows(source: TextIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and cells of each row; empty lines are skipped."""
    reader = csv.reader(source, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not header or len(set(header)) < len(header):
            raise InputError("no header, or two columns of one name", where=f"{name}:1", hint="the first line names the columns")
        for cells in reader:
            if cells and len(cells) != len(header):
                what = f"{len(cells)} fields where the header has {len(header)}"
                raise InputError(what, where=f"{name}:{reader.line_num}", hint="quote fields that contain commas")
            if cells:
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", where=f"{name}:{reader.line_num}", hint="mend or remove this row") from None


def _json_rows(source: TextIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and object of each row; empty lines are skipped."""
    for line, text in enumerate(source, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError("is no JSON", where=f"{name}:{line}", hint="one object a line; remove a line that was cut off") from None
        if not isinstance(row, dict):
            raise InputError(f"is {shown(row)}", where=f"{name}:{line}", hint="expected an object such as {...}")
        yield line, row


def _read_parquet(path: Path) -> Table:
    """All columns of a Parquet file; dictionary-encoded ones come out as text."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingError("reading Parquet needs pyarrow", where=str(path), hint="pip install 'shapewright[calibrate]'") from None
    try:
        data = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"is no Parquet file: {first}", where=str(path), hint="fetch or write it again") from None
    columns = {name: _arrow_column(data.column(name)) for name in data.column_names}
    return Table(name=str(path), columns=columns, lines=np.arange(data.num_rows))


def _arrow_column(column: Any) -> Array:
    array = column.to_numpy()
    wide = {"i": np.int64, "u": np.int64, "f": np.float64, "b": np.bool_}.get(array.dtype.kind)
    return _typed(array.tolist(), is_csv=False) if wide is None else array.astype(wide)


def _typed(values: list[Any], is_csv: bool) -> Array:
    """The narrowest of int64, float64, bool and text that holds every value."""
    if is_csv:
        values = _parsed(values)
    present = {type(value) for value in values if value is not None}
    if present == {bool} and None not in values:
        return np.array(values, bool)
    if present == {int} and None not in values and all(abs(value) < 2**63 for value in values):
        return np.array(values, np.int64)
    if present <= {int, float} and present:
        return np.array([np.nan if value is None else _as_float(value) for value in values])
    return np.array(["" if value is None else str(value) for value in values], str)


def _parsed(cells: list[str | None]) -> list[Any]:
    """CSV cells as integers, else as numbers, where every filled cell is one; else as they are."""
    for kind in (int, float):
        try:
            return [kind(cell) if cell else None for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _as_float(value: float) -> float:
    """`value` as a float; an integer beyond its range is infinite, which no checked column lets through."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
