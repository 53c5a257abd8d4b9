"""Which rules words mean, and what is refused."""

from __future__ import annotations

import pytest

from shapewright.errors import InputError
from shapewright.lint.rule import find_rule, load_rules, matching_rules, select_rules


def codes(*arguments: object) -> list[str]:
    return [rule.code for rule in select_rules(*arguments)]  # type: ignore[arg-type]


def beginning(start: str) -> list[str]:
    return [rule.code for rule in load_rules() if rule.code.startswith(start)]


def test_a_text_is_one_word() -> None:
    """Not a list of letters."""
    assert codes("SW1") == codes(["SW1"]) == beginning("SW1")
    assert codes((), "SW1") == codes((), ["SW1"]) == [code for code in beginning("SW") if not code.startswith("SW1")]
    assert codes("VocabNotPadded", "SW4") == ["SW101"]


def test_none_selected_are_all() -> None:
    assert codes() == codes("all") == beginning("SW")


@pytest.mark.parametrize(
    "select, ignore", [((), "ALL"), ("SW1", "SW"), (["SW101"], ["VocabNotPadded"]), ("ALL", [f"SW{n}" for n in "123456"])]
)
def test_no_rule_is_left(select, ignore) -> None:
    with pytest.raises(InputError, match=r"^no rule is left: .* ignores? all that .* selects?; ignore fewer rules, or select others$"):
        select_rules(select, ignore)


@pytest.mark.parametrize(
    "word, offer",
    [
        ("SW999", "SW101, SW102, SW103"),
        ("SWX", "did you mean SW602"),
        ("7", "SW101, SW102, SW103"),
        ("Nothing", "AttentionUnfused, BatchedHeadsUneven"),
    ],
)
def test_an_unknown_code_offers_codes_and_a_name_names(word, offer) -> None:
    for find in (find_rule, matching_rules):
        with pytest.raises(InputError) as error:
            find(word)
        assert error.value.hint is not None and offer in error.value.hint
        assert ("SW" in error.value.hint) == ("SW" in offer) and str(2 * len(load_rules())) not in error.value.hint
