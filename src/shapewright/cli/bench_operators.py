"""`shapewright bench operators MODEL`: every operator that `explain` lists, measured alone, and what they add up to."""

from __future__ import annotations

from typing import Any

from ..calibrate.compare import Compared
from ..dtypes import load_dtype
from ..errors import InputError, ShapewrightError
from ..measure.operators import points_of, why_not
from ..measure.points import CollectivePoint, Point, key_of
from ..measure.run_lines import key_of_row
from ..operators.lower import lower
from ..operators.types import Operator
from ..workload import Workload
from .arguments import blame_flag
from .bench import BenchFlags, measured, named_gpu, predicted_gpu
from .flags import OverrideFlags, WorkloadFlags, overrides
from .models_argument import Model, load_model
from .notes import print_notes
from .screen import page_width

#: Number format of activations where --dtype does not say: which GPU it is, is known only once it measures.
DEFAULT_DTYPE = "bf16"


def bench_operators(
    *model: Model,
    workload: WorkloadFlags | None = None,
    override: OverrideFlags | None = None,  # type: ignore[valid-type]
    flags: BenchFlags | None = None,
) -> int:
    """Measure every operator of a model's step.

    Each runs alone in graph replay with cold operands: what they add up to leaves out the power limit of a long run and the host.
    """
    flags = flags or BenchFlags()
    named = named_gpu(flags)
    loaded = load_model(model, overrides(override))
    asked = _workload(workload or WorkloadFlags())
    print_notes(loaded.notes)
    operators = lower(loaded.shape, asked, str(asked.dtype))
    points = {operator: _points(operator, asked) for operator in operators}
    every = list(dict.fromkeys(point for own in points.values() for point in own))
    done = measured(every, flags, name=f"operators-{loaded.shape.name}")
    times = {key_of_row(row): row.get("time_s") for row in done.rows}
    gpu, why = predicted_gpu(named, done.summary.environment)
    predictions = _predictions(every, gpu, flags.library)
    entries = [_entry(operator, points[operator], times, predictions) for operator in operators]
    facts = {
        "run": str(done.path), "environment": done.summary.environment, "predicted_on": None if gpu is None else gpu.name,
        "why_no_prediction": why or None,
    }  # fmt: skip
    _print(entries, facts, flags.json)
    return 0 if any(row["status"] == "ok" for row in done.rows) else 1


def _print(entries: list[dict[str, Any]], facts: dict[str, Any], json: bool) -> None:
    from ..report.bench_operators import operators_document, operators_text

    document = operators_document(entries, facts)
    if json:
        from ..report.json import to_json

        print(to_json(document))
    else:
        print(operators_text(document, width=page_width()))


def _workload(flags: WorkloadFlags) -> Workload:
    try:
        asked = {"dtype": DEFAULT_DTYPE, **flags.given}
        return Workload(**{**asked, "dtype": load_dtype(asked["dtype"]).name})
    except ShapewrightError as error:
        raise blame_flag(error, error.field or "dtype") from None


def _points(operator: Operator, asked: Workload) -> tuple[Point, ...]:
    """The points of one call; none of communication, for which several processes are needed."""
    try:
        found = points_of(operator, dtype=str(asked.dtype))
    except InputError:
        return ()
    return () if any(isinstance(point, CollectivePoint) for point in found) else found


def _predictions(points: list[Point], gpu: Any, library: str | None) -> dict[str, float]:
    if gpu is None:
        return {}
    from ..calibrate.compare import compare_points

    answers = compare_points(points, gpu, library)
    return {key_of(point): answer.predicted_s for point, answer in zip(points, answers, strict=True) if isinstance(answer, Compared)}


def _entry(operator: Operator, points: tuple[Point, ...], times: dict[str | None, Any], predictions: dict[str, float]) -> dict[str, Any]:
    """One operator: seconds of a call, measured and predicted; null where a part of it has none."""
    keys = [key_of(point) for point in points]
    sums = {"measured_s": _sum([times.get(key) for key in keys]), "predicted_s": _sum([predictions.get(key) for key in keys])}
    reason = "" if points else why_not(operator) or "several processes are needed: write a plan for `shapewright bench sweep`"
    names = {"name": operator.name, "layer": operator.layer, "part": operator.part, "kind": operator.kind, "count": operator.count}
    return names | {"num_points": len(points)} | sums | {"why_not_measured": reason or None}


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
