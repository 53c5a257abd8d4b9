"""Writes the shipped accuracy results, their page and their chart from measured rows.

    python scripts/write_accuracy.py DATA_DIR

DATA_DIR holds h200/, gpu/ and paper/. Written are src/shapewright/calibrate/accuracy.json, docs/accuracy.md and docs/images/accuracy.svg.
Only profiles that ship are used, never the user's. Needs the extras `calibrate` and `report`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from shapewright.calibrate.results import BINS_PER_DECADE, SHIPPED, accuracy_document, document_text
from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report.accuracy import accuracy_text
from shapewright.report.accuracy_chart import accuracy_chart, save_chart
from shapewright.report.accuracy_page import CHART, accuracy_page

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/write_accuracy.py DATA_DIR")
    os.environ[FOLDER_VARIABLE] = ""
    document = accuracy_document(Path(sys.argv[1]), progress=lambda step: print(step, file=sys.stderr))
    SHIPPED.write_text(document_text(document), encoding="utf-8")
    (DOCS / "accuracy.md").write_text(accuracy_page(document), encoding="utf-8")
    save_chart(accuracy_chart(document, BINS_PER_DECADE), DOCS / CHART)
    print(accuracy_text(document, width=120))


if __name__ == "__main__":
    main()
