"""`shapewright rule`: the list of rules, a page, and what an unknown name offers."""

from __future__ import annotations

import re

import pytest

from shapewright.lint.rule import load_rules


def test_the_list(cli) -> None:
    answer = cli("rule")
    assert answer.code == 0
    assert all(f"{rule.code}  {rule.name} " in answer.out for rule in load_rules())
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["SW101", "sw101", "VocabNotPadded", "vocabnotpadded"])
def test_a_page_by_code_or_name(cli, name: str) -> None:
    answer = cli("rule", name)
    assert answer.code == 0
    assert answer.out.startswith("SW101 VocabNotPadded\n====") and "\nFix. The next multiple of 64" in answer.out
    assert "**" not in answer.out and max(map(len, answer.out.splitlines())) <= 80


def test_the_page_fits_the_terminal(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = cli("rule", "SW101").out.count("\n")
    monkeypatch.setenv("COLUMNS", "50")
    narrow = cli("rule", "SW101").out
    assert max(map(len, narrow.splitlines())) <= 50 and narrow.count("\n") > wide


def test_rules_for_programs(cli) -> None:
    document = cli("rule", "--json").document
    assert [rule["code"] for rule in document["rules"]] == [rule.code for rule in load_rules()]
    assert document["schema_version"] == 1
    (one,) = cli("rule", "SW101", "--json").document["rules"]
    assert one["name"] == "VocabNotPadded" and "**Fix.**" in one["page"] and one["page"].startswith(one["summary"])


@pytest.mark.parametrize(
    "name, offer",
    [
        ("SW1O1", "SW101"),
        ("VocabNotPaded", "VocabNotPadded"),
        ("SW999", f"{len(load_rules())} are known, for example SW101, SW102, SW103"),
        ("Zzz", f"{len(load_rules())} are known, for example AttentionUnfused"),
    ],
)
def test_an_unknown_rule_offers_the_nearest(cli, name: str, offer: str) -> None:
    answer = cli("rule", name)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "unknown rule" in answer.err and offer in answer.err


def test_no_name_at_all(cli) -> None:
    assert "error: '' names no rule; give a code such as SW101" in cli("rule", "").err


@pytest.mark.parametrize("word, codes", [("SW1", "SW1"), ("sw10", "SW10"), ("SW", "SW"), ("all", "SW")])
def test_the_beginning_of_codes_lists_them(cli, word: str, codes: str) -> None:
    """As `lint --select` takes it."""
    expected = [rule.code for rule in load_rules() if rule.code.startswith(codes)]
    listed = cli("rule", word).out
    assert re.findall(r"^(SW\d+)  \w", listed, re.MULTILINE) == expected and "====" not in listed
    assert [rule["code"] for rule in cli("rule", word, "--json").document["rules"]] == expected


def test_two_codes_are_refused(cli) -> None:
    assert cli("rule", "SW101", "SW102").code == 2
