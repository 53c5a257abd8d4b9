"""Writes docs/zoo.md: what the linter says of every model of the catalogue. Only profiles that ship are used, never the user's.

python scripts/write_zoo.py
"""

from __future__ import annotations

import os
from pathlib import Path

from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report.zoo_page import zoo_page

PAGE = Path(__file__).parent.parent / "docs/zoo.md"


def main() -> None:
    os.environ[FOLDER_VARIABLE] = ""
    PAGE.write_text(zoo_page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
