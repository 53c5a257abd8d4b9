"""A TOML file of the user with the line of each key, which `tomllib` does not tell, and its values as TOML writes them.

Errors: a file that cannot be read, is no UTF-8 or no TOML is an `InputError` with its name and, where there is one, its line.
"""

from __future__ import annotations

import datetime
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MAX_SHOWN_CHARACTERS, InputError, shown
from ..read.located import place, read_text

_PART = r"""(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_NAME = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_NAME.pattern})[ \t]*\]")
_KEY = re.compile(rf"[ \t]*({_NAME.pattern})[ \t]*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """The `values` of the file at `path`, its `text`, and how messages name it (`where`)."""

    path: Path
    where: str
    text: str
    values: Mapping[str, Any]

    def place(self, path: tuple[str, ...]) -> str:
        """`pyproject.toml:12`: the line that sets the key at `path` of tables, or else that of the nearest table around it."""
        lines = _lines(self.text)
        known = [path[:length] for length in range(len(path), 0, -1) if path[:length] in lines]
        return place(self.where, lines[known[0]] if known else None)


def read_toml(path: Path) -> TomlFile:
    """The file at `path`; one without any text has no values."""
    where = _named(path)
    text = _text(where)
    try:
        return TomlFile(path=path.absolute(), where=where, text=text, values=tomllib.loads(text))
    except RecursionError:
        raise InputError("nested too deeply", where=where, hint="settings are flat") from None
    except ValueError as error:  # what is no TOML, and integers of thousands of digits
        raise _syntax_error(error, where, text) from None


def written(value: object) -> str:
    """A value as it may appear in a one-line message, in TOML's words: true, not Python's True."""
    text = _written(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_written(each)}' for key, each in value.items())}}}"
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else shown(value)


def _syntax_error(error: ValueError, where: str, text: str) -> InputError:
    """The parser's error, with the line that it names; the last one for a fault that shows at the end."""
    fault = str(error)
    line: int | None = None
    if match := re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", fault):
        fault, line = fault[: match.start()], int(match[1] or len(text.splitlines()))
    return InputError(f"not valid TOML: {shown(fault)[1:-1]}", where=place(where, line), hint="check the TOML syntax")


def _text(where: str) -> str:
    """The text of a file; an empty file is valid TOML."""
    try:
        return read_text(where)
    except InputError as error:
        if error.what == "the file is empty":
            return ""
        raise InputError(error.what.replace(shown(where), "").strip(), where=error.where or where, hint=error.hint) from None


def _named(path: Path) -> str:
    """A path as messages show it: from the current folder where it lies below it."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The 1-based line of each table and key by its path. Lines within long strings may pass for keys: they only ever name a line."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
        key = _KEY.match(line)
        if header or key:
            path = (*table, *(_parts(key[1]) if key else ()))
            for length in range(1 if header else len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted name, without their quotes."""
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, name))
