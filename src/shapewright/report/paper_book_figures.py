"""The pages of figures of docs/paper: each figure's chart, what it shows, how near its sources lie, and its traps.

figure_page(book, "figures-products.md")
"""

from __future__ import annotations

from collections.abc import Iterator

from ..paper.comparing import Comparison
from ..paper.figure import Figure
from ..paper.reports import FigureReport
from .accuracy_page import markdown_table
from .paper_book import APPENDIX, CHAPTERS, FIRST, MULTIPLES, Book, claim_link, comparison_cells, figure_link

#: Units that a chart abbreviates.
UNITS = {"x": "ratios and token/s", "s": "seconds", "%": "% of the time"}
_LEGEND = """Lines and columns are predictions, dots the measurement on the H200, diamonds points read off the paper's
picture. Compared is the first source with the second: errors without sign, order of the series, drops of more than 8 %
([what the columns mean](README.md#figure-by-figure))."""
_MULTIPLES = """All of them on one page: a small chart a figure, a colour a power of two in h/a. Below it the same as a
table, then every figure by itself."""


def figure_page(book: Book, page: str) -> str:
    """One page as Markdown; it ends with a newline."""
    title, figures = CHAPTERS[page]
    parts = [f"# {title}\n", f"[The paper's rules, revisited in 2026]({FIRST}) · [claims](claims.md)\n", f"{_LEGEND}\n"]
    if page == APPENDIX:
        parts += _overview(book, figures)
    parts += ["\n".join(_section(book, book.reports[figure])) for figure in figures]
    return "\n".join(parts)


def _section(book: Book, report: FigureReport) -> Iterator[str]:
    figure = report.figure
    yield f'<a id="figure-{figure.id.lower()}"></a>\n\n## Figure {figure.id}. {figure.title}\n'
    yield f"{_facts(figure)}\n"
    yield f"![Figure {figure.id}: {figure.title}]({book.images[figure.id]})\n"
    if text := book.reading(figure.id):
        yield f"{text}\n"
    if report.comparisons:
        rows = [(f"{each.gpu}: {each.said} with {each.source}", *comparison_cells(each)) for each in report.comparisons]
        yield markdown_table(("compared", "points", "mean", "median", "90th percentile", "order", "drops"), rows, "<>>>>>>")
    notes = [*figure.notes, *report.remarks, *(_missed(each) for each in report.comparisons if each.missed_drops)]
    if notes:
        yield "".join(f"- {each}\n" for each in notes)


def _facts(figure: Figure) -> str:
    """Where it stands in the paper, what it plots, and its claims."""
    is_numbered = figure.section[0].isupper() and not figure.section.startswith("Appendix")
    said = [f"Section {figure.section}" if is_numbered else figure.section[0].upper() + figure.section[1:]]
    if figure.axis is not None:
        said.append(f"{figure.unit} over {figure.axis.title}, fp16")
    elif not figure.is_diagram:
        said.append(f"{UNITS.get(figure.unit, figure.unit)}, fp16")
    if figure.same_as:
        said.append(f"the same as {figure_link(figure.same_as)}")
    if figure.claims:
        said.append(f"claim{'s' if len(figure.claims) > 1 else ''} {', '.join(claim_link(each) for each in figure.claims)}")
    return "; ".join(said) + "."


def _missed(comparison: Comparison) -> str:
    """Drops that the prediction does not show."""
    places = [f"{f'{series}: ' if series else ''}{x:g}" for series, x in comparison.missed_drops[:4]]
    more = f" and {len(comparison.missed_drops) - 4} more" if len(comparison.missed_drops) > 4 else ""
    return f"{comparison.gpu}: drops of the {comparison.source} curves not {comparison.said} after {'; '.join(places)}{more}."


def _overview(book: Book, figures: tuple[str, ...]) -> list[str]:
    """The page of small charts and a compact table."""
    rows = []
    for figure in figures:
        found = book.comparison(figure)
        cells = comparison_cells(found) if found is not None else ("",) * 6
        rows.append((figure_link(figure), book.reports[figure].figure.title, *cells))
    header = ("figure", "", "points", "mean", "median", "90th percentile", "order", "drops")
    return [
        f"{_MULTIPLES}\n",
        f"![Figures 21 to 47 as small charts]({book.images[MULTIPLES]})\n",
        "The H200's predictions against its measurements:\n",
        markdown_table(header, rows, "<<>>>>>>"),
    ]
