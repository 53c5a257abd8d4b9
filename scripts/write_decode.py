"""Writes docs/decode.md, its charts and the README's lines on it: what was measured of decoding, from the runs in benchmarks/h200/decode.

    python scripts/write_decode.py [ROWS_DIR [DOCS_DIR]]

Twice the same files. The README's lines stand between two marks, and only a build of the project's own page writes them. Only profiles that
ship are used, never the user's. Needs the extra `report`. Errors: a folder without runs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from shapewright.decode.bench import GRIDS
from shapewright.decode.bench_rows import read_checks, read_every_row
from shapewright.predict.profiles import FOLDER_VARIABLE
from shapewright.report.accuracy_chart import save_chart
from shapewright.report.decode_cells import Answer, answers
from shapewright.report.decode_chart import decode_chart, is_drawn
from shapewright.report.decode_page import decode_page, readme_lines

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GAIN = re.compile(r"(<!-- decode: scripts/write_decode.py -->\n).*?(<!-- end of decode -->\n)", re.DOTALL)
ROWS, DOCS = ROOT / "benchmarks/h200/decode", ROOT / "docs"


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 2 or (arguments and not Path(arguments[0]).is_dir()):
        sys.exit("usage: python scripts/write_decode.py [ROWS_DIR [DOCS_DIR]]")
    os.environ[FOLDER_VARIABLE] = ""
    folder, docs = (Path(given) for given in [*arguments, *(ROWS, DOCS)[len(arguments) :]])
    paths = sorted(folder.glob("*.jsonl*"))
    if not paths:
        sys.exit(f"{folder}: no runs; measure with `shapewright decode --out RUN.jsonl`")
    told = answers(row for path in paths for row in read_every_row(path))
    checks = [check for path in paths for check in read_checks(path)]
    images = draw(told, docs)
    files = [f"[`{path.name}`](../benchmarks/h200/decode/{path.name})" for path in paths]
    (docs / "decode.md").write_text(decode_page(told, checks, images=images, files=files), encoding="utf-8")
    print(docs / "decode.md")
    if docs == DOCS:
        README.write_text(with_gain(README.read_text(encoding="utf-8"), told, images), encoding="utf-8")


def with_gain(text: str, told: Sequence[Answer], images: Mapping[str, str]) -> str:
    """The README with what the rows say between its marks."""
    first = next(iter(images.values()), None)
    lines = readme_lines(told, None if first is None else f"docs/{first}")
    return GAIN.sub(lambda found: f"{found[1]}{lines}{found[2]}", text)


def draw(told: Sequence[Answer], docs: Path) -> dict[str, str]:
    """A chart for each model outside the Pythia suite, of the cells of S4 where it has some; its path from the page by what it shows."""
    images = {}
    (docs / "images").mkdir(parents=True, exist_ok=True)
    for answer in told:
        cells = [cell for cell in answer.cells if is_drawn(cell)]
        if answer.model.startswith("pythia") or not cells:
            continue
        cells = [cell for cell in cells if (cell.batch, cell.context) in GRIDS["s4"]] or cells
        name = f"images/decode-{re.sub(r'[^A-Za-z0-9.-]', '-', answer.model)}{'' if answer.dtype == 'bf16' else f'-{answer.dtype}'}.svg"
        save_chart(decode_chart([replace(answer, cells=tuple(cells))]), docs / name)
        images[
            f"{answer.model} in {answer.dtype} on {answer.gpu}: tokens a second over those of Hugging Face's generate, by batch and context"
        ] = name
    return images


if __name__ == "__main__":
    main(sys.argv[1:])
