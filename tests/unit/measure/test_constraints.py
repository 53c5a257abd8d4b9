"""Expressions of plans: what they compute, and that nothing hostile gets through or hangs."""

from __future__ import annotations

import contextlib
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.measure.constraints import Expression

FIELDS: dict[str, int | float | str | bool] = {"m": 12, "n": 64, "k": 7, "layout": "NT", "is_causal": True}

COMPUTED = {
    "m + n * k": 12 + 64 * 7,
    "n // k % 5 - -m": 64 // 7 % 5 + 12,
    "n / 128": 0.5,
    "m * n <= 2**30": True,
    "1 < m < n < 64": False,
    "layout in ('NT', 'NN') and not k % 7": True,
    "layout not in ['NT']": False,
    "layout == 'NN' or is_causal": True,
    "min(m, n, k) + max(m, 1) + abs(-k) + gcd(m, n)": 7 + 12 + 7 + 4,
    "m if k > 100 else n": 64,
    "2 ** -1": 0.5,
    "{1, 2} == 3": False,
}


@pytest.mark.parametrize("text", COMPUTED)
def test_what_an_expression_computes(text: str) -> None:
    assert Expression(text)(FIELDS) == COMPUTED[text]


def test_it_knows_the_fields_it_reads() -> None:
    assert Expression("min(m, n) > k").names == {"m", "n", "k"}


HOSTILE = [
    "__import__('os').system('true')", "m.__class__", "m[0]", "(lambda: 1)()", "[x for x in (1,)]", "open('/etc/passwd')", "eval('1')",
    "f'{m}'", "m := 3", "m is n", "~m", "m & n", "m << 10**9", "1 +", "", "   ", "import os", "min()", "min(m, key=n)", "min(*m)",
    "b'x'", "...",
    "None", "m @ n", "1j", "await m", "(yield)", "print(m)", "m\nn", "x" * 501,
    "(" * 250 + ")" * 250, "-" * 480 + "m", "not " * 120 + "m",
    "2" * 400,
]  # fmt: skip
UNCOMPUTABLE = [
    "9**9**9", "m ** n ** n", "10**400", "1e308 * 1e308", "(-8) ** 0.5", "m / 0", "m % 0", "n // (m - 12)", "'a' * 10", "layout * 9",
    "layout % m",
    "layout < m", "m in layout", "-layout", "min('a', 'b')", "gcd(0.5, 2)", "0 ** -1", "1.5 ** 1e9", "2.0 ** 5000", "m in n",
    "(1, 2) + (3,)",
    "unknown", "M > 1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_allowed_is_refused_before_anything_runs(text: str) -> None:
    try:
        compiled = Expression(text)
    except InputError as error:
        assert "\n" not in str(error)
    else:  # only long chains of the allowed operators come here
        assert text.startswith(("-", "not ")) and compiled(FIELDS) in (12, True)


@pytest.mark.parametrize("text", UNCOMPUTABLE)
def test_what_cannot_be_computed_is_an_input_error_that_quotes_it(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        Expression(text)(FIELDS)
    assert repr(text)[:50] in str(caught.value) and time.monotonic() - start < 5


@pytest.mark.parametrize("value", [3, None, ["m > 1"], {"m": 1}])
def test_only_text_is_an_expression(value: object) -> None:
    with pytest.raises(InputError, match="is no expression"):
        Expression(value)


atoms = st.sampled_from(["m", "n", "k", "layout", "1", "0", "7", "2.5", "'NT'", "99999999999"])
operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", "==", "in", "and", "or", "not in"])


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(atoms, lambda part: st.tuples(part, operators, part).map(lambda each: f"({each[0]} {each[1]} {each[2]})"), max_leaves=12)
)
def test_any_expression_of_the_grammar_gives_a_bounded_value_or_an_input_error(text: str) -> None:
    try:
        value = Expression(text)(FIELDS)
    except InputError:
        return
    assert isinstance(value, int | float | str | bool)
    assert isinstance(value, str) or (math.isfinite(value) and abs(value) <= 2**128)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        Expression(text)(FIELDS)
