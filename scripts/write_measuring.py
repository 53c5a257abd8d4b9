"""Writes docs/measuring.md, its charts and the shipped misalignment map from the runs of a GPU.

    python scripts/write_measuring.py [benchmarks/h200]

Written are docs/measuring.md, docs/images/misalignment.svg and head-sizes.svg (where their runs are there) and misalignment.parquet
beside the runs. Only profiles that ship are used, never the user's. Needs the extras `calibrate` and `report`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from shapewright.calibrate.measuring.document import measuring_document
from shapewright.calibrate.measuring.shipped_map import MAP_FILE, write_map
from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report.accuracy_chart import save_chart
from shapewright.report.measuring_page import HEAD_CHART, MAP_CHART, measuring_page
from shapewright.report.misalignment_chart import head_chart, misalignment_chart

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def main() -> None:
    if len(sys.argv) > 2:
        sys.exit("usage: python scripts/write_measuring.py [benchmarks/GPU]")
    os.environ[FOLDER_VARIABLE] = ""
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else ROOT / "benchmarks/h200"
    document = measuring_document(folder)
    (DOCS / "measuring.md").write_text(measuring_page(document), encoding="utf-8")
    if document["misalignment"]["points"]:
        save_chart(misalignment_chart(document["misalignment"]["points"]), DOCS / MAP_CHART)
        write_map(document, folder / MAP_FILE)
    if document["heads"]["points"]:
        save_chart(head_chart(document["heads"]["points"]), DOCS / HEAD_CHART)
    print(f"{DOCS / 'measuring.md'}: {len(document['runs'])} runs, {sum(run['num_rows'] for run in document['runs'])} points")


if __name__ == "__main__":
    main()
