"""The images of docs/paper: each figure as SVG, as PNG where the SVG is large, and the page of small multiples of Appendix B.

    write_images(reports, gpus, folder)       # -> {"7a": "images/figure-7a.svg", ..., "figures-21-47": "images/figures-21-47.png"}

Predicted curves of families and of close-ups are drawn at the x that are measured, so that the files stay small. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..hardware.gpu import Gpu
from ..paper.curves import curves
from ..paper.reports import FigureReport
from ..paper.rows import Row
from .paper_book import APPENDIX, CHAPTERS, MULTIPLES
from .paper_files import Drawn, drawn_figure, drawn_multiples, png_bytes, svg_bytes

FOLDER = "images"
#: Bytes of an SVG beyond which a PNG takes its place, and pixels of the PNG to one of the SVG.
MOST_SVG, PNG_SCALE = 150_000, 1.5


def write_images(reports: Mapping[str, FigureReport], gpus: Sequence[Gpu], folder: Path) -> dict[str, str]:
    """Write every image into `folder`/images, replacing what is there; the places as the pages name them."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    found = {
        figure: write_image(drawn_figure(report.figure, drawn_rows(report), gpus), folder, f"figure-{figure}")
        for figure, report in reports.items()
    }
    own = [reports[figure] for figure in CHAPTERS[APPENDIX][1]]
    rows = [row for report in own for row in drawn_rows(report)]
    found[MULTIPLES] = write_image(drawn_multiples([report.figure for report in own], rows), folder, MULTIPLES)
    return found


def drawn_rows(report: FigureReport) -> list[Row]:
    """The report's rows; of a figure by families the predictions at the x that are measured alone."""
    if report.figure.split is None:
        return list(report.rows)
    measured = {(curve.name, item.x) for curve in curves(report.figure, is_measured=True) for item in curve.items}
    return [row for row in report.rows if row.source != "predicted" or (row.series, row.x) in measured]


def write_image(drawn: Drawn, folder: Path, stem: str) -> str:
    """SVG, or PNG where that is too large; the other form, left from an earlier build, is removed."""
    svg = svg_bytes(drawn)
    is_small = len(svg) <= MOST_SVG
    content, form, other = (svg, "svg", "png") if is_small else (png_bytes(drawn, PNG_SCALE), "png", "svg")
    (folder / FOLDER / f"{stem}.{other}").unlink(missing_ok=True)
    name = f"{FOLDER}/{stem}.{form}"
    (folder / name).write_bytes(content)
    return name
