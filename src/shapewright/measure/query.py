"""Rows of runs asked with SQL: duckdb over a table in memory, which can neither write nor read a file nor reach the network.

    found = query(rows, where="n % 8 = 0 AND status = 'ok'", select="m, n, k, time_s", sort="time_s", limit=40)
    found.columns, found.rows, found.num_matching

The texts are SQL expressions over the columns of the rows (their union; absent values are NULL). Errors: `InputError` with the first line
of duckdb's message where a text is no expression or names no column, or holds more than one statement.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import InputError

TABLE = "rows"
#: Longer texts are no conditions that a person wrote.
MAX_TEXT = 10_000
_EXAMPLES = ('for example --select m,n,k,time_s --sort "time_s desc"', "for example --where \"n % 8 = 0 AND status = 'ok'\"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows that a query gave, column by column name; `num_matching` before the limit."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    num_matching: int

    def dicts(self) -> list[dict[str, Any]]:
        """One mapping a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query(rows: Sequence[Mapping[str, Any]], *, select: str = "*", where: str = "", sort: str = "", limit: int | None = None) -> Found:
    """The rows that match, in order, at most `limit`; needs duckdb (an `ImportError` names it)."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        _fill(connection, rows)
        for setting in ("enable_external_access", "python_enable_replacements", "autoinstall_known_extensions"):
            connection.execute(f"SET {setting}=false")
        connection.execute("SET lock_configuration=true")
        condition = f" WHERE ({where}\n)" if where.strip() else ""
        order = f" ORDER BY {sort}\n" if sort.strip() else ""
        count = _one(connection, f"SELECT count(*) FROM {TABLE}{condition}", "--where", where).fetchone()
        last = "" if limit is None else f" LIMIT {int(limit)}"
        flag, text = ("--select", select) if not sort else ("--select or --sort", f"{select} {sort}")
        answer = _one(connection, f"SELECT {select}\n FROM {TABLE}{condition}{order}{last}", flag, text)
        columns = tuple(each[0] for each in answer.description or ())
        return Found(
            columns=columns, rows=[tuple(map(_plain, row)) for row in answer.fetchall()], num_matching=int(count[0]) if count else 0
        )


def _plain(value: Any) -> Any:
    """A value of SQL as one of JSON's types: decimals as floats, dates and the like as text; inf and nan stay."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return float(value) if isinstance(value, Decimal) else str(value)


def _one(connection: Any, statement: str, flag: str, text: str) -> Any:
    """Run one SELECT; whatever is wrong with it is the fault of the text that it was made of."""
    import duckdb

    if len(text) > MAX_TEXT:
        raise InputError(f"{flag} has {len(text)} characters", hint=f"expected at most {MAX_TEXT}")
    try:
        statements = connection.extract_statements(statement)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise InputError(f"{flag} holds more than one statement", hint="give one SQL expression, such as n % 8 = 0")
        return connection.execute(statements[0])
    except duckdb.Error as error:
        raise InputError(f"{flag} is no SQL that the rows answer: {_first_line(error)}", hint=_hint(error, flag)) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def _hint(error: Exception, flag: str) -> str:
    """What duckdb offers instead, else an example."""
    near = [line.partition(":")[2].strip() for line in str(error).splitlines() if line.startswith("Candidate bindings")]
    return f"did you mean {near[0][:100]}?" if near and near[0] else _EXAMPLES[flag == "--where"]


def _fill(connection: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table: one column for every key; through arrow, since row-wise inserts take a millisecond each."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["kind"]
    connection.register("incoming", _arrow(names, [[row.get(name) for row in rows] for name in names]))
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def _arrow(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> Any:
    """An arrow table whose columns have the narrowest type that holds their values."""
    import pyarrow as pa

    known = {"BOOLEAN": pa.bool_(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}
    arrays = {}
    for name, values in zip(names, columns, strict=True):
        kind = _type(values)
        arrays[name] = pa.array([_cell(value, kind) for value in values], known[kind])
    return pa.table(arrays)


def _type(values: Sequence[Any]) -> str:
    present = {type(value) for value in values if value is not None}
    if present == {bool}:
        return "BOOLEAN"
    if present == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return "BIGINT"
    return "DOUBLE" if present and present <= {int, float} else "VARCHAR"


def _cell(value: Any, kind: str) -> Any:
    if value is None or kind in ("BOOLEAN", "BIGINT"):
        return value
    if kind == "DOUBLE":
        return float(value)
    return value if isinstance(value, str) else json.dumps(value)


def write_parquet(found: Found, target: Path) -> None:
    """The rows as a Parquet file (zstd), complete or not at all; needs pyarrow."""
    from pyarrow import parquet

    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        parquet.write_table(
            _arrow(found.columns, list(zip(*found.rows, strict=True)) or [()] * len(found.columns)), draft, compression="zstd"
        )
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
