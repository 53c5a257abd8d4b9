"""Figures of the paper as files: SVG, PNG, CSV and an interactive page that needs no network.

    write_figure(load_figure("7a"), rows, folder)                 # -> [folder/figure-7a.svg, .png, .csv, .html]
    write_figure(load_figure("3"), [], folder, gpus=[load_gpu("h200")])          # figures 3 and 4 are drawn from GPUs, not from rows
    small_multiples([load_figure(str(n)) for n in range(21, 48)], rows, folder)  # -> [folder/figures-21-47.svg, ...]

`rows` are of any sources and GPUs, those of other figures are left out. Nothing is overwritten without `force`: every place is checked
before the first file is written. The folder is made where its parent exists. CSV: one row a value, empty where something is not known; of
figures 3 and 4 what is drawn. Errors: a place that holds something, a folder that cannot be made, an unknown form, a figure without rows;
altair or vl-convert missing (the `report` extra).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingError, unknown_name
from ..hardware.gpu import Gpu
from ..paper.figure import Figure
from ..paper.rows import Row
from ..write.output_file import complete_file, refuse_overwriting
from .accuracy_chart import EXTRA_HINT
from .paper_chart import figure_chart
from .paper_layer import layer_svg, layer_table, model_operators, paper_shape
from .paper_marks import own_rows
from .paper_multiples import multiples_chart
from .paper_tiling import PRODUCT, tiling, tiling_svg, tiling_table

FORMS = ("svg", "png", "csv", "html")
#: Pixels of the PNG to one of the SVG.
PNG_SCALE = 2
#: Stands for "<" in a page's data until the page is whole, so that no text can end its script.
_LESS_THAN = "\ue03c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A figure before it is written: its specification or its SVG, and its table."""

    title: str
    table: tuple[Sequence[str], Sequence[Sequence[object]]]
    specification: Mapping[str, Any] | None = None
    svg: str = ""


def write_figure(
    figure: Figure, rows: Sequence[Row], folder: Path, *, gpus: Sequence[Gpu] = (), forms: Sequence[str] = FORMS, force: bool = False
) -> list[Path]:
    """Write one figure as `figure-ID.FORM`; the paths, in the order of `forms`. `gpus` are for figure 3."""
    return _write(lambda: drawn_figure(figure, rows, gpus), f"figure-{figure.id}", folder, forms, force=force)


def small_multiples(
    figures: Sequence[Figure], rows: Sequence[Row], folder: Path, *, forms: Sequence[str] = FORMS, force: bool = False
) -> list[Path]:
    """Write figures 21 to 47 (or any sweeps) as one page of small charts, `figures-21-47.FORM`; the paths, in the order of `forms`."""
    if not figures:
        raise InputError("no figures to draw", hint="name figures 21 to 47, or some of them")
    stem = f"figures-{figures[0].id}-{figures[-1].id}"
    return _write(lambda: drawn_multiples(figures, rows), stem, folder, forms, force=force)


def drawn_figure(figure: Figure, rows: Sequence[Row], gpus: Sequence[Gpu] = ()) -> Drawn:
    """What is to be written of a figure."""
    title = f"Figure {figure.id}. {figure.title}"
    if figure.chart == "tiling":
        if not gpus:
            raise InputError(f"figure {figure.id} is drawn for a GPU", hint="name one or more GPUs")
        tilings = [tiling(PRODUCT, gpu) for gpu in gpus]
        return Drawn(title=title, table=tiling_table(tilings), svg=tiling_svg(figure, tilings))
    if figure.chart == "architecture":
        shape = paper_shape()
        operators = model_operators(shape)
        return Drawn(title=title, table=layer_table(operators), svg=layer_svg(figure, shape, operators))
    # Not validated: the schema's check of thousands of records takes ten times as long as the drawing, which refuses what it cannot read.
    return Drawn(title=title, table=rows_table(own_rows(figure, rows)), specification=figure_chart(figure, rows).to_dict(validate=False))


def drawn_multiples(figures: Sequence[Figure], rows: Sequence[Row]) -> Drawn:
    """What is to be written of a page of small charts."""
    ids = [figure.id for figure in figures]
    own = [row for row in rows if row.figure in ids]
    return Drawn(title=f"Figures {ids[0]} to {ids[-1]}", table=rows_table(own), specification=multiples_chart(figures, own))


def svg_bytes(drawn: Drawn) -> bytes:
    """The figure as SVG."""
    return (drawn.svg or _vl_convert().vegalite_to_svg(drawn.specification)).encode()


def png_bytes(drawn: Drawn, scale: float = PNG_SCALE) -> bytes:
    """The figure as PNG, `scale` pixels to one of the SVG."""
    if drawn.svg:
        return _vl_convert().svg_to_png(drawn.svg, scale=scale)
    return _vl_convert().vegalite_to_png(drawn.specification, scale=scale)


def rows_table(rows: Iterable[Row]) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    """Every row, a column a field; what is not known is empty."""
    return [field.name for field in fields(Row)], [["" if value is None else value for value in astuple(row)] for row in rows]


def _write(draw: Callable[[], Drawn], stem: str, folder: Path, forms: Sequence[str], *, force: bool) -> list[Path]:
    """Check every place, draw, write."""
    for form in forms:
        if form not in FORMS:
            raise unknown_name("form", form, FORMS, field="forms")
    _check(folder)
    paths = [folder / f"{stem}.{form}" for form in forms]
    for path in paths if folder.exists() else ():
        refuse_overwriting(path, force=force, place="folder")
    drawn = draw()
    contents = [_WRITERS[form](drawn) for form in forms]
    _make(folder)
    for path, content in zip(paths, contents, strict=True):
        try:
            with complete_file(path) as sink:
                sink.buffer.write(content)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path), hint="make room, or name another folder") from None
    return paths


def _check(folder: Path) -> None:
    """Refuse a place that is no folder and cannot become one."""
    if folder.exists() and not folder.is_dir():
        raise InputError("is not a folder", where=str(folder), hint="name a folder for the files")
    if not folder.parent.is_dir():
        raise InputError("its folder does not exist", where=str(folder), hint="create it first")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", where=str(folder), hint="name another folder") from None


def _csv(drawn: Drawn) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    header, rows = drawn.table
    writer.writerow(header)
    writer.writerows(rows)
    return sink.getvalue().encode()


def _html(drawn: Drawn) -> bytes:
    """One page that holds its libraries; a drawing shows its hints where the pointer rests."""
    title = f"<title>{escape(drawn.title)}</title>"
    if drawn.svg:
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="UTF-8">{title}</head>\n<body>\n{drawn.svg}</body>\n</html>\n'.encode()
        )
    # The page's data are the last text in a script: "<" in them is written so that a browser cannot take it for markup.
    safe = json.loads(json.dumps(drawn.specification).replace("<", _LESS_THAN))
    page = _vl_convert().vegalite_to_html(safe, bundle=True)
    return page.replace(_LESS_THAN, "\\u003c").replace("<head>", f"<head>{title}", 1).encode()


def _vl_convert() -> Any:
    """vl-convert, or the error that names the extra."""
    try:
        import vl_convert
    except ImportError:
        raise MissingError("drawing a chart needs vl-convert", hint=EXTRA_HINT) from None
    return vl_convert


_WRITERS: Mapping[str, Callable[[Drawn], bytes]] = {"svg": svg_bytes, "png": png_bytes, "csv": _csv, "html": _html}
