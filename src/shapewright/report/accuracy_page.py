"""docs/accuracy.md, written from the accuracy document: the goals first, then how it was measured, then every set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .accuracy import (
    GOAL_HEADER,
    GOAL_SIDES,
    HEADER,
    ORDERING_HEADER,
    PENALTY_HEADER,
    goal_rows,
    is_missed,
    ordering_cells,
    penalty_cells,
    score_rows,
)

Document = Mapping[str, Any]
CHART = "images/accuracy.svg"
_INTRODUCTION = """# Accuracy

How far predicted times lie from measured ones, on rows that no constant was fitted to. This page is written by
`scripts/write_accuracy.py` from [`accuracy.json`](../src/shapewright/calibrate/accuracy.json), which `shapewright accuracy`
prints; `shapewright accuracy --data DIR` scores the sets anew.
"""
_EXPLANATION = """## What the columns mean

- **Sets.** A set is one kind of operator on one GPU, measured by one party. Where a GPU is measured by several, each is a set of
  its own, because protocols differ (launch gap or not, cold or warm operands).
- **Splits.** Rows are never split one by one: a shape's neighbours would sit on both sides and flatter the model. Matrix products
  are split by a hash of (n, k), so that all m, batch sizes, layouts and dtypes of a pair are held out together; the split of
  every other set stands below it. Only held-out rows are scored. The same function splits for the fit and for the score.
- **Errors.** |predicted / measured - 1| in percent: mean (MAPE), median, 90th percentile (p90). Bias is the median of predicted /
  measured - 1: above 0 the prediction is too long. Rank is Kendall's tau-b: 1 orders every two rows as they were measured, 0 is
  chance.
- **Intervals.** Every estimate has a 10th and a 90th percentile; `cover` is the percent of measurements between them. 80 is
  meant, 75 to 85 is the goal.
- **Baselines.** `roof` is the MAPE of the plain roofline: the larger of FLOPs over the peak and bytes over the bandwidth. `line`
  is that of launch + c x roofline, both constants fitted to the rows of the set that are not held out, with the least MAPE there
  (least absolute deviations). A dash: all rows are held out, and nothing is left to fit the line to.
- **Regimes** overlap. Of products: large, more than 1e11 FLOP; decode-size, m at most 64; aligned and misaligned by the 16-byte
  rule for the leading dimensions; tiny, measured below 6 us.
"""
_DECISIONS = """## Decisions

Short sweeps on an H200, eight neighbours along one dimension. Of the pairs of one sweep whose measured times differ by more than
5 %, the table of the goals counts those that the predictor puts in the same order. "held out" are pairs of which neither (n, k) may
be fitted, "all" every pair of the sweeps.
"""
_PENALTIES = """What misalignment costs: the time of a product with a leading dimension that is a multiple of 4, 2 or 1 elements only, over
that of the nearest aligned product of its sweep. Ratios are medians; the error is that of the predicted median (10 % is the goal), MAPE
the mean error of single ratios.
"""


def accuracy_page(document: Document) -> str:
    """The page as Markdown; it ends with a newline."""
    parts = [_INTRODUCTION, _goals(document), _chart(document), _EXPLANATION, *_sets(document), *_decisions(document)]
    return "\n".join(parts)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    """A Markdown table; `alignment` holds `<` or `>` for each column."""
    rule = ["---" if side == "<" else "---:" for side in alignment]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)) + "\n"


def _goals(document: Document) -> str:
    parts = ["## Goals\n", markdown_table(GOAL_HEADER, goal_rows(document), GOAL_SIDES)]
    orderings = [ordering_cells(each) for each in document["decisions"]["orderings"]]
    if orderings:
        parts += ["Neighbouring shapes on an H200, ordered as they were measured:\n", markdown_table(ORDERING_HEADER, orderings, "<<>>>")]
    missed = [each for each in document["sets"] if is_missed(each)]
    if missed:
        parts += ["Why goals are missed, and what was tried:\n", *(f"- **{each['name']}**: {each['remark']}" for each in missed), ""]
    return "\n".join(parts)


def _chart(document: Document) -> str:
    total = sum(each["overall"]["num_rows"] for each in document["sets"])
    alt = f"Predicted against measured times of {total:,} held-out rows in {len(document['sets'])} sets, on logarithmic axes"
    return f"![{alt}]({CHART})\n"


def _sets(document: Document) -> list[str]:
    parts = ["## Sets\n"]
    for each in document["sets"]:
        line = each["line"]
        fitted = f"launch {1e6 * line['launch_s']:.2f} us + {line['factor']:.2f} x roofline" if line else "none"
        machine = f"{each['gpu']}, {each['library']}" if each["library"] else each["gpu"]
        rest = f"Rows not held out: {each['num_fitted']}. Line: {fitted}."
        facts = f"{machine}. Measured by: {each['source']}. Split: {each['split']}. {rest}\n"
        parts += [f"### {each['name']}\n", facts, markdown_table(HEADER, score_rows(each), "<" + ">" * (len(HEADER) - 1))]
    return parts


def _decisions(document: Document) -> list[str]:
    found = document["decisions"]
    if not found["orderings"]:
        return []
    return [
        _DECISIONS,
        _PENALTIES,
        markdown_table(PENALTY_HEADER, [penalty_cells(each) for each in found["penalties"]], "<><>>>>>"),
    ]
