"""Text files of the user, opened safely, and JSON that remembers the line of every key.

`read_text` is the one place where a reader opens a file. `load_json` parses JSON (RFC 8259, and the NaN and Infinity that Python
writes) into plain Python values and keeps, for the path of each key, its 1-based line. Sizes are in bytes.

Errors: whatever is wrong with a file or its text is an `InputError` such as `config.json:14: expected a comma or a closing brace`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from ..errors import InputError, shown

#: Far above any configuration file (vocabularies of labels included), far below a file of weights.
MAX_FILE_BYTES = 4 * 2**20
MAX_DEPTH = 64
#: Longest number that is read: more digits than any float64 or count has.
MAX_NUMBER_CHARACTERS = 400

#: Where a value stands: keys and list positions from the outside in, such as ("text_config", "hidden_size").
JsonPath = tuple[str | int, ...]
Lines = Mapping[JsonPath, int]
NO_LINES: Lines = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedObject:
    """A JSON object: its `values`, and the line of each key by its path."""

    values: dict[str, Any]
    lines: Lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where an object stands: the file (`where`), the lines of the file's keys, and the `path` to the object in it."""

    where: str
    lines: Lines
    path: JsonPath = ()

    def line(self, key: str) -> int | None:
        """The line of `key` of this object; None if it is not known."""
        return self.lines.get((*self.path, key))

    def place(self, key: str) -> str:
        """`config.json:14` for a key whose line is known, else `config.json`."""
        return place(self.where, self.line(key))

    def within(self, key: str) -> Spot:
        """The object that is the value of `key`."""
        return replace(self, path=(*self.path, key))


def place(where: str, line: int | None) -> str:
    """Where an error is: the file, and the line if it is known."""
    return where if line is None else f"{where}:{line}"


def barrier_to(path: Path) -> str | None:
    """What keeps a path from being looked at though it may exist, as "permission denied"; None for one that is there or absent."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def read_text(path: Path | str, *, max_bytes: int = MAX_FILE_BYTES) -> str:
    """The UTF-8 text of a file. A file that is missing, no file, unreadable, empty, binary or too big is refused."""
    path = Path(path)
    name = shown(str(path))
    try:
        if (barrier := barrier_to(path)) is not None:
            raise InputError(f"{name} cannot be read ({barrier})", hint="check the path")
        if path.is_dir():
            raise InputError(f"{name} is a directory", hint="give the file itself")
        if not path.is_file():
            raise InputError(f"{name} is not a file" if path.exists() else f"no file {name}", hint="check the path")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except PermissionError as error:
        raise InputError(f"{name} cannot be read", hint="check its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read ({reason})", hint="check the path") from error
    return _decode(data, str(path), max_bytes)


def read_stream(stream: BinaryIO, *, where: str, max_bytes: int = MAX_FILE_BYTES) -> str:
    """The UTF-8 text of an open stream (stdin), which errors call `where`; refused like a file's."""
    return _decode(stream.read(max_bytes + 1), where, max_bytes)


def _decode(data: bytes, where: str, max_bytes: int) -> str:
    hint = "expected a configuration file in UTF-8 text"
    if not data.strip():
        raise InputError("the file is empty", where=where, hint=hint)
    if b"\0" in data:
        raise InputError("the file is binary", where=where, hint=hint)
    if len(data) > max_bytes:
        raise InputError(f"the file is larger than {max_bytes} bytes", where=where, hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("the file is not UTF-8 text", where=place(where, line), hint=hint) from error


def load_json(text: str, *, where: str) -> LocatedObject:
    """The JSON object of `text`. A syntax error, a key given twice, deep nesting or another kind of value is refused."""
    if len(text) > MAX_FILE_BYTES:
        raise InputError(f"the text is longer than {MAX_FILE_BYTES} characters", where=where, hint="expected a configuration")
    parser = _Parser(text.removeprefix("\ufeff"), where)
    values = parser.document()
    if not isinstance(values, dict):
        what = f"expected a JSON object of keys and values, found {_kind(values)}"
        raise InputError(what, where=place(where, 1), hint="check that this is a config.json")
    return LocatedObject(values=values, lines=MappingProxyType(parser.lines))


def _kind(value: object) -> str:
    word = next((word for word, each in _WORDS.items() if each is value), None)
    return "a list" if isinstance(value, list) else "a string" if isinstance(value, str) else word or shown(value)


_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"-?[A-Za-z]+")
_WORDS: Mapping[str, Any] = {
    "true": True, "false": False, "null": None, "NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf"),
}  # fmt: skip


class _Parser:
    """One pass over `text`; `at` is the next character, `lines` the line of each key read so far."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        self.lines: dict[JsonPath, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Any:
        value = self.value(())
        if self.peek():
            raise self.error("text after the end of the JSON value", hint="remove it")
        return value

    def line(self, position: int) -> int:
        return bisect_right(self.newlines, position - 1) + 1

    def error(self, what: str, *, hint: str = "check the JSON syntax", position: int | None = None) -> InputError:
        line = self.line(self.at if position is None else position)
        return InputError(what, where=place(self.where, line), hint=hint)

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        match = _SPACE.match(self.text, self.at)
        assert match
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def value(self, path: JsonPath) -> Any:
        character = self.peek()
        if len(path) >= MAX_DEPTH and character in ("{", "["):
            raise self.error(f"values are nested more than {MAX_DEPTH} deep", hint="expected a configuration")
        if character == "{":
            return self.object(path)
        if character == "[":
            return self.list(path)
        if character == '"':
            return self.string()
        return self.scalar(character)

    def object(self, path: JsonPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        self.at += 1
        if self.peek() == "}":
            self.at += 1
            return values
        while True:
            self.member(path, values)
            if self.ends("}"):
                return values

    def member(self, path: JsonPath, values: dict[str, Any]) -> None:
        """One `"key": value` of an object."""
        if self.peek() != '"':
            raise self.error("expected a key in double quotes")
        start = self.at
        key = self.string()
        if key in values:
            first = self.lines[*path, key]
            raise self.error(f"{shown(key)} is given twice (first in line {first})", hint="keep one of them", position=start)
        self.lines[*path, key] = self.line(start)
        if self.peek() != ":":
            raise self.error(f"expected a colon after the key {shown(key)}")
        self.at += 1
        values[key] = self.value((*path, key))

    def list(self, path: JsonPath) -> list[Any]:
        values: list[Any] = []
        self.at += 1
        if self.peek() == "]":
            self.at += 1
            return values
        while True:
            values.append(self.value((*path, len(values))))
            if self.ends("]"):
                return values

    def ends(self, closing: str) -> bool:
        """Steps over the comma or the `closing` bracket that follows an element; True for the bracket."""
        character = self.peek()
        if character not in (",", closing) or not character:
            raise self.error(f"expected a comma or a closing {closing}")
        self.at += 1
        return character == closing

    def string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if not match:
            raise self.error("a string does not end in its line")
        try:
            value = json.loads(match[0])
        except ValueError as error:
            raise self.error("a string holds an unknown escape") from error
        self.at = match.end()
        return value

    def scalar(self, character: str) -> Any:
        if not character:
            raise self.error("the text ends before the JSON value does", hint="is the file cut off?")
        word = _WORD.match(self.text, self.at)
        if word and word[0] in _WORDS:
            self.at = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self.text, self.at)
        if not number:
            raise self.error(f"expected a value, found {shown(self.text[self.at : self.at + 12])}")
        if len(number[0]) > MAX_NUMBER_CHARACTERS:
            raise self.error(f"a number has more than {MAX_NUMBER_CHARACTERS} characters", hint="expected a plausible number")
        self.at = number.end()
        return float(number[0]) if number[1] or number[2] else int(number[0])
