"""Arguments turned into values: numbers that are refused in our own words, and short forms of flags written out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import InputError, ShapewrightError, shown
from ..workload import RECOMPUTATIONS

#: More digits than any field accepts; longer numbers are not worth converting.
MAX_DIGITS = 30
#: Far above any number of tokens or price, and far below where products of two of them overflow.
MAX_NUMBER = 1e30


class Token(Protocol):
    """The part of a cyclopts token that is read: the flag as typed and its value."""

    keyword: str | None
    value: str


def integer(_type: Any, tokens: Sequence[Token]) -> int:
    """A whole number; its range is checked by what it is for."""
    token = tokens[0]
    if not re.fullmatch(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}", token.value):
        raise InputError(f"{_flag(token)} is {shown(token.value)}", hint="expected a positive integer")
    return int(token.value)


def number(_type: Any, tokens: Sequence[Token]) -> float:
    """A finite number; its range is checked by what it is for."""
    token = tokens[0]
    try:
        value = float(token.value)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{_flag(token)} is {shown(token.value)}", hint="expected a number")
    return value


def positive_number(_type: Any, tokens: Sequence[Token]) -> float:
    """A number above 0 and at most `MAX_NUMBER`, such as 1e12 or 2.5."""
    value = number(_type, tokens)
    if not 0 < value <= MAX_NUMBER:
        raise InputError(f"{_flag(tokens[0])} is {shown(tokens[0].value)}", hint=f"expected a number above 0, at most {MAX_NUMBER:g}")
    return value


def _flag(token: Token) -> str:
    return token.keyword or "value"


def blame_flag(error: ShapewrightError, field: str) -> ShapewrightError:
    """`error` about a `Workload` or `ModelShape` field in the words of the flag that set it: "--micro-batch is 0; ..."."""
    flag = "--" + field.replace("_", "-")
    if error.what.startswith(f"{field} "):
        return type(error)(flag + error.what.removeprefix(field), where=error.where, hint=error.hint, field=field)
    return error.at(flag)


def complete(arguments: Sequence[str]) -> list[str]:
    """Two forms that cyclopts does not know, written out: `--recompute` without a value means full, and `-o -` means stdout.

    What follows `--recompute` is its value only if it is one of the known ones, so that a model may come next.
    """
    completed: list[str] = []
    for position, argument in enumerate(arguments):
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        if argument == "--recompute" and following not in RECOMPUTATIONS:
            completed.append("--recompute=full")
        elif argument == "-" and completed and completed[-1] in ("-o", "--output"):
            completed[-1] = "--output=-"
        else:
            completed.append(argument)
    return completed
