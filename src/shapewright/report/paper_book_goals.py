"""What the predictions of the paper's figures are to reach, and what they do: the table of goals of docs/paper.

    goals_table(book)

Errors in percent (of shares: in points); goals are limits for every figure, and a goal is met where all figures keep to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..paper.comparing import Comparison
from ..paper.reports import FigureReport
from .accuracy_page import markdown_table
from .paper_book import GOAL_ERROR, GOAL_ORDER, Book

#: Figures of single operators that the authors' A100 log holds, of products that their other logs hold, and of shares.
OPERATORS = ("10a", "10b", "15", "17", "18", "19", "20a", "20b")
PRODUCTS = ("5a", "5b", "5c", "6a", "6b", "6c", "6d")
SHARES = ("2", "11")
#: Percent: a bar of Figure 1, a figure of operators, a figure of products; points: a share.
GOAL_BAR, GOAL_OPERATOR, GOAL_PRODUCT, GOAL_SHARE = 8.0, 7.0, 8.0, 4.0
PAPER_GPU = "a100-40gb"
Cells = tuple[str, str, str, str]


def goals_table(book: Book) -> str:
    """The table, with what is met and what is missed."""
    found = [each for figure in book.reports if (each := book.comparison(figure)) is not None]
    rows = [
        _worst("Figure 1 on the A100, each bar: error", GOAL_BAR, _errors(book.reports["1"], is_share=False), "%", "bars"),
        _worst("Figures 2 and 11 on the A100, each share: error", GOAL_SHARE, _share_errors(book), "points", "shares"),
        *_log_goals(book),
        _means(
            "H200 against its measurement, each figure: mean error",
            GOAL_ERROR,
            [(each.figure, each.mean, each.num_points) for each in found],
        ),
        _orders(found),
        _drops(found),
    ]
    return markdown_table(("what", "goal", "reached", ""), rows, "<<<<")


def _errors(report: FigureReport, *, is_share: bool) -> dict[str, float]:
    """Of each place of a figure of cases the prediction's distance from what was published: exact values, or those of the notebook."""
    said = {(row.series, row.x): row.y for row in report.rows if (row.gpu, row.source) == (PAPER_GPU, "predicted")}
    known = [row for row in report.rows if row.source == "published" and row.quality in ("exact", "notebook")]
    pairs = [
        (f"{row.series} of {row.x}" if is_share else str(row.x), said[row.series, row.x], row.y)
        for row in known
        if (row.series, row.x) in said
    ]
    return {name: abs(value - y) if is_share else abs(100 * (value / y - 1)) for name, value, y in pairs}


def _share_errors(book: Book) -> dict[str, float]:
    """Of every share of both figures."""
    return {
        f"{name} in Figure {figure}": error
        for figure in SHARES
        for name, error in _errors(book.reports[figure], is_share=True).items()
    }  # fmt: skip


def _log_goals(book: Book) -> list[Cells]:
    """Mean errors against the authors' logs, where they are known."""
    operators = [
        (each["figure"], each["mean"], each["num_points"]) for each in book.logs if each["figure"] in OPERATORS and each["gpu"] == PAPER_GPU
    ]
    products = [
        (f"{each['figure']} on {each['gpu']}", each["mean"], each["num_points"])
        for each in book.logs if each["figure"] in PRODUCTS and each["gpu"] != PAPER_GPU
    ]  # fmt: skip
    sets = (
        ("Figures 10, 15, 17 to 20 against the authors' A100 log: mean error", GOAL_OPERATOR, operators),
        ("Figures 5 and 6 against the authors' V100 and MI250X logs: mean error", GOAL_PRODUCT, products),
    )
    return [_means(what, goal, errors) for what, goal, errors in sets if errors]


def _means(what: str, goal: float, errors: Sequence[tuple[str, float, int]]) -> Cells:
    """Mean errors of figures by name, with that of all their points together."""
    name, limit, reached, word = _worst(what, goal, {figure: mean for figure, mean, _ in errors}, "%", "figures")
    together = sum(mean * count for _, mean, count in errors) / sum(count for _, _, count in errors)
    return name, limit, f"{reached}; all points together {together:.1f} %", word


def _worst(what: str, goal: float, errors: Mapping[str, float], unit: str, things: str) -> Cells:
    """How many keep to the goal, and the worst."""
    kept = sum(error <= goal for error in errors.values())
    worst = max(errors, key=lambda name: errors[name])
    reached = f"{kept} of {len(errors)} {things}; at most {errors[worst]:.1f} {unit} ({worst})"
    return what, f"at most {goal:g} {unit}", reached, "met" if kept == len(errors) else "missed"


def _orders(found: Sequence[Comparison]) -> Cells:
    """Of all x of all figures the share at which the series stand in the right order."""
    asked = [each for each in found if each.order is not None]
    right, total = sum((each.order or 0.0) * each.num_ordered_x for each in asked), sum(each.num_ordered_x for each in asked)
    share = right / total if total else 1.0
    reached = f"{100 * share:.0f} % of {total:,} x"
    return (
        "H200 against its measurement: order of the series",
        f"right at {100 * GOAL_ORDER:.0f} % of the x",
        reached,
        _word(share >= GOAL_ORDER),
    )


def _drops(found: Sequence[Comparison]) -> Cells:
    """Of all drops those that the predictions show."""
    seen, total = sum(each.num_drops_found for each in found), sum(each.num_drops for each in found)
    return (
        "H200 against its measurement: drops of more than 8 %",
        "every one within one step",
        f"{seen:,} of {total:,}",
        _word(seen == total),
    )


def _word(is_met: bool) -> str:
    return "met" if is_met else "missed"
