"""Files of facts: TOML in which every number stands beside the page it came from.

A number is written `num_sms = { value = 108, source = "whitepaper: comparison table" }`, where the word before the colon names an
entry of the file's `[sources]` table; a plain `num_sms = 108` is allowed too and takes the file's own `source` text. Units are
in the key names (`_bytes`, `_hz`, `_bytes_per_s`, `_s`, `_w`). Errors: everything that is wrong with a file is an `InputError` that
names the file and, where the key is found in its text, the line.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, shown, unknown_name

MAX_FILE_BYTES = 2**18
MAX_TEXT_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number that a file gives, with its unit and the range in which it is believed; a `default` makes it optional."""

    name: str
    unit: str
    low: float
    high: float
    is_integer: bool = False
    default: float | None = None


class Fact(NamedTuple):
    """A number and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactFile:
    """A parsed file: `values` as written, `place` and `text` to name a file and line in messages."""

    place: str
    text: str
    values: Mapping[str, Any]

    def where(self, key: str) -> str:
        """`file:line` of the first line that sets `key`, or the file alone."""
        pattern = re.compile(rf"^\s*(?:\[\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\]]")
        for number, line in enumerate(self.text.splitlines(), start=1):
            if pattern.match(line):
                return f"{self.place}:{number}"
        return self.place

    def error(self, key: str, what: str, hint: str | None = None) -> InputError:
        return InputError(what, where=self.where(key), hint=hint, field=key)


def read_fact_file(path: Path) -> FactFile:
    """Parse a TOML file of at most 256 KiB; whatever cannot be read is refused in one line."""
    text, place = _read_text(path), shown_path(path)
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise InputError("nested too deeply", where=place, hint="a GPU or node file is flat") from None
    except ValueError as error:
        fault, _, position = str(error).partition(" (at line ")
        line = position.partition(",")[0]
        place += f":{line}" if line.isdigit() else ""
        hint = "expected lines such as num_sms = 108"
        raise InputError(f"not valid TOML: {_one_line(fault)}", where=place, hint=hint) from None
    return FactFile(place=place, text=text, values=values)


def shown_path(path: Path) -> str:
    """A path as it may appear in a one-line message: whole, unless it holds control characters."""
    text = str(path)
    return text if text.isprintable() else repr(text)[1:-1]


def _one_line(text: str) -> str:
    """Someone else's message as part of ours: printable and short."""
    return shown(text)[1:-1]


def _read_text(path: Path) -> str:
    """The text of a regular file; special files, large files and binary files are refused before they are read whole."""
    place = shown_path(path)
    try:
        if not path.exists():
            raise InputError("no such file", where=place, hint="give the path of a TOML file or a known name")
        if not path.is_file():
            raise InputError("not a regular file", where=place, hint="give the path of a TOML file")
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {_one_line(reason)}", where=place, hint="check the path and its permissions") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"larger than {MAX_FILE_BYTES} bytes", where=place, hint="a GPU or node file is a few kilobytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("not a text file", where=place, hint="expected TOML in UTF-8") from None


def check_keys(file: FactFile, known: Collection[str]) -> None:
    """Refuse the first key outside `known`, offering the nearest."""
    for key in file.values:
        if key not in known:
            raise unknown_name("key", key, known, where=file.where(key))


def read_text(file: FactFile, key: str, default: str = "") -> str:
    """A line of text under `key`."""
    value = file.values.get(key, default)
    if not _is_line(value):
        raise file.error(key, f"{key} is {shown(value)}", "expected one short line of text in quotes")
    return value


def read_texts(file: FactFile, key: str) -> tuple[str, ...]:
    """A list of texts under `key`; absent: empty."""
    values = file.values.get(key, [])
    if not isinstance(values, list) or not all(_is_line(value) for value in values):
        raise file.error(key, f"{key} is {shown(values)}", 'expected a list of texts such as ["first", "second"]')
    return tuple(values)


def read_sources(file: FactFile) -> Mapping[str, str]:
    """The `[sources]` table: short key -> title and page."""
    table = file.values.get("sources", {})
    if not isinstance(table, dict) or not all(_is_line(text) for text in table.values()):
        raise file.error("sources", f"sources is {shown(table)}", 'expected a table [sources] with lines such as datasheet = "title, page"')
    return table


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_TEXT_CHARACTERS


def read_facts(file: FactFile, quantities: Collection[Quantity]) -> dict[str, Fact]:
    """Every quantity of the file; all that are missing are named at once."""
    missing = [q.name for q in quantities if q.default is None and q.name not in file.values]
    if missing:
        named = ", ".join(missing)
        raise InputError(f"missing {named}", where=file.place, hint="every file gives these numbers (docs/hardware.md)")
    return {q.name: read_fact(file, q) for q in quantities}


def read_fact(file: FactFile, quantity: Quantity, table: Mapping[str, Any] | None = None) -> Fact:
    """One number with its source, from the file or one of its tables, checked against the quantity's range."""
    written = (file.values if table is None else table).get(quantity.name)
    if written is None and quantity.default is not None:
        return Fact(quantity.default, "default: the file does not say")
    value, source = _value_and_source(file, quantity.name, written)
    return Fact(_checked_number(file, quantity, value), source)


def _value_and_source(file: FactFile, name: str, written: Any) -> tuple[Any, str]:
    """Split `{ value, source }`, or a plain number, into the number as written and the full text of its source."""
    if not isinstance(written, dict):
        return written, file_source(file)
    for key in written:
        if key not in ("value", "source"):
            raise unknown_name(f"key of {name}", key, ("value", "source"), where=file.where(name))
    if "value" not in written:
        raise file.error(name, f"{name} has no value", f'expected {name} = {{ value = ..., source = "..." }}')
    source = written.get("source", "")
    if not _is_line(source):
        raise file.error(name, f"source of {name} is {shown(source)}", "expected one short line of text in quotes")
    return written["value"], _full_source(file, source)


def _full_source(file: FactFile, source: str) -> str:
    """`key: detail` with the key's entry of `[sources]` in its place; a text without such a key stands for itself."""
    if not source:
        return file_source(file)
    key, colon, detail = source.partition(":")
    title = read_sources(file).get(key.strip())
    if title is None:
        return source
    return f"{title}: {detail.strip()}" if colon and detail.strip() else title


def file_source(file: FactFile) -> str:
    """Where plain numbers of this file come from: its `source` text, or that it is a user's file."""
    return read_text(file, "source") or f"user file {file.place}"


def _checked_number(file: FactFile, quantity: Quantity, value: Any) -> float:
    """`value` if it is a finite number of the right kind and in range; booleans, texts, NaN and infinity are refused."""
    name, unit = quantity.name, f" {quantity.unit}" if quantity.unit else ""
    expected = f"expected {quantity.low:g} to {quantity.high:g}{unit}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise file.error(name, f"{name} is {shown(value)}", expected)
    if isinstance(value, float) and not math.isfinite(value):
        raise file.error(name, f"{name} is {value}", expected)
    if not quantity.low <= value <= quantity.high:
        raise file.error(name, f"{name} is {value:.6g}" if abs(value) < 1e300 else f"{name} is too large", expected)
    if quantity.is_integer and value != int(value):
        raise file.error(name, f"{name} is {value}", f"{expected}, a whole number")
    return int(value) if quantity.is_integer else float(value)
