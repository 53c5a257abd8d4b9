"""When a width is 8h/3 left as it came."""

from __future__ import annotations

import pytest

from shapewright.lint.rules.sw104_gated_width_unrounded import is_unrounded


@pytest.mark.parametrize("width", [10922, 10923, 10924, 10920, 10928, 10912])
def test_the_kin_of_8h_3(width: int) -> None:
    assert is_unrounded(width, 4096)


@pytest.mark.parametrize(
    ("width", "why"),
    [
        (10944, "a multiple of 64"),
        (11008, "Llama-2-7B's"),
        (10926, "a multiple of 2, but not the nearest to 10922.67"),
        (10936, "a multiple of 8, but not the nearest"),
        (14336, "3.5 h"),
    ],
)
def test_other_widths(width: int, why: str) -> None:
    assert not is_unrounded(width, 4096), why


def test_8h_3_may_be_a_multiple_of_64_by_itself() -> None:
    assert 8 * 3072 // 3 == 8192
    assert not is_unrounded(8192, 3072)
