"""Rows of decode for programs: cells with their engines, gains and predictions. `decode.schema.json` beside this file is the contract.

Seconds, bytes, tokens a second of the whole batch; shares and gains are ratios. What was not measured is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ..decode.bench_rows import Check, Row
from .decode_cells import LIMIT, OURS, Answer, Cell, Predicted

SCHEMA_VERSION = 2
#: Fields of a row that its cell or model says already.
_SHARED = ("model", "dtype", "gpu", "batch", "context", "engine")


def decode_document(
    answers: Sequence[Answer], checks: Iterable[Check] = (), *, runs: Sequence[str] = (), is_complete: bool = True
) -> dict[str, Any]:
    """The answer; `runs` are the files that hold the rows, `is_complete` false where a time limit came first."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": list(runs),
        "is_complete": is_complete,
        "models": [_model(each) for each in answers],
        "checks": [_listed(asdict(check)) for check in checks],
    }


def _model(answer: Answer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "dtype": answer.dtype,
        "gpu": answer.gpu,
        "cells": [_cell(each) for each in answer.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "batch": cell.batch,
        "context": cell.context,
        "limit_tokens_per_s": cell.tokens_per_s(LIMIT),
        "ours": cell.ours,
        "gains": {name: cell.gain(name) for name in cell.rows if name not in (*OURS, LIMIT)},
        "predicted": None if cell.predicted is None else _predicted(cell.predicted),
        "engines": {name: _row(row, cell.memory_ratio(name)) for name, row in cell.rows.items()},
    }


def _predicted(predicted: Predicted) -> dict[str, float]:
    return {"eager_s": predicted.eager_s, "compiled_s": predicted.compiled_s, "bytes_s": predicted.bytes_s}


def _row(row: Row, memory_ratio: float | None) -> dict[str, Any]:
    values = {name: value for name, value in asdict(row).items() if name not in _SHARED}
    return _listed(values) | {"bytes_per_s": row.bytes_per_s, "memory_ratio": memory_ratio}


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists; a number that is none, as of logits that are, is null."""
    lost = {name: None for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()} | lost
