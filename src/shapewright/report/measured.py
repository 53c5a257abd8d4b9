"""What `accuracy --measured` adds to the accuracy tables: the rows that are worst predicted, every layer and model, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import units
from .named_table import named_table
from .points import row_name
from .table import format_hanging

Document = Mapping[str, Any]
WORST_HEADER = ("worst predicted", "measured", "predicted", "error")
CELL_HEADER = ("layers and models", "measured", "spread", "predicted", "error", "limit")
CELL_LEGEND = (
    "spread: half of the 10-90 % range of the rounds; limit: what sets the measured time, gpu or host (in parentheses what the "
    "prediction says, where it differs). Host-bound cells are scored apart."
)


def measured_text(measured: Document, width: int = 80) -> str:
    """The part of the document that is called `measured`."""
    lines: list[str] = []
    if measured["cells"]:
        rows = [(row_name(each["point"]), cell_cells(each), "") for each in measured["cells"]]
        lines += [*named_table(CELL_HEADER, rows, "<>>>><", width), "", *format_hanging(CELL_LEGEND, width), ""]
    if measured["worst"]:
        rows = [(row_name(each["point"]), _times(each), "") for each in measured["worst"]]
        lines += [*named_table(WORST_HEADER, rows, "<>>>", width), ""]
    return "\n".join([*lines, *format_hanging(counts_text(measured), width)])


def counts_text(measured: Document) -> str:
    """Rows read, failed and left out, in one sentence."""
    num_rows, files = sum(each["num_rows"] for each in measured["files"]), len(measured["files"])
    said = [f"{num_rows:,} rows of {files} run{'s' if files != 1 else ''}"]
    said += [f"{count:,} {status.replace('_', ' ')}" for status, count in measured["failed"].items()]
    said += [f"{count:,} left out: {reason}" for reason, count in measured["left_out"].items()]
    return "; ".join(said)


def _times(each: Document) -> tuple[str, ...]:
    return units.seconds(each["measured_s"]), units.seconds(each["predicted_s"]), f"{each['error_percent']:+.1f} %"


def cell_cells(each: Document) -> tuple[str, ...]:
    """measured, spread, predicted, error, limit."""
    measured, predicted, error = _times(each)
    spread = spread_text(each["measured_low_s"], each["measured_high_s"], each["measured_s"])
    return measured, spread, predicted, error, _limit(each)


def spread_text(low_s: float | None, high_s: float | None, time_s: float | None) -> str:
    """Half of the 10-90 % range over the median, such as "0.4 %"; a dash where the row has none."""
    if low_s is None or high_s is None or not time_s:
        return "-"
    return f"{50 * (high_s - low_s) / time_s:.1f} %"


def _limit(each: Document) -> str:
    said, predicted = ("host" if each[name] else "gpu" for name in ("is_host_bound", "is_host_bound_predicted"))
    return said if said == predicted else f"{said} ({predicted})"
