"""Figures of the paper for people: what each source says at a few places, how far the sources lie apart, and what to know of the figure.

`figures_text` takes reports of `paper.reports`; `figure_list` names the figures. Rates are TFLOP/s as the paper prints them. A curve is
shown at a few of its x, by a straight line where another curve of the figure has its points; --json and the files of -o have every point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..paper.comparing import DROP, Comparison, value_at
from ..paper.figure import Figure
from ..paper.reports import FigureReport
from ..paper.rows import Row as Point
from . import units
from .named_table import named_table
from .paper_json import drawing_of
from .table import Block, Row, column_widths, format_cells, format_hanging, format_pairs, format_table

#: Places at which curves are shown, and missed drops that are named.
NUM_SHOWN, NUM_MISSED = 8, 4
LEGEND = (
    "errors are those of the first source against the second, without sign: their mean, median and 90th percentile, in % (of shares: in "
    "points); order: x at which every pair of series stands in the right order (of bars: pairs); drops: falls of more than "
    f"{DROP:.0%} from one x to the next that the first source shows within one step, by half at least; doubtful published points count "
    "nowhere"
)
KINDS = {
    "lines": "lines", "bars": "bars", "shares": "shares", "latency": "points", "decode": "bars", "tiling": "drawing",
    "architecture": "drawing",
}  # fmt: skip


def figure_list(figures: Sequence[Figure], width: int) -> str:
    """One line a figure: what it is called, where it stands, what it looks like."""
    rows = [(each.id, _section(each), KINDS[each.chart]) for each in figures]
    header = ("id", "section", "kind")
    widths = column_widths([header, *rows])
    labels = [format_cells(cells, widths, "<<<") for cells in (header, *rows)]
    lines = format_pairs(list(zip(labels, ("figure", *(each.title for each in figures)), strict=True)), width)
    hint = "`shapewright paper figure ID --gpu G` predicts one, `all` every one; -o DIR writes them."
    return "\n".join([*lines, "", *format_hanging(hint, width)])


def figures_text(reports: Sequence[FigureReport], *, width: int = 80) -> str:
    """All figures, and how to read their comparisons."""
    pages = ["\n".join(_figure_lines(each, width)) for each in reports]
    legend = [("compared", LEGEND)] if any(each.comparisons for each in reports) else []
    return "\n\n".join([*pages, *(["\n".join(format_pairs(legend, width))] if legend else [])])


def _figure_lines(report: FigureReport, width: int) -> Iterator[str]:
    figure = report.figure
    yield from format_hanging(f"Figure {figure.id}: {figure.title}", width)
    pairs = [("section", figure.section)]
    if figure.axis is not None:
        pairs.append(("values", f"{figure.unit} over {figure.axis.title}, {report.dtype}"))
    yield from format_pairs(pairs, width)
    if figure.is_diagram:
        yield from format_pairs([("drawing", "written with -o DIR, from this:")], width)
        yield from ("", *_drawing(report, width))
    elif table := _values(report, width):
        yield from ("", *table)
    if report.comparisons:
        yield from ("", *_comparisons(report.comparisons, width))
    notes = [*(("note", each) for each in figure.notes), *(("remark", each) for each in report.remarks)]
    if figure.same_as:
        notes.insert(0, ("same as", f"Figure {figure.same_as}"))
    if notes:
        yield from ("", *format_pairs(notes, width))


def _values(report: FigureReport, width: int) -> list[str]:
    return _curves(report, width) if report.figure.is_sweep else _cases(report, width)


def _drawing(report: FigureReport, width: int) -> list[str]:
    """What a figure without values is drawn from."""
    drawing = drawing_of(report)
    if report.figure.chart == "tiling":
        header = ("gpu", "product m, n, k", "tile", "tiles", "SMs", "waves", "used")
        cells = [
            (each["gpu"], f"{each['m']}, {each['n']}, {each['k']}", f"{each['tile_m']}x{each['tile_n']}", f"{each['num_tiles']}",
             f"{each['num_sms']}", f"{each['waves']:.3g}", units.column_percent(each["used"]))
            for each in drawing
        ]  # fmt: skip
        return format_table(header, [Block(rows=tuple(Row(cells=each) for each in cells))], "<<<>>>>", width=width)
    cells = [(each["operator"], f"{each['count']}", each["sizes"]) for each in drawing]
    return format_table(("operator", "calls", "sizes"), [Block(rows=tuple(Row(cells=each) for each in cells))], "<><", width=width)


def _sources(report: FigureReport) -> dict[tuple[str, str], list[Point]]:
    """Rows of each GPU and source, in the order in which they are shown."""
    found: dict[tuple[str, str], list[Point]] = {}
    for row in report.rows:
        if row.quality != "doubtful":
            found.setdefault((row.gpu, row.source), []).append(row)
    return found


def _curves(report: FigureReport, width: int) -> list[str]:
    """Curves of what was predicted and measured, a row each, at the same few x."""
    own = {key: rows for key, rows in _sources(report).items() if key[1] in ("predicted", "measured")}
    xs = shown_xs([row.x for rows in own.values() for row in rows if not isinstance(row.x, str)], is_log=_is_log(report.figure))
    blocks = []
    for (gpu, source), rows in own.items():
        lines = [(name, [value_at(line, x) for x in xs]) for name, line in _lines(rows).items()]
        cells = [(name or report.figure.unit, *("" if y is None else units.three_digits(y) for y in ys)) for name, ys in lines]
        blocks.append(Block(title=f"{gpu}, {source}", rows=tuple(_short(each, width, len(xs)) for each in cells)))
    axis = report.figure.axis
    header = ("" if axis is None else axis.name, *(f"{x:g}" for x in xs))
    return format_table(header, blocks, "<" + ">" * len(xs), width=width) if blocks else []


def _short(cells: tuple[str, ...], width: int, num_columns: int) -> Row:
    """A row whose name, where it would push the columns off the page, stands on a line of its own."""
    room = width - num_columns * 7
    return Row(cells=cells) if len(cells[0]) <= room else Row(cells=("", *cells[1:]), lead=(cells[0],))


def _lines(rows: Sequence[Point]) -> dict[str, dict[float | str, float]]:
    lines: dict[str, dict[float | str, float]] = {}
    for row in sorted(rows, key=lambda each: each.x if not isinstance(each.x, str) else 0):
        lines.setdefault(row.series, {})[row.x] = row.y
    order = dict.fromkeys(row.series for row in rows)
    return {name: lines[name] for name in order}


def _is_log(figure: Figure) -> bool:
    return figure.axis is not None and figure.axis.scale == "log2"


def shown_xs(xs: Sequence[int | float], *, is_log: bool) -> list[int | float]:
    """At most `NUM_SHOWN` of `xs`: the nearest to even places up to the last; of powers of two the last ones."""
    known = sorted(set(xs))
    if len(known) <= NUM_SHOWN:
        return known
    if is_log:
        return known[-NUM_SHOWN:]
    first, last = max(known[0], known[-1] / NUM_SHOWN), known[-1]
    wanted = [first + place * (last - first) / (NUM_SHOWN - 1) for place in range(NUM_SHOWN)]
    return sorted({min(known, key=lambda x: (abs(x - each), x)) for each in wanted})


def _cases(report: FigureReport, width: int) -> list[str]:
    """Every value, a row each; columns are the sources."""
    found = {key: {(row.series, row.x): row for row in rows} for key, rows in _sources(report).items()}
    own = dict.fromkeys(place for key, rows in found.items() if key[1] != "published" for place in rows)
    columns = [key for key, rows in found.items() if any(place in rows for place in own)]
    blocks: dict[str, list[tuple[str, tuple[str, ...], str]]] = {}
    for series, x in own:
        title, name = _place(report.figure, series, x)
        cells = tuple(_value(found[key].get((series, x))) for key in columns)
        blocks.setdefault(title, []).append((name, cells, ""))
    header = ("", *(f"{gpu} {source}" for gpu, source in columns))
    alignment = "<" + ">" * len(columns)
    if len(blocks) == 1:
        return named_table(header, next(iter(blocks.values())), alignment, width)
    made = [Block(title=title, rows=tuple(Row(cells=(name, *cells)) for name, cells, _ in rows)) for title, rows in blocks.items()]
    return format_table(header, made, alignment, width=width)


def _place(figure: Figure, series: str, x: int | float | str) -> tuple[str, str]:
    """Title and name under which a value stands."""
    match figure.chart:
        case "bars":
            return "", str(x)
        case "shares":
            return str(x), series
        case "decode":
            return series, f"{x}"
        case _:
            return "", series


def _value(row: Point | None) -> str:
    if row is None:
        return ""
    number = f"{row.y:.1f}" if row.unit == "%" else units.three_digits(row.y)
    return f"{number} {row.unit}"


def _comparisons(comparisons: Sequence[Comparison], width: int) -> list[str]:
    blocks: dict[str, list[Row]] = {}
    for each in comparisons:
        cells = (f"{each.said}, {each.source}", str(each.num_points), *(_error(each, name) for name in ("mean", "median", "p90")))
        order = "" if each.order is None else f"{each.order:.0%} of {each.num_ordered_x}"
        drops = f"{each.num_drops_found} of {each.num_drops}" if each.num_drops else ""
        blocks.setdefault(each.gpu, []).append(Row(cells=(*cells, order, drops), remark=_missed(each)))
    header = ("compared", "points", "mean", "median", "p90", "order", "drops")
    made = [Block(title=gpu, rows=tuple(rows)) for gpu, rows in blocks.items()]
    return format_table(header, made, "<" + ">" * 6, width=width)


def _error(comparison: Comparison, name: str) -> str:
    return f"{getattr(comparison, name):.1f}{' points' if comparison.unit == '%' else ' %'}"


def _missed(comparison: Comparison) -> str:
    """Where the second source falls and the first does not."""
    missed = comparison.missed_drops
    if not missed:
        return ""
    places = [f"{f'{series} ' if series else ''}{x:g}" for series, x in missed[:NUM_MISSED]]
    more = f" and {len(missed) - NUM_MISSED} more" if len(missed) > NUM_MISSED else ""
    return f"drops not shown after {', '.join(places)}{more}"


def _section(figure: Figure) -> str:
    return figure.section if len(figure.section) <= 12 else figure.section.partition(":")[0]
