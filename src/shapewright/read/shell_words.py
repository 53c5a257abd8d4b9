"""Shell scripts cut into commands of words, by position only: nothing is run and nothing is looked up.

A `Word` keeps its raw text, quotes and `$` included, and its line; `shell.py` expands it. Errors: a quote or bracket that never
closes is an `InputError` with the line where it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InputError
from .located import place

_OPERATORS = "\n;&|<>()"
#: A redirection with the number of what it redirects: 2>, >>, &>, 2>&, <, <<<. Its target is the next word, or the rest of this one.
REDIRECTION = re.compile(r"\d*(?:<<<|<<-?|[<>]&|<>|>>|>\||[<>])|&>>?")
_BRACKETS = {"(": ")", "{": "}"}
MAX_DEPTH = 50
_ARRAY_START = re.compile(r"[A-Za-z_]\w*\+?=$")


@dataclass(frozen=True, slots=True)
class Word:
    """Raw text of a word and its line; `is_operator` for ; & | ( ), newlines and redirections."""

    text: str
    line: int
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Words up to the next separator, without redirections and their targets.

    `joint` is the operator before it (`&&`, `||`, or a separator); an array assignment NAME=( ... ) is the word NAME= followed by the
    array's words, with `is_array`.
    """

    words: tuple[Word, ...]
    joint: str
    is_array: bool = False


def closing(text: str, start: int) -> int | None:
    """Position after the bracket or quote that closes the one at `start`; None if the text ends before."""
    opener = text[start]
    if opener in "'`":
        end = text.find(opener, start + 1)
        return None if end < 0 else end + 1
    awaited = [_BRACKETS.get(opener, opener)]
    at = start + 1
    while at < len(text) and len(awaited) <= MAX_DEPTH:
        character = text[at]
        if character == "\\":
            at += 1
        elif character == awaited[-1]:
            awaited.pop()
            if not awaited:
                return at + 1
        elif character == "'" and awaited[-1] != '"':
            end = text.find("'", at + 1)
            if end < 0:
                return None
            at = end
        elif character == '"' or (character in _BRACKETS and awaited[-1] != '"') or text[at - 1 : at + 1] in ("$(", "${"):
            awaited.append(_BRACKETS.get(character, character))
        at += 1
    return None


def words(text: str, where: str) -> Iterator[Word]:
    """The words and operators of a script; comments and line continuations are dropped."""
    at, line = 0, 1
    while at < len(text):
        character = text[at]
        if text.startswith("\\\n", at):
            at, line = at + 2, line + 1
        elif character in " \t\r":
            at += 1
        elif character == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif match := REDIRECTION.match(text, at):
            yield Word(match[0], line, is_operator=True)
            at = match.end()
        elif character in _OPERATORS:
            operator = character * (2 if text.startswith(character * 2, at) and character in "&|" else 1)
            yield Word(operator, line, is_operator=True)
            at, line = at + len(operator), line + (character == "\n")
        else:
            end = _word_end(text, at, place(where, line))
            yield Word(text[at:end], line)
            line += text.count("\n", at, end)
            at = end


def _word_end(text: str, start: int, where: str) -> int:
    at = start
    while at < len(text) and text[at] not in " \t\r" + _OPERATORS:
        opens = text[at] in "'\"`" or (text[at] in _BRACKETS and text[at - 1 : at] == "$")
        if text[at] == "\\":
            at += 2
        elif opens:
            end = closing(text, at)
            if end is None:
                raise InputError(f"the {text[at]} opened here never closes", where=where, hint="is the script cut off?")
            at = end
        elif text[at] == "$" and text[at + 1 : at + 2] == "(":
            at += 1
            end = closing(text, at)
            if end is None:
                raise InputError("the $( opened here never closes", where=where, hint="is the script cut off?")
            at = end
        else:
            at += 1
    return min(at, len(text))


def is_redirected_to(word: str) -> bool:
    """Whether a word after a redirection is its target: a flag is none, since `<path>` in a script is a blank to be filled in."""
    return not word.startswith("--")


def commands(text: str, where: str) -> Iterator[Command]:
    """Simple commands in order; array assignments are recognised and span lines."""
    current: list[Word] = []
    array: list[Word] | None = None
    joint = "\n"
    is_target = False
    for word in words(text, where):
        was_target, is_target = is_target, array is None and word.is_operator and REDIRECTION.fullmatch(word.text) is not None
        if is_target or (was_target and is_redirected_to(word.text) and not word.is_operator):
            continue
        if array is not None:
            if word.is_operator and word.text == ")":
                yield Command(tuple(array), joint, is_array=True)
                array = None
            elif not word.is_operator:
                array.append(word)
        elif word.is_operator and word.text == "(" and current and _ARRAY_START.match(current[-1].text):
            array = [current.pop()]
            current = []
        elif word.is_operator:
            if current:
                yield Command(tuple(current), joint)
                current = []
            joint = word.text
        else:
            current.append(word)
    if array is not None:
        raise InputError("the ( opened here never closes", where=place(where, array[0].line), hint="is the script cut off?")
    if current:
        yield Command(tuple(current), joint)
