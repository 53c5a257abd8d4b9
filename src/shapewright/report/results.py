"""Rows of runs, and two runs beside each other, for people and for programs. Times in seconds, changes in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..measure.repeats import Pair, Repeats
from . import units
from .json import SCHEMA_VERSION
from .named_table import named_table
from .points import row_name
from .table import Block, Row, format_hanging, format_table

Record = Mapping[str, Any]
HEADER = ("point", "time", "10 %", "90 %", "status")
KIND_HEADER = ("kind", "points", "median %", "mean %", "p90 %", "worst %", "bias %")
PAIR_HEADER = ("point", "first", "second", "ratio")
LEGEND = (
    "Percent: |second / first - 1| of the points that both runs hold; bias: the median of second / first - 1. "
    "Below, the points that lie farthest apart."
)
#: Characters that a cell of a chosen column may take.
MAX_CELL = 48


def results_document(rows: Sequence[Record], *, files: Sequence[str], num_rows: int, num_matching: int) -> dict[str, Any]:
    """The JSON of `results`: the rows with every column that was asked for."""
    return {
        "schema_version": SCHEMA_VERSION, "files": list(files), "num_rows": num_rows, "num_matching": num_matching,
        "rows": [{name: value for name, value in row.items() if _is_known(value)} for row in rows],
    }  # fmt: skip


def _is_known(value: Any) -> bool:
    """Whether JSON has the value: not nan or infinity (n / 0 in SQL)."""
    if isinstance(value, list):
        return all(map(_is_known, value))
    if isinstance(value, dict):
        return all(map(_is_known, value.values()))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def results_text(rows: Sequence[Record], *, counts: str, columns: Sequence[str] = (), width: int = 80) -> str:
    """A table of the rows: their points and times, or the `columns` that were asked for."""
    lines = _chosen(rows, columns, width) if columns else _points(rows, width)
    return "\n".join([*lines, "", *format_hanging(counts, width)]) if rows else counts


def _chosen(rows: Sequence[Record], columns: Sequence[str], width: int) -> list[str]:
    cells = [tuple(_cell(row.get(name)) for name in columns) for row in rows]
    sides = "".join(">" if all(_is_number(row.get(name)) for row in rows) else "<" for name in columns)
    return format_table(tuple(columns), [Block(rows=tuple(Row(cells=each) for each in cells))], sides, width=width)


def _cell(value: Any) -> str:
    text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 3] + "..."


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _points(rows: Sequence[Record], width: int) -> list[str]:
    """One line a row; a point whose name is too long for its column stands above its numbers."""
    return named_table(HEADER, [(row_name(row), _time_cells(row), _fault(row)) for row in rows], "<>>><", width)


def _time_cells(row: Record) -> tuple[str, ...]:
    times = (row.get(name) for name in ("time_s", "low_s", "high_s"))
    return (*("-" if value is None else units.seconds(value) for value in times), str(row.get("status", "")))


def _fault(row: Record) -> str:
    return str(row.get("error") or "")[:300]


def repeats_document(repeats: Repeats, *, first: str, second: str, limit: int | None = None) -> dict[str, Any]:
    """The JSON of `results --compare`; `points` are the farthest apart first, at most `limit`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "first": first,
        "second": second,
        "num_points": len(repeats.pairs),
        "num_only_first": repeats.num_only_first,
        "num_only_second": repeats.num_only_second,
        "num_unusable": repeats.num_unusable,
        "kinds": {name: asdict(spread) for name, spread in repeats.kinds.items()},
        "points": [_pair_document(pair) for pair in repeats.pairs[:limit]],
    }


def _pair_document(pair: Pair) -> dict[str, Any]:
    times = {"first_s": pair.first["time_s"], "second_s": pair.second["time_s"], "ratio": pair.ratio}
    return {"point": row_name(pair.first), "kind": pair.first["kind"], **times}


def repeats_text(repeats: Repeats, *, first: str, second: str, limit: int, width: int = 80) -> str:
    """Agreement by kind, then the points that agree least."""
    head = f"first {first}, second {second}: {len(repeats.pairs)} points in both"
    alone = {"only in the first": repeats.num_only_first, "only in the second": repeats.num_only_second}
    alone["failed or unknown rows"] = repeats.num_unusable
    said = "; ".join([head, *(f"{count} {what}" for what, count in alone.items() if count)])
    if not repeats.pairs:
        return "\n".join(format_hanging(said, width))
    kinds = [Row(cells=(name, str(each.num_points), *_percents(each))) for name, each in repeats.kinds.items()]
    lines = [*format_hanging(said, width), "", *format_table(KIND_HEADER, [Block(rows=tuple(kinds))], "<>>>>>>", width=width)]
    lines += ["", *format_hanging(LEGEND, width), ""]
    pairs = [(row_name(pair.first), _pair_cells(pair), "") for pair in repeats.pairs[:limit]]
    return "\n".join([*lines, *named_table(PAIR_HEADER, pairs, "<>>>", width)])


def _percents(spread: Any) -> tuple[str, ...]:
    names = ("median_percent", "mean_percent", "p90_percent", "worst_percent")
    return (*(f"{getattr(spread, name):.2f}" for name in names), f"{spread.bias_percent:+.2f}")


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    return units.seconds(pair.first["time_s"]), units.seconds(pair.second["time_s"]), f"{pair.ratio:.4f}"
