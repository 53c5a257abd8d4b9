"""A figure of the paper as a chart, whatever its kind. Rows in, chart out; nothing is read or saved.

    figure_chart(load_figure("16"), rows).to_dict()

`rows` may be of any sources and GPUs; those of other figures are left out. Figures 3 and 4 are drawings, not charts (`paper_diagrams`).
Needs altair: the `report` extra. Errors: a figure without any row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..paper.figure import ChartKind, Figure
from ..paper.rows import Row
from .paper_bars import bars_chart, shares_chart
from .paper_decode import decode_chart, latency_chart
from .paper_lines import lines_chart
from .paper_marks import own_rows

_CHARTS: Mapping[ChartKind, Callable[[Figure, Sequence[Row]], Any]] = {
    "lines": lines_chart, "bars": bars_chart, "shares": shares_chart, "latency": latency_chart, "decode": decode_chart,
}  # fmt: skip


def figure_chart(figure: Figure, rows: Sequence[Row]) -> Any:
    """The chart of the figure's kind."""
    own = own_rows(figure, rows)
    if not own:
        raise InputError(f"nothing to draw in figure {figure.id}", hint="predict or measure it first")
    return _CHARTS[figure.chart](figure, own)
