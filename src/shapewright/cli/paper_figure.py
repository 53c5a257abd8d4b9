"""`shapewright paper figure ID... --gpu G`: figures of the paper predicted on any GPU, measured on the one at hand, drawn and compared."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, shown, unknown_name
from ..hardware.gpu import Gpu
from ..hardware.load import gpu_names
from ..paper.figure import Figure, all_figures, load_figure
from ..paper.plan import figure_points
from ..paper.reports import PAPER_DTYPE, FigureReport, figure_report
from ..write.output_file import refuse_overwriting
from .extras import needs_extra
from .options import Json
from .paper_sources import SourceFlags, paper_dtype, paper_gpus, paper_times
from .screen import page_width

EVERY = "all"
#: Appendix B: families of heads, drawn as one page too.
APPENDIX_B = tuple(str(number) for number in range(21, 48))


def _flag(text: str, **options: Any) -> Parameter:
    return Parameter(help=text, negative="", **options)


def forms_of(_type: Any, tokens: Sequence[Any]) -> tuple[str, ...]:
    """svg, png, csv and html, one or several with commas."""
    from ..report.paper_files import FORMS

    words = [each.strip().lower().removeprefix(".") for each in tokens[0].value.split(",")]
    for each in words:
        if each not in FORMS:
            raise unknown_name("form", each, FORMS, where="--form")
    return tuple(dict.fromkeys(words))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DrawFlags:
    """What is written where; nothing without -o."""

    output: Annotated[str | None, _flag("Folder for the figures; without it they are printed.", name=["--output", "-o"])] = None
    form: Annotated[
        tuple[str, ...] | None, _flag("svg, png, csv, html, with commas; default all.", converter=forms_of, n_tokens=1, show_default=False)
    ] = None
    force: Annotated[bool, _flag("Replace files that exist.")] = False

    @property
    def forms(self) -> tuple[str, ...]:
        """Those named, or all."""
        from ..report.paper_files import FORMS

        return self.form or FORMS

    def check(self) -> None:
        """Refuse places and forms before anything is computed."""
        idle = [flag for flag, value in (("--form", self.form), ("--force", self.force)) if value]
        if self.output is None:
            if idle:
                raise InputError(f"{idle[0]} is given without -o", hint="name a folder with -o DIR: no file is written")
            return
        if not self.output.strip():
            raise InputError("-o names nothing", hint="name a folder; . is the one you are in")
        folder = Path(self.output)
        if folder.exists() and not folder.is_dir():
            raise InputError("is no folder", where=self.output, hint="name a folder with -o")
        if not folder.is_dir() and not folder.parent.is_dir():
            raise InputError("the folder around it does not exist", where=self.output, hint="create it first")
        if {*self.forms} - {"csv"}:
            with needs_extra("report"):
                import altair  # noqa: F401
                import vl_convert  # noqa: F401


def paper_figure(
    *figure: Annotated[str, Parameter(help="Figures: 1, 7a, S4, ranges such as 21-47; all: every one. Left out: list them.")],
    flags: SourceFlags | None = None,
    dtype: Annotated[str, _flag("fp16, as in the paper, bf16, tf32 or fp32.")] = PAPER_DTYPE,
    logs: Annotated[str | None, _flag("Folder of the authors' logs (EleutherAI/cookbook, sizing/): gemm.csv, layers.csv.")] = None,
    draw: DrawFlags | None = None,
    json: Json = False,
) -> None:
    """Predict figures of the paper on any GPU, measure them on the one at hand, and set both beside the published points.

    Printed is what each source says at a few places, and how far the sources lie apart: error, order of the series, drops. With -o the
    figures are drawn with every point. --measured measures what the run file lacks; stopped, it goes on with --out. --rows takes runs that
    were measured before. --logs adds the authors' own log, with which predictions are compared at its own x.
    """
    own, drawing = flags or SourceFlags(), draw or DrawFlags()
    if not figure:
        if own != SourceFlags() or drawing != DrawFlags() or logs is not None or dtype != PAPER_DTYPE:
            raise InputError("no figure is named", hint="name some, such as 1 or 7a, or all")
        _list(json=json)
        return
    figures, dtype = named_figures(figure), paper_dtype(dtype)
    own.check()
    drawing.check()
    folder = None if logs is None else logs_folder(logs)
    gpus = paper_gpus(own, dtype)
    files: list[Path] = []
    if drawing.output is not None:
        _check_files(figures, drawing)
    times = paper_times(own, gpus, lambda _: figure_points(figures, dtype))
    reports = [figure_report(each, times, logs=folder, dtype=dtype) for each in figures]
    if drawing.output is not None:
        files = _write(reports, gpus, drawing)
    _print(reports, files, json=json)


def named_figures(names: Iterable[str]) -> list[Figure]:
    """The figures, each once, in the order named; `all` is every one."""
    words = [word for name in names for word in name.split(",") if word.strip()]
    found = [each for word in words for each in _figures(word.strip())]
    if not found:
        raise InputError("no figure is named", hint="`shapewright paper figure` lists them")
    return list({each.id: each for each in found}.values())


def _figures(word: str) -> Sequence[Figure]:
    """`all`, a range of numbers with its parts, or one figure."""
    if word.lower() == EVERY:
        return all_figures()
    ends = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})", word)
    if ends is None:
        return (_figure(word),)
    low, high = map(int, ends.groups())
    found = [each for each in all_figures() if each.id[0].isdecimal() and low <= int(each.id.rstrip("abcd")) <= high]
    if not found:
        raise InputError(f"there is no figure {word}", hint="`shapewright paper figure` lists them")
    return found


def _figure(word: str) -> Figure:
    """One figure; a GPU behind another one's name is told apart from a misspelt figure."""
    try:
        return load_figure(word)
    except InputError:
        if word.lower() not in gpu_names():
            raise
        raise InputError(f"{shown(word)} is a GPU, not a figure", hint="name several GPUs with commas: --gpu a100-40gb,h200") from None


def logs_folder(name: str) -> Path:
    """A folder that holds a log."""
    folder = Path(name)
    if not folder.is_dir():
        raise InputError("no such folder", where=name, hint="name the folder that holds gemm.csv and layers.csv")
    if not any((folder / each).is_file() for each in ("gemm.csv", "layers.csv")):
        raise InputError(
            "holds neither gemm.csv nor layers.csv", where=name, hint=f"name the folder of the authors' log, not {shown(name)}"
        )
    return folder


def _list(*, json: bool) -> None:
    if json:
        from ..report.json import to_json
        from ..report.paper_json import figure_list_document

        print(to_json(figure_list_document(all_figures())))
    else:
        from ..report.paper_text import figure_list

        print(figure_list(all_figures(), page_width()))


def _check_files(figures: Sequence[Figure], flags: DrawFlags) -> None:
    """Refuse files that exist before anything is measured, not after."""
    folder = Path(flags.output or "")
    names = [f"figure-{each.id}" for each in figures] + ([f"figures-{APPENDIX_B[0]}-{APPENDIX_B[-1]}"] if _has_page(figures) else [])
    for name in names if folder.is_dir() else []:
        for form in flags.forms:
            refuse_overwriting(folder / f"{name}.{form}", force=flags.force, place="folder")


def _write(reports: Sequence[FigureReport], gpus: Sequence[Gpu], flags: DrawFlags) -> list[Path]:
    """Every figure, and the page of Appendix B where all of it is there."""
    from ..report.paper_files import small_multiples, write_figure

    folder, forms = Path(flags.output or ""), flags.forms
    files = [
        path for each in _told(reports)
        for path in write_figure(each.figure, list(each.rows), folder, gpus=gpus, forms=forms, force=flags.force)
    ]  # fmt: skip
    if _has_page([each.figure for each in reports]):
        own = [each for each in reports if each.figure.id in APPENDIX_B]
        rows = [row for each in own for row in each.rows]
        files += small_multiples([each.figure for each in own], rows, folder, forms=forms, force=flags.force)
    return files


def _told(reports: Sequence[FigureReport]) -> Iterator[FigureReport]:
    """The reports, each named on a terminal while it is drawn: all of them take a minute."""
    is_terminal = len(reports) > 1 and sys.stderr.isatty()
    for place, each in enumerate(reports, start=1):
        if is_terminal:
            print(f"\rdrawing figure {each.figure.id}, {place} of {len(reports)} ", end="", file=sys.stderr, flush=True)
        yield each
    if is_terminal:
        print(file=sys.stderr)


def _has_page(figures: Sequence[Figure]) -> bool:
    return {*APPENDIX_B} <= {each.id for each in figures}


def _print(reports: Sequence[FigureReport], files: Sequence[Path], *, json: bool) -> None:
    if json:
        from ..report.json import to_json
        from ..report.paper_json import figures_document

        print(to_json(figures_document(reports, files)))
    elif files:
        print("\n".join(str(each) for each in files))
    else:
        from ..report.paper_text import figures_text

        print(figures_text(reports, width=page_width()))
