"""`shapewright rule [CODE]`: what the linter looks for, or all that is known of one fault."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..lint.rule import Rule, load_rules, matching_rules
from .options import Json
from .screen import page_width

Code = Annotated[str | None, Parameter(help="A rule's code or name, or the beginning of some codes (SW1); left out: all.")]


def rule(code: Code = None, /, *, json: Json = False) -> None:
    """List the rules of `lint`, or print the page of one: what happens, the fix, the source, where it holds, what was measured."""
    chosen = load_rules() if code is None else matching_rules(code)
    if json:
        from ..report.json import SCHEMA_VERSION, to_json
        from ..report.rule_page import rule_document

        print(to_json({"schema_version": SCHEMA_VERSION, "rules": [rule_document(each) for each in chosen]}))
        return
    from ..report.rule_page import rule_list, rule_text

    print(rule_text(chosen[0], page_width()) if _is_one(chosen, code) else rule_list(chosen, page_width()))


def _is_one(chosen: tuple[Rule, ...], word: str | None) -> bool:
    """Whether the word names one rule, rather than the beginning of its code."""
    return word is not None and word.lower() in (chosen[0].code.lower(), chosen[0].name.lower())
