"""Globs of files as ruff reads them: `matches("old/*.json", path, folder)`.

A pattern is held against the file's name alone and against its whole path, where it begins at `folder`. `*` and `?` match any character,
"/" included, `**/` any folders or none, `[ab]` and `[!ab]` one character, `{a,b}` either word. A leading `!` turns the pattern round.
`pattern_fault(pattern)` says what is wrong with a pattern that is none, such as `[`; `matches` takes the others alone.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path


def matches(pattern: str, path: Path, folder: Path) -> bool:
    """Whether the file at `path` is meant; a path that is not absolute begins at the current folder."""
    bare = pattern.removeprefix("!")
    whole = os.path.abspath(path)  # noqa: PTH100 - links are not followed: the file is matched as it was named
    is_met = _regex(bare).fullmatch(path.name) or _regex(bare, os.path.abspath(folder)).fullmatch(whole)  # noqa: PTH100
    return bool(is_met) != pattern.startswith("!")


def pattern_fault(pattern: str) -> str | None:
    """What is wrong with a pattern; None where it is one."""
    bare = pattern.removeprefix("!")
    if not bare.strip():
        return "it names nothing"
    if fault := _fault(bare):
        return fault
    try:
        _regex(bare)
    except re.error:  # such as [z-a]
        return "a range in its [ ] runs backwards"
    return None


def _fault(pattern: str) -> str | None:
    """A bracket that does not close, of the pattern or of a word of its braces."""
    pieces = _PIECES.findall(pattern)
    if not {"[", "[]", "[!]", "[^]"}.isdisjoint(pieces):  # a ] that comes first is one of the characters
        return "a [ has no ]"
    if "{" in pieces or "}" in pieces:
        return "a { or } stands alone, or within another pair"
    words = [word for piece in pieces if len(piece) > 1 and piece[0] == "{" for word in piece[1:-1].split(",")]
    return next(filter(None, map(_fault, words)), None)


@lru_cache(maxsize=256)
def _regex(pattern: str, folder: str | None = None) -> re.Pattern[str]:
    """The regular expression of a pattern, from `folder` on where one is given."""
    start = "" if folder is None or pattern.startswith("/") else re.escape(folder.rstrip("/") + "/")
    return re.compile(start + "".join(map(_piece, _PIECES.findall(pattern.removeprefix("./") if folder else pattern))), re.DOTALL)


_PIECES = re.compile(r"\*\*/|\*+|\?|\[[!^]?\]?[^\]]*\]|\{[^{}]*\}|.", re.DOTALL)


def _piece(piece: str) -> str:
    """One part of a pattern as a regular expression."""
    if piece == "**/":
        return "(?:.*/)?"
    if piece.startswith("*"):
        return ".*"
    if piece == "?":
        return "."
    if len(piece) > 2 and piece[0] == "[":
        is_negated = piece[1] in "!^"
        return f"[{'^' * is_negated}{re.escape(piece[1 + is_negated : -1]).replace(chr(92) + '-', '-')}]"
    if len(piece) > 1 and piece[0] == "{":
        return f"(?:{'|'.join(''.join(map(_piece, _PIECES.findall(each))) for each in piece[1:-1].split(','))})"
    return re.escape(piece)
