"""`shapewright rule [CODE]`: what the linter looks for, or all that is known of one fault."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..lint.rule import find_rule, load_rules
from .options import Json
from .screen import page_width


def rule(
    code: Annotated[str | None, Parameter(help="A rule's code or name; left out: all rules.")] = None, /, *, json: Json = False
) -> None:
    """List the rules of `lint`, or print the page of one: what happens, the fix, the source, where it holds, what was measured."""
    chosen = load_rules() if code is None else (find_rule(code),)
    if json:
        from ..report.json import SCHEMA_VERSION, to_json
        from ..report.rule_page import rule_document

        print(to_json({"schema_version": SCHEMA_VERSION, "rules": [rule_document(each) for each in chosen]}))
        return
    from ..report.rule_page import rule_list, rule_text

    print(rule_list(chosen, page_width()) if code is None else rule_text(chosen[0], page_width()))
