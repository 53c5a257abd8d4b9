"""How wide the page is: the terminal's width (or COLUMNS), 80 characters where the output is no terminal."""

from __future__ import annotations

import shutil

MIN_WIDTH = 40


def page_width() -> int:
    """Characters of a line."""
    return max(MIN_WIDTH, shutil.get_terminal_size((80, 24)).columns)
