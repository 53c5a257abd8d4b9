"""docs/zoo.md is what the linter says now, section by section."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.report.zoo_page import CORNERS, Corner, corner_text

PAGE = Path(__file__).parents[2] / "docs/zoo.md"


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.title)
@pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the tests")
def test_the_page_is_true_to_the_code(corner: Corner) -> None:
    """After a change that is meant: python scripts/write_zoo.py."""
    page = PAGE.read_text(encoding="utf-8")
    section = page[page.index(f"## {corner.title}\n") :].partition("\n## ")[0].rstrip("\n")
    assert section == corner_text(corner).rstrip("\n")
