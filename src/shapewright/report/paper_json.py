"""Figures, claims and tables of the paper for programs.

`paper_figure.schema.json`, `paper_claims.schema.json` and `paper_table.schema.json` beside this file are the contracts. y and errors are in
the unit that stands beside them; FLOPs and bytes are of one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hardware.node import Node
from ..operators.table2 import Table2Row
from ..paper.comparing import Comparison
from ..paper.figure import Figure
from ..paper.reports import FigureReport
from ..paper.symbols import SYMBOLS
from .json import plain
from .paper_claims import Answer

SCHEMA_VERSION = 1


def figure_list_document(figures: Sequence[Figure]) -> dict[str, Any]:
    """What `paper figure` knows, without values."""
    return {"schema_version": SCHEMA_VERSION, "figures": [_head(each) for each in figures], "files": []}


def figures_document(reports: Sequence[FigureReport], files: Sequence[Path] = ()) -> dict[str, Any]:
    """Every figure asked for with all its rows, and the files that were written."""
    return {"schema_version": SCHEMA_VERSION, "figures": [_figure(each) for each in reports], "files": [str(each) for each in files]}


def _head(figure: Figure) -> dict[str, Any]:
    return {
        "id": figure.id, "title": figure.title, "section": figure.section, "chart": figure.chart, "unit": figure.unit,
        "x": None if figure.axis is None else figure.axis.name, "same_as": figure.same_as or None, "claims": list(figure.claims),
        "notes": list(figure.notes),
    }  # fmt: skip


def _figure(report: FigureReport) -> dict[str, Any]:
    return _head(report.figure) | {
        "dtype": report.dtype,
        "gpus": [gpu.name for gpu in report.gpus],
        "rows": [_row(plain(row)) for row in report.rows],
        "comparisons": [_comparison(each) for each in report.comparisons],
        "remarks": list(report.remarks),
        "drawing": drawing_of(report),
    }


def drawing_of(report: FigureReport) -> list[dict[str, Any]]:
    """What figures 3 and 4 are drawn from: the tiles of a product on each GPU, the operators of a model; nothing of other figures."""
    match report.figure.chart:
        case "tiling":
            from .paper_tiling import PRODUCT, tiling, tiling_table

            columns, rows = tiling_table([tiling(PRODUCT, gpu) for gpu in report.gpus])
        case "architecture":
            from .paper_layer import layer_table, model_operators, paper_shape

            columns, rows = layer_table(model_operators(paper_shape(), report.dtype))
        case _:
            return []
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "figure"} | {"quality": row["quality"] or None}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    missed = [{"series": series, "x": x} for series, x in comparison.missed_drops]
    return {name: value for name, value in plain(comparison).items() if name != "figure"} | {"missed_drops": missed}


def claims_document(answers: Sequence[Answer]) -> dict[str, Any]:
    """One entry a claim, GPU and source."""
    return {"schema_version": SCHEMA_VERSION, "claims": [_claim(each) for each in answers]}


def _claim(answer: Answer) -> dict[str, Any]:
    claim, verdict = answer.judged.claim, answer.judged.verdict
    return {
        "id": claim.id, "text": claim.text, "verdict": verdict.word, "value": verdict.value, "expected": claim.expected, "how": claim.how,
        "unit": verdict.unit or None, "reading": verdict.reading, "where": claim.where, "error": claim.error or None, "gpu": answer.gpu,
        "source": answer.source, "is_arithmetic": claim.is_arithmetic,
    }  # fmt: skip


def symbols_document() -> dict[str, Any]:
    """Table I."""
    return {"schema_version": SCHEMA_VERSION, "table": "I", "rows": plain(SYMBOLS)}


def operators_document(rows: Sequence[Table2Row], question: dict[str, Any]) -> dict[str, Any]:
    """Table II of one model; `question`: model, dtype, micro_batch, sequence, tensor_parallel."""
    return {"schema_version": SCHEMA_VERSION, "table": "II", **question, "rows": [_operator(each) for each in rows]}


def _operator(row: Table2Row) -> dict[str, Any]:
    sizes = {name: getattr(row.gemm, name) if row.gemm else None for name in ("batch", "m", "n", "k")}
    figures = {"operator": row.operator, "label": row.label or None, "figures": list(row.figures), "product": row.product or None}
    return figures | sizes | {"flops": row.flops, "bytes": row.bytes}


def systems_document(nodes: Sequence[Node], remarks: Sequence[str]) -> dict[str, Any]:
    """Table III."""
    from .paper_tables import system_of

    return {"schema_version": SCHEMA_VERSION, "table": "III", "rows": [system_of(each) for each in nodes], "notes": list(remarks)}
