"""Findings for programs: the document of `shapewright lint --json`, whose contract is `lint.schema.json` beside this file.

Times are seconds (`_s`); shares, their bounds and changes are fractions of 1. A finding's own `cost_s`, `share`, `low`, `high` and `gpu`
are those of its dearest GPU, the first of `prices`.
"""

from __future__ import annotations

import math
from typing import Any

from ..lint.finding import Finding, Fix, Price
from ..lint.linter import Linted
from .json import SCHEMA_VERSION
from .lint_run import LintRun, file_of, model_file, model_place


def lint_document(run: LintRun) -> dict[str, Any]:
    """Findings of all models, and what was linted, with what and how far it failed."""
    return {
        "schema_version": SCHEMA_VERSION,
        "findings": [finding_document(finding, linted, run) for linted in run.linted for finding in linted.findings],
        "models": [_model(linted, run) for linted in run.linted],
        "rules": [rule.code for rule in run.rules],
        "fail_over": run.fail_over,
        "errors": [{"argument": argument, "message": message} for argument, message in run.failures],
    }


def finding_document(finding: Finding, linted: Linted, run: LintRun) -> dict[str, Any]:
    """One finding."""
    steps = dict(linted.step_s)
    return {
        "code": finding.code,
        "name": finding.name,
        "model": finding.model,
        "file": file_of(finding, linted),
        "line": finding.line,
        "field": finding.field,
        "value": finding.value,
        "message": finding.message,
        **_price(finding.price, steps),
        "is_failing": run.is_failing(finding),
        "prices": [_price(price, steps) for price in finding.prices],
        "fixes": [_fix(fix, finding) for fix in finding.fixes],
    }


def _price(price: Price, steps: dict[str, float]) -> dict[str, Any]:
    """The step is the model's own, which a GPU without any usable fix has too."""
    return {
        "gpu": price.gpu,
        "cost_s": price.cost_s,
        "share": price.share,
        "low": price.low,
        "high": price.high,
        "step_s": steps[price.gpu],
        "is_raised": price.is_raised,
        "fix": dict(price.fix) or None,
    }


def _fix(fix: Fix, finding: Finding) -> dict[str, Any]:
    times, shares = ([None if math.isnan(each) else each for each in column] for column in (fix.step_s, fix.shares))
    return {
        "value": fix.value,
        "values": dict(fix.values),
        "params_change": fix.params_change,
        "time_s": times[0],
        "share": shares[0],
        "times": [
            {"gpu": price.gpu, "time_s": time_s, "share": share} for price, time_s, share in zip(finding.prices, times, shares, strict=True)
        ],
        "tokens_ratio": fix.tokens_ratio,
        "is_safe": fix.is_safe,
        "is_workload": fix.is_workload,
        "caution": fix.caution or None,
    }


def _model(linted: Linted, run: LintRun) -> dict[str, Any]:
    """One model that was linted; clean ones have no finding."""
    place = model_place(linted)
    return {
        "name": linted.loaded.shape.name,
        "file": model_file(linted),
        "num_params": linted.loaded.shape.num_params,
        "num_findings": len(linted.findings),
        "steps": [{"gpu": gpu, "time_s": step_s} for gpu, step_s in linted.step_s],
        "notes": [note for place_of, note in run.notes if place_of == place],
    }
