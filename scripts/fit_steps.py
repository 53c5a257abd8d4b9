"""Fits the training stacks to published steps and writes src/shapewright/hardware/stacks/*.json.

    python scripts/fit_steps.py DATA_DIR

DATA_DIR holds gpu/training_steps.parquet. Models are held out whole, 30 % by hash of their name; intervals come from them and from fits
that leave out each of the other models in turn. Run it after the profiles were fitted: the operators of a step are timed by them. Needs
scipy and pyarrow.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shapewright.calibrate.sets.training_steps import FILE, step_rows
from shapewright.calibrate.steps import (
    LLM_FOUNDRY,
    MEGATRON,
    StackForm,
    StepRow,
    cross_ratios,
    fit_stack,
    is_held_out,
    loads,
    percentiles,
    predicted_s,
    take,
)
from shapewright.calibrate.table import read_table
from shapewright.hardware.load import load_gpu
from shapewright.predict.stacks import FOLDER, Stack


def main() -> None:
    rows = step_rows(read_table(Path(sys.argv[1]) / FILE))
    FOLDER.mkdir(exist_ok=True)
    for form in (MEGATRON, LLM_FOUNDRY):
        stack = fit(form, rows[form.name])
        (FOLDER / f"{form.name}.json").write_text(json.dumps(_json(stack), indent=1) + "\n", encoding="utf-8")


def fit(form: StackForm, rows: list[StepRow]) -> Stack:
    """The stack fitted to the models that are not held out, with its held-out error and intervals."""
    load, time_s = loads(rows), np.array([row.time_s for row in rows])
    models, architectures = np.array([row.model for row in rows]), np.array([load_gpu(row.gpu).architecture for row in rows])
    held = is_held_out(list(models))
    own = take(load, ~held), time_s[~held], architectures[~held]
    stack = fit_stack(form, *own)
    out = time_s[held] / predicted_s(take(load, held), stack, architectures[held])
    error = 100 * np.abs(1 / out - 1)
    cross = cross_ratios(form, *own, models[~held])
    accuracy = {
        "rows_fitted": int((~held).sum()),
        "rows_held_out": int(held.sum()),
        "models_held_out": sorted({str(model) for model in models[held]}),
        "mape_percent": round(float(error.mean()), 2),
        "cross_mape_percent": round(float(100 * np.abs(1 / cross - 1).mean()), 2),
    }
    print(form.name, accuracy, flush=True)
    return replace(stack, accuracy=accuracy, spread=percentiles(np.concatenate([out, cross])))


def _json(stack: Stack) -> dict[str, Any]:
    data = asdict(stack)
    data["spread"] = [stack.spread.low, stack.spread.high]
    data["factors"] = {arch: {kind: round(value, 4) for kind, value in factors.items()} for arch, factors in stack.factors.items()}
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in data.items()}


if __name__ == "__main__":
    main()
