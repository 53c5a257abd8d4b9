"""Findings as SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format, errata 01), as GitHub code scanning reads it.

A location is relative to the repository's root and has line and columns of the value, counted from 1; a file whose line is not known is
named with its first line, since a region is required. A model of the catalogue or of flags lies in no file: its name stands for one, and a
description says so. Fingerprints name rule, file and field, so that a finding stays the same one while prices move.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..lint.finding import Finding
from ..lint.linter import Linted
from ..lint.rule import Rule
from ..version import __version__
from .lint_json import finding_document
from .lint_run import LintRun, file_of, one_line
from .lint_words import sentence, value_span
from .rule_page import plain_page
from .source_path import source_uri

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: Longest description that GitHub keeps, in characters.
MAX_DESCRIPTION = 1024
_HELP_WIDTH = 100


def sarif_document(run: LintRun, root: Path) -> dict[str, Any]:
    """The document of one call; `root` is the repository's folder."""
    places = {rule.code: place for place, rule in enumerate(run.rules)}
    results = [_result(finding, linted, run, root) for linted in run.linted for finding in linted.findings]
    failures = [{"level": "error", "message": {"text": message}} for _, message in run.failures]
    driver = {"name": "shapewright", "version": __version__, "rules": [_rule(rule) for rule in run.rules]}
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": not failures, "toolExecutionNotifications": failures}],
                "results": [result | {"ruleIndex": places[result["ruleId"]]} for result in results],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    """What a rule looks for; its page as text and as Markdown."""
    body = rule.page.partition("\n\n")[2].partition("\n\n")[0] or rule.summary
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": " ".join(body.split())[:MAX_DESCRIPTION]},
        "help": {"text": plain_page(rule.page, _HELP_WIDTH), "markdown": rule.page},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["performance"], "problem.severity": "warning"},
    }


def _result(finding: Finding, linted: Linted, run: LintRun, root: Path) -> dict[str, Any]:
    document = finding_document(finding, linted, run)
    priced = ("model", "field", "value", "gpu", "cost_s", "share", "low", "high", "step_s", "prices", "fixes")
    location = _location(finding, linted, run, root)
    uri = location["physicalLocation"]["artifactLocation"]["uri"]
    return {
        "ruleId": finding.code,
        "level": "error" if run.is_failing(finding) else "warning",
        "message": {"text": sentence(finding)},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(finding, uri)},
        "properties": {name: document[name] for name in priced},
    }


def _location(finding: Finding, linted: Linted, run: LintRun, root: Path) -> dict[str, Any]:
    file = file_of(finding, linted)
    if file is None:
        description = {"text": f"the model {one_line(finding.model)}, which is described by {finding.file}, not by a file"}
        return {"physicalLocation": {"artifactLocation": {"uri": quote(finding.model), "description": description}}}
    artifact = {"uri": source_uri(file, root)}
    return {"physicalLocation": {"artifactLocation": artifact, "region": _region(finding, run)}}


def _region(finding: Finding, run: LintRun) -> dict[str, int]:
    """Lines and columns of the value, or of its line."""
    line = run.line_of(finding)
    if finding.line is None or not line:
        return {"startLine": finding.line or 1}
    start, end = value_span(finding, line) or (0, len(line))
    return {"startLine": finding.line, "startColumn": start + 1, "endLine": finding.line, "endColumn": end + 1}


def _fingerprint(finding: Finding, uri: str) -> str:
    """The same for the same fault, whatever it costs and in whatever line it stands."""
    return hashlib.sha256("\0".join((finding.code, uri, finding.field)).encode()).hexdigest()[:32] + ":1"
