"""Reads what a run file holds, whatever became of the file: .jsonl or .jsonl.gz, torn, damaged or whole.

    found = read_run(path)
    found.rows[0]["gpu"], found.environment_of(0)["torch"], found.notes

Errors: a file that is not there, cannot be read, or has nothing of a run in it is an `InputError`; damaged lines are notes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .run_lines import MAX_HEADER_BYTES, Line, Row, described, key_of_row, lines_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """What a run file holds. `rows` are in the file's order and carry the `gpu` of their environment."""

    path: Path
    environments: tuple[Row, ...]
    """What each start of a process on the file was made with."""
    rows: list[Row]
    starts: list[int]
    """Of each row, which of the environments it belongs to."""
    notes: tuple[str, ...] = ()
    """What was left aside, and why."""

    @property
    def environment(self) -> Row:
        """That of the last start."""
        return self.environments[-1]

    def environment_of(self, index: int) -> Row:
        """That of row `index`."""
        return self.environments[self.starts[index]]

    def latest(self) -> list[Row]:
        """One row of each point and GPU: the last, where a point was measured again."""
        found = {(key_of_row(row) or f"row {index}", row["gpu"]): row for index, row in enumerate(self.rows)}
        return list(found.values())


def read_run(path: Path | str) -> RunRows:
    """The rows of a run in .jsonl or .jsonl.gz; damaged lines are left out and noted, a file with nothing of a run in it is refused."""
    path = Path(path)
    try:
        with path.open("rb") as source:
            is_packed = source.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as source:
            found = _gathered(path, _first_lines(source))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), hint="name a file of measured rows") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path), hint="name a file of measured rows") from None
    if not found.environments:
        raise InputError("is no run: " + _emptiness(path), where=str(path), hint="expected a file that shapewright measured")
    return found


def _first_lines(source: Any) -> Iterator[Line]:
    """Lines of an open file up to where it, or the packed stream, breaks off."""
    number = 0
    try:
        if len(source.readline(MAX_HEADER_BYTES)) == MAX_HEADER_BYTES:  # no text: not to be held in memory as one line
            return
        source.seek(0)
        for line in lines_of(source):
            number = line.number
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield Line(number=number + 1, end=0, value=None, is_complete=False)


def _emptiness(path: Path) -> str:
    with path.open("rb") as source:
        first = source.readline(MAX_HEADER_BYTES)
    return f"it {described(first)}" if first else "it is empty"


def _gathered(path: Path, lines: Iterable[Line]) -> RunRows:
    environments: list[Row] = []
    rows, starts, bad = [], [], []
    for line in lines:
        if line.value is None:
            bad += [] if line.is_blank else [line]
        elif line.is_header:
            environments.append(line.value["environment"])
        else:
            environments = environments or [{}]  # rows whose header is lost
            rows.append({"gpu": environments[-1].get("gpu", ""), **line.value})
            starts.append(len(environments) - 1)
    notes = [f"{path}:{line.number}: {'is no row of a run' if line.is_complete else 'was cut off'}; left out" for line in bad]
    return RunRows(path=path, environments=tuple(environments), rows=rows, starts=starts, notes=tuple(notes))
