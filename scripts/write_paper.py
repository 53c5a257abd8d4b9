"""Writes docs/paper: the paper's figures and claims predicted, measured and judged, with their charts.

    python scripts/write_paper.py [LOGS_DIR]

From the runs in benchmarks/h200/paper, and of decoding in benchmarks/h200/decode, in about a minute; twice the same files. LOGS_DIR is a
folder of the authors' logs (gemm.csv and layers.csv): predictions are scored against them and the scores kept in docs/paper/errors.json,
which a build without the logs reads. Only profiles that ship are used, never the user's. Exit code 1 where a reading's condition does not
hold: it is left out of the pages then, and named. Needs the extra `report`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shapewright.hardware.load import load_gpu
from shapewright.paper.comparing import Comparison
from shapewright.paper.figure import all_figures
from shapewright.paper.reports import reports
from shapewright.paper.times import Predicted
from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report.paper_book import CHAPTERS, FIRST, Book, first_page
from shapewright.report.paper_book_claims import claims_page
from shapewright.report.paper_book_data import book_of
from shapewright.report.paper_book_figures import figure_page
from shapewright.report.paper_book_goals import goals_table
from shapewright.report.paper_book_images import write_images

ROOT = Path(__file__).parent.parent
BOOK, ROWS = ROOT / "docs/paper", ROOT / "benchmarks/h200/paper"
#: What this project's decoder was measured to gain in the cells of Figure S4.
DECODED = ROOT / "benchmarks/h200/decode/s4.jsonl.gz"
#: GPUs of which the authors' logs hold rows.
LOGGED = ("a100-40gb", "v100-16gb", "mi250x")


def main() -> None:
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and not Path(sys.argv[1]).is_dir()):
        sys.exit("usage: python scripts/write_paper.py [LOGS_DIR]")
    os.environ[FOLDER_VARIABLE] = ""
    BOOK.mkdir(parents=True, exist_ok=True)
    logs = log_errors(Path(sys.argv[1])) if len(sys.argv) == 2 else known_errors()
    book = book_of(
        sorted(ROWS.glob("*.jsonl*")),
        decoded=[DECODED],
        logs=logs,
        draw=lambda made: write_images(made, [load_gpu("a100-40gb"), load_gpu("h200")], BOOK),
    )
    write_pages(book)
    broken = [(told.id, text) for told in book.told.values() for text in told.broken]
    for name, text in broken:
        print(f"the reading of {name} is left out: {text!r} does not hold, or is not measured", file=sys.stderr)
    sys.exit(1 if broken else 0)


def write_pages(book: Book) -> None:
    pages = {
        FIRST: first_page(book, goals_table(book)),
        "claims.md": claims_page(book),
        **{page: figure_page(book, page) for page in CHAPTERS},
    }
    for name, text in pages.items():
        (BOOK / name).write_text(text, encoding="utf-8")
    num_images = len(set(book.images.values()))
    print(f"{BOOK}: {len(pages)} pages, {num_images} images, {sum(run.num_rows for run in book.runs):,} points")


def log_errors(folder: Path) -> list[dict[str, Any]]:
    """Scores of the predictions against the authors' logs, kept for builds without them; rounded, so that they are the same everywhere."""
    times = [Predicted(gpu=load_gpu(name)) for name in LOGGED]
    found = [each for figure in all_figures() if figure.logs for each in reports(figure, times, logs=folder) if each.source == "log"]
    kept = [_rounded(each) for each in found]
    (BOOK / "errors.json").write_text(json.dumps({"schema_version": 1, "errors": kept}, indent=1) + "\n", encoding="utf-8")
    return kept


def _rounded(found: Comparison) -> dict[str, Any]:
    """The score as a whole, without its series."""
    values = {name: value for name, value in asdict(found).items() if name not in ("series", "missed_drops")}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def known_errors() -> list[dict[str, Any]]:
    """Scores of an earlier build."""
    path = BOOK / "errors.json"
    return json.loads(path.read_text(encoding="utf-8"))["errors"] if path.is_file() else []


if __name__ == "__main__":
    main()
