"""Pages of rules as plain text: what is wrapped anew, what stays, and what goes."""

from __future__ import annotations

import pytest

from shapewright.lint.rule import Rule, load_rules
from shapewright.report.rule_page import plain_page, rule_document, rule_list, rule_text

PAGE = """\
The vocabulary is odd.

The logits of a `decoder` are one product,
which **falls
back**.

## Cases

- the first, which is longer than the page is wide by far
- the second

    $ shapewright lint x

| a | b |
|---|---|
| 1 | 2 |

**Fix.** The next multiple of 64.
"""
EXPECTED = """\
The vocabulary is odd.

The logits of a `decoder` are one
product, which falls back.

Cases
-----

- the first, which is longer than the
  page is wide by far
- the second

    $ shapewright lint x

| a | b |
|---|---|
| 1 | 2 |

Fix. The next multiple of 64."""


def test_a_page_of_every_form() -> None:
    assert plain_page(PAGE, 40) == EXPECTED


@pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.code)
def test_every_rule_reads_as_plain_text(rule: Rule) -> None:
    text = rule_text(rule, 80)
    assert text.splitlines()[0] == f"{rule.code} {rule.name}"
    assert "**" not in text and rule.summary.split()[0] in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("    ", "|"))) <= 80


def test_the_list_names_every_rule_with_what_it_finds() -> None:
    text = rule_list(load_rules(), 80)
    flat = " ".join(text.split())
    assert all(rule.code in text and rule.name in text for rule in load_rules())
    assert "SW101 VocabNotPadded The vocabulary is no multiple of what the" in flat
    assert max(map(len, text.splitlines())) <= 80


def test_a_rule_for_programs() -> None:
    rule = load_rules()[0]
    document = rule_document(rule)
    assert (document["code"], document["name"], document["summary"]) == (rule.code, rule.name, rule.page.splitlines()[0])
    assert document["page"] == rule.page and isinstance(document["yields_to"], list)
