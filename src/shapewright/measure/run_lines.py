"""Lines of a run file: what one looks like, and what a whole file holds. No file is changed here.

A run file is JSON Lines. A header line `{"environment": {...}, "schema_version": 1, "protocol": {...}}` stands before the rows of every
start of a process on the file; a row is an object with `kind` and `status` and belongs to the last header before it. A file whose first
line is no header is no run. Any other line that is neither (torn by a kill, zeroed by a power loss, edited) is told apart by its number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import ShapewrightError
from .points import key_of, point_of

SCHEMA_VERSION = 1
STATUSES = ("ok", "failed", "out_of_memory", "timed_out", "crashed")
#: Bytes that a header may take: a first line longer than this is of another file.
MAX_HEADER_BYTES = 2**20
_HEADER_START = b'{"environment": {'

Row = dict[str, Any]
#: A point's key and the GPU it was measured on.
DoneKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file: its number from 1 on, the offset after it in bytes, and its object (None: neither header nor row)."""

    number: int
    end: int
    value: Row | None
    is_complete: bool
    """Whether it ends with a newline."""
    is_blank: bool = False

    @property
    def is_header(self) -> bool:
        return self.value is not None and "status" not in self.value

    @property
    def gpu(self) -> str:
        """The GPU that a header names."""
        return str((self.value or {}).get("environment", {}).get("gpu", ""))


def lines_of(source: BinaryIO) -> Iterator[Line]:
    """Every line of a file, blank ones and what is no line of a run included."""
    end = 0
    for number, text in enumerate(source, start=1):
        end += len(text)
        yield Line(number=number, end=end, value=parsed(text), is_complete=text.endswith(b"\n"), is_blank=not text.strip())


def parsed(text: bytes) -> Row | None:
    """The header or row that a line holds, else None."""
    try:
        value = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    is_row = isinstance(value.get("kind"), str) and value.get("status") in STATUSES
    return value if is_row or ("status" not in value and isinstance(value.get("environment"), dict)) else None


def may_start_run(first: bytes) -> bool:
    """Whether a file's first line is a header, or the torn beginning of one."""
    value = parsed(first)
    if value is not None:
        return "status" not in value
    return not first.endswith(b"\n") and first.startswith(_HEADER_START)


def written(value: Mapping[str, Any]) -> bytes:
    """An object as one line; a number that JSON cannot hold becomes null, and what JSON does not know its text."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False).encode() + b"\n"
    except ValueError:
        return json.dumps(_finite(value), default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    """A numpy number as Python's, anything else as text."""
    found = value.item() if hasattr(value, "item") else str(value)
    return _finite(found)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def key_of_row(row: Mapping[str, Any]) -> str | None:
    """The key of a row's point; None where the row is of a kind that this version does not know."""
    try:
        return key_of(point_of(row))
    except ShapewrightError:
        return None


def described(first: bytes) -> str:
    """What a foreign file begins with, in words."""
    if first.startswith(b"\x1f\x8b"):
        return "is packed with gzip"
    try:
        text = first[:80].decode("utf-8", "strict" if len(first) <= 80 else "ignore")
    except UnicodeDecodeError:
        return "holds no text"
    if not text.strip():
        return "begins with an empty line"
    return f"begins with {text.strip()[:40]!r}" if text.strip().isprintable() else "holds no text"
