"""The rules of the linter for people and programs: a list, and the page of one as plain text.

A page is Markdown of a few forms: paragraphs, which are wrapped anew; lists; headings; and tables and indented code, which stay as they
are. Marks of bold text are dropped, those of code are kept, since they tell a name from a word.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ..lint.rule import Rule
from .table import format_pairs

_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_ITEM = re.compile(r"([-*]|\d+\.) ")
_KEPT = ("    ", "|")


def rule_list(rules: Sequence[Rule], width: int) -> str:
    """A line or two for each rule: code, name and what it finds."""
    lines = format_pairs([(f"{rule.code}  {rule.name}", _plain(rule.summary)) for rule in rules], width)
    return "\n".join([*lines, "", *textwrap.wrap("`shapewright rule CODE` prints the page of one.", width)])


def rule_text(rule: Rule, width: int) -> str:
    """The page of one rule, lines at most `width` characters where words allow."""
    title = f"{rule.code} {rule.name}"
    return "\n".join([title, "=" * len(title), "", plain_page(rule.page, width)])


def plain_page(markdown: str, width: int) -> str:
    """A page without its marks of bold text, wrapped to `width`."""
    return "\n".join(_page(markdown, width))


def rule_document(rule: Rule) -> dict[str, Any]:
    """One rule for programs; `page` is Markdown."""
    return {"code": rule.code, "name": rule.name, "summary": rule.summary, "page": rule.page, "yields_to": list(rule.yields_to)}


def _page(markdown: str, width: int) -> Iterator[str]:
    """The lines of a page, its parts set off by empty lines."""
    for place, part in enumerate(re.split(r"\n[ \t]*\n", markdown.strip("\n"))):
        yield from [""] if place else []
        yield from _part(part.strip("\n"), width)


def _part(part: str, width: int) -> Iterator[str]:
    lines = part.splitlines()
    if all(line.startswith(_KEPT) for line in lines):
        yield from lines
    elif lines[0].startswith("#"):
        heading = _plain(lines[0].lstrip("# "))
        yield from (heading, "-" * len(heading))
    else:
        yield from (line for item in _items(lines) for line in _wrapped(item, width))


def _items(lines: Sequence[str]) -> Iterator[str]:
    """The items of a list, or the paragraph, each on one line."""
    item: list[str] = []
    for line in lines:
        if _ITEM.match(line.lstrip()) and item:
            yield " ".join(item)
            item = []
        item.append(line.strip())
    yield " ".join(item)


def _wrapped(text: str, width: int) -> list[str]:
    mark = _ITEM.match(text)
    indent = " " * (mark.end() if mark else 0)
    return textwrap.wrap(_plain(text), width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _plain(text: str) -> str:
    return _BOLD.sub(r"\1", text)
