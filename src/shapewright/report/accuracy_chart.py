"""Predicted against measured times as one chart: one small chart for each kind of set, rows as binned density. Data in, chart out.

Needs altair, and vl-convert to save: the `report` extra. A set's kind is its name up to the first hyphen; times are in us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingError

if TYPE_CHECKING:
    import altair as alt

Document = Mapping[str, Any]
SUFFIXES = (".svg", ".png")
#: Pixels of a small chart's side, and charts in a row.
SIDE_PIXELS, NUM_COLUMNS = 190, 3
EXTRA_HINT = "pip install 'shapewright[report]'"


def accuracy_chart(document: Document, bins_per_decade: int) -> alt.ConcatChart:
    """One small chart a kind: the colour of a bin is the share of the kind's rows in it; the dashed line is a perfect prediction."""
    alt = require_altair()
    charts = [_kind_chart(title, _bins(cells, bins_per_decade)) for title, cells in _kinds(document)]
    joined = alt.concat(*charts, columns=NUM_COLUMNS)
    return joined.configure(aria=False)  # labels of thousands of bins for screen readers would triple the file


def _kind_chart(title: str, points: list[dict[str, float]]) -> alt.LayerChart:
    """Bins on logarithmic axes of one range, and their diagonal."""
    alt = require_altair()
    low = min(min(each["measured_us"], each["predicted_us"]) for each in points)
    high = max(max(each["measured_to_us"], each["predicted_to_us"]) for each in points)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=[10.0**power for power in range(-1, 9)], format="~s", grid=True)
    bins = alt.Chart(alt.Data(values=points)).mark_rect()
    bins = bins.encode(
        x=alt.X("measured_us:Q", scale=scale, axis=axis, title="measured, us"),
        x2="measured_to_us:Q",
        y=alt.Y("predicted_us:Q", scale=scale, axis=axis, title="predicted, us"),
        y2="predicted_to_us:Q",
        color=alt.Color("share:Q", scale=alt.Scale(scheme="viridis", type="log"), title="share of rows, %"),
    )
    ends = alt.Data(values=[{"x": low, "y": low}, {"x": high, "y": high}])
    diagonal = alt.Chart(ends).mark_line(color="gray", strokeDash=[4, 4], clip=True)
    line = diagonal.encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    return (bins + line).properties(width=SIDE_PIXELS, height=SIDE_PIXELS, title=alt.Title(title, fontSize=11))


def save_chart(chart: alt.ConcatChart, path: Path) -> None:
    """Write the chart; the suffix tells the form."""
    require_form(path)
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", where=str(path), hint="create it first")
    try:
        import vl_convert  # noqa: F401  # altair's own message on its absence is long
    except ImportError:
        raise MissingError("drawing a chart needs vl-convert", hint=EXTRA_HINT) from None
    chart.save(path, scale_factor=2 if path.suffix.lower() == ".png" else 1)


def require_form(path: Path) -> None:
    """Refuse a file whose suffix names no form of a chart."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"unknown form {path.suffix or 'without a suffix'}", where=str(path), hint=f"known: {', '.join(SUFFIXES)}")


def _bins(cells: Counter[tuple[int, int]], bins_per_decade: int) -> list[dict[str, float]]:
    """Every filled bin, its edges in us and its share of the rows in percent."""

    def edge_us(index: int) -> float:
        return float(f"{1e6 * 10 ** (index / bins_per_decade):.4g}")

    return [
        {
            "measured_us": edge_us(x),
            "measured_to_us": edge_us(x + 1),
            "predicted_us": edge_us(y),
            "predicted_to_us": edge_us(y + 1),
            "share": float(f"{100 * count / cells.total():.3g}"),
        }
        for (x, y), count in sorted(cells.items())
    ]


def _kinds(document: Document) -> list[tuple[str, Counter[tuple[int, int]]]]:
    """Title of each kind, with its mean error over all rows, and the rows in each bin."""
    kinds: dict[str, list[Document]] = {}
    for each in document["sets"]:
        kinds.setdefault(_kind(each["name"]), []).append(each)
    found = []
    for kind, sets in kinds.items():
        cells: Counter[tuple[int, int]] = Counter()
        for x, y, count in (cell for each in sets for cell in each["density"]):
            cells[x, y] += count
        error = sum(each["overall"]["mape_percent"] * each["overall"]["num_rows"] for each in sets) / cells.total()
        found.append((f"{kind}: {error:.1f} % over {cells.total():,} rows", cells))
    return found


def _kind(name: str) -> str:
    """What a set's panel is called: the first word of its name, but products of a GPU left out stand apart from others."""
    return "left-out" if name.startswith("left-out-") else name.partition("-")[0]


def require_altair() -> Any:
    """altair, or the error that names the extra."""
    try:
        import altair
    except ImportError:
        raise MissingError("drawing a chart needs altair", hint=EXTRA_HINT) from None
    return altair
