"""A figure by every source that is there, and how far they lie apart: what the report of a figure and its page in the book read.

    report = figure_report(load_figure("5b"), [Predicted(gpu=load_gpu("a100-40gb"))], logs=Path("logs"))
    report.rows, report.comparisons, report.remarks

Predictions are set beside what was measured on the same GPU and beside the authors' log of it (both at the x of the other side, on the
figure's grid or not), and beside the points read off the paper's picture, to which a curve is read by straight lines. Measurements are set
beside log and picture alike. Doubtful points are compared with nothing; where the authors' notebook has a figure's values, they stand for
the picture. Figures 13 and S4 leave batch, prompt and GPU unsaid, so that their pictures are compared with nothing either. Errors are in
percent, or in points of a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..hardware.gpu import Gpu
from .comparing import Comparison, compare
from .curves import Curve, curve_at, curves
from .decoders import has_decoder
from .figure import Figure
from .logs import AsLogged, log_rows
from .rows import Row, curve_rows, figure_rows, published_rows
from .times import AtClocks, Measured, Predicted, Times

#: The paper's number format: its picture and its authors' log say nothing of another.
PAPER_DTYPE = "fp16"
#: Charts whose picture leaves unsaid what was run.
UNSTATED = ("latency", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureReport:
    """A figure with its rows of every source, how they compare, and what could not be compared."""

    figure: Figure
    dtype: str
    gpus: tuple[Gpu, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...]


def figure_report(figure: Figure, times: Sequence[Times], *, logs: Path | None = None, dtype: str = PAPER_DTYPE) -> FigureReport:
    """The figure by all of `times` (predicted or measured, of one GPU or several), the picture, and the log in the folder `logs`."""
    own = [figure_rows(figure, each, dtype) for each in times]
    said = published_rows(figure)
    logged = log_rows(figure, logs) if logs is not None else []
    gpus = tuple({each.gpu.name: each.gpu for each in times}.values())
    beside = [row for rows in (said, logged) for row in _shown_beside(figure, rows, [gpu.name for gpu in gpus])]
    compared = _comparisons(figure, times, own, [*drawn(figure, said), *logged], dtype)
    remarks = _remarks(figure, times, own, [*said, *logged], dtype)
    rows = (*(row for rows in own for row in rows), *beside)
    return FigureReport(figure=figure, dtype=dtype, gpus=gpus, rows=rows, comparisons=compared, remarks=remarks)


def reports(figure: Figure, times: Sequence[Times], *, logs: Path | None = None, dtype: str = PAPER_DTYPE) -> list[Comparison]:
    """How far the sources of a figure lie apart, one entry a pair of them."""
    return list(figure_report(figure, times, logs=logs, dtype=dtype).comparisons)


def drawn(figure: Figure, rows: Sequence[Row]) -> list[Row]:
    """Rows read off the picture that may be compared."""
    if figure.chart in UNSTATED:
        return []
    return [row for row in rows if row.quality == "notebook"] or [row for row in rows if row.quality != "doubtful"]


def rows_at(figure: Figure, times: Times, found: Sequence[Row], dtype: str = PAPER_DTYPE) -> list[Row]:
    """Rows by `times` at the very x of `found`, curve by curve; a series that the figure has not gives none."""
    xs: dict[str, list[int]] = {}
    for row in found:
        if not isinstance(row.x, str):
            xs.setdefault(row.series, []).append(int(row.x))
    wanted = [_curve(figure, name, sorted(set(own)), dtype) for name, own in xs.items()]
    return curve_rows(figure, [curve for curve in wanted if curve is not None], times)


def _curve(figure: Figure, name: str, xs: Sequence[int], dtype: str) -> Curve | None:
    try:
        return curve_at(figure, name, xs, dtype)
    except KeyError:
        return None


def _comparisons(
    figure: Figure, times: Sequence[Times], own: Sequence[Sequence[Row]], others: Sequence[Row], dtype: str
) -> tuple[Comparison, ...]:  # fmt: skip
    """Every pair: predictions with measurements, and both with log and picture."""
    made = []
    for each, rows in zip(times, own, strict=True):
        if not rows:
            continue
        against = [[row for row in others if row.gpu == each.gpu.name and row.source == source] for source in ("log", "published")]
        against = against if dtype == PAPER_DTYPE else []
        if each.source == "predicted":
            gpu = each.gpu.name
            measured = [found for other, found in zip(times, own, strict=True) if not _is_another_engine(figure, other)]
            against += [list(found) for found in measured if found and found[0].source == "measured" and found[0].gpu == gpu]
        made += [compare(figure, _said(figure, _asked(each, found, times), rows, found, dtype), found) for found in against if found]
    return tuple(each for each in made if each is not None)


def _is_another_engine(figure: Figure, times: Times) -> bool:
    """Whether what was measured of the figure is our decoder, and what is predicted transformers' kernels."""
    return figure.chart == "decode" and has_decoder(times)


def _said(figure: Figure, times: Times, rows: Sequence[Row], found: Sequence[Row], dtype: str) -> Sequence[Row]:
    """What is set beside `found`: a prediction can be had at the same x; a measurement only where it was taken."""
    if times.source != "predicted" or found[0].source == "published":
        return rows
    return (rows_at(figure, times, found, dtype) if figure.is_sweep else figure_rows(figure, times, dtype)) or rows


def _asked(times: Times, found: Sequence[Row], others: Sequence[Times]) -> Times:
    """Predictions by the protocol of the other side: the log's launches, or the clock at which each point was measured."""
    if isinstance(times, Predicted) and found and found[0].source == "log":
        return AsLogged(inner=times)
    if isinstance(times, Predicted) and found and found[0].source == "measured":
        measured = [each for each in others if isinstance(each, Measured) and each.gpu.name == times.gpu.name]
        return AtClocks(inner=times, measured=measured[0]) if measured else times
    return times


def _shown_beside(figure: Figure, rows: Sequence[Row], gpus: Sequence[str]) -> list[Row]:
    """Rows of the GPUs asked about, else those of the figure's first."""
    known = dict.fromkeys(row.gpu for row in rows)
    wanted = [gpu for gpu in gpus if gpu in known] or [*figure.published_gpus[:1], *known][:1]
    return [row for row in rows if row.gpu in wanted]


def _remarks(figure: Figure, times: Sequence[Times], own: Sequence[Sequence[Row]], others: Sequence[Row], dtype: str) -> tuple[str, ...]:
    """What is missing, and why."""
    said = []
    for each, rows in zip(times, own, strict=True):
        if figure.is_diagram:
            continue
        if rows and _is_another_engine(figure, each):
            said.append(f"{each.gpu.name}: measured is this project's decoder, predicted are transformers' kernels alone: not compared")
        if not rows:
            said.append(f"{each.gpu.name}: nothing of it is {each.source}")
        elif each.source == "measured" and figure.is_sweep:
            num_x = sum(len(curve.items) for curve in curves(figure, dtype, is_measured=True))
            said += [f"{each.gpu.name}: {len(rows)} of {num_x} places are measured"] if len(rows) < num_x else []
    if figure.chart in UNSTATED and others:
        said.append("the picture leaves unsaid what was run: it is compared with nothing")
    elif others and dtype != PAPER_DTYPE:
        said.append(f"picture and log are of {PAPER_DTYPE}: {dtype} is not compared with them")
    elif others and not {each.gpu.name for each in times} & {row.gpu for row in others}:
        said.append(f"published points are of {' and '.join(dict.fromkeys(row.gpu for row in others))}: name one with --gpu to compare")
    return tuple(said)
