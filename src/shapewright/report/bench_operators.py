"""The operators of a step, measured one by one: a table with what they add up to, and the same as JSON. Seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import units
from .bench import kept_text
from .json import SCHEMA_VERSION
from .named_table import named_table
from .table import format_hanging

Document = Mapping[str, Any]
HEADER = ("operator", "calls", "measured", "predicted", "error", "total")
LEGEND = (
    "Each operator runs alone: the sum leaves out the power limit of long runs and the host. measured, predicted: a call; total: all "
    "calls; error: predicted / measured - 1."
)


def operators_document(operators: Sequence[Document], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of `bench operators`: `sum` adds up the calls of the operators that have both times."""
    both = [each for each in operators if each["measured_s"] is not None and each["predicted_s"] is not None]
    measured = [each for each in operators if each["measured_s"] is not None]
    total = {
        "measured_s": sum(each["measured_s"] * each["count"] for each in measured),
        "compared_measured_s": sum(each["measured_s"] * each["count"] for each in both),
        "predicted_s": sum(each["predicted_s"] * each["count"] for each in both),
    }
    errors = [_error(each["predicted_s"], each["measured_s"]) for each in operators]
    rows = [{**each, "error_percent": error} for each, error in zip(operators, errors, strict=True)]
    total["error_percent"] = _error(total["predicted_s"] or None, total["compared_measured_s"] or None)  # type: ignore[assignment]
    return {"schema_version": SCHEMA_VERSION, **facts, "operators": rows, "sum": total}


def _error(predicted_s: float | None, measured_s: float | None) -> float | None:
    return None if predicted_s is None or not measured_s else 100 * (predicted_s / measured_s - 1)


def operators_text(document: Document, *, width: int = 80) -> str:
    """The table, then the sum."""
    rows = [(_name(each), _cells(each), each["why_not_measured"] or "") for each in document["operators"]]
    lines = [*named_table(HEADER, rows, "<>>>>>", width), "", *format_hanging(sum_text(document), width), *format_hanging(LEGEND, width)]
    why = document["why_no_prediction"]
    lines += format_hanging(f"No prediction: {why}.", width) if why else []
    return "\n".join([*lines, *kept_text(document["run"], width)])


def _name(each: Document) -> str:
    return f"{each['name']} (again)" if each["part"] == "recompute" else each["name"]


def _cells(each: Document) -> tuple[str, ...]:
    measured_s, predicted_s, error = each["measured_s"], each["predicted_s"], each["error_percent"]
    total = None if measured_s is None else measured_s * each["count"]
    times = (_time(measured_s), _time(predicted_s), "-" if error is None else f"{error:+.1f} %", _time(total))
    return (str(each["count"]), *times)


def _time(value_s: float | None) -> str:
    return "-" if value_s is None else units.seconds(value_s)


def sum_text(document: Document) -> str:
    """What was measured adds up to, and the prediction of the same operators."""
    total = document["sum"]
    missing = sum(each["measured_s"] is None for each in document["operators"])
    said = [f"sum: measured {units.seconds(total['measured_s'])}"]
    if total["error_percent"] is not None:
        said.append(f"predicted {units.seconds(total['predicted_s'])} ({total['error_percent']:+.1f} %)")
    said += [f"{missing} operators not measured"] if missing else []
    return ", ".join(said) + "."
