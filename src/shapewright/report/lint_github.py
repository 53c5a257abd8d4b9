"""Findings as workflow commands, which GitHub Actions shows beside the line: an error at the threshold or above, else a warning.

    ::error file=gpt/config.json,line=14,title=SW101 VocabNotPadded::vocab_size 50257 is odd: ...; costs 40.5 of 357 ms a step on h200

The runner takes %25, %0D and %0A for what they stand for, in properties %3A and %2C too ("Workflow commands for GitHub Actions").
"""

from __future__ import annotations

from pathlib import Path

from ..lint.finding import Finding
from ..lint.linter import Linted
from .lint_run import LintRun, file_of, one_line
from .lint_words import sentence
from .source_path import source_path

_IN_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = {**_IN_DATA, ":": "%3A", ",": "%2C"}


def github_text(run: LintRun, root: Path) -> str:
    """A command for each finding and for each model that could not be linted; `root` is the repository's folder."""
    commands = [_finding(finding, linted, run, root) for linted in run.linted for finding in linted.findings]
    commands += [_command("error", {"title": "not linted"}, message) for _, message in run.failures]
    return "\n".join(commands)


def _finding(finding: Finding, linted: Linted, run: LintRun, root: Path) -> str:
    file = file_of(finding, linted)
    properties = {} if file is None else {"file": source_path(file, root)}
    properties |= {} if file is None or finding.line is None else {"line": str(finding.line)}
    title = f"{finding.code} {finding.name}"
    message = sentence(finding) if file is not None else f"{one_line(finding.model)}: {sentence(finding)}"
    return _command("error" if run.is_failing(finding) else "warning", properties | {"title": title}, message)


def _command(name: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(f"{key}={_escaped(value, _IN_PROPERTY)}" for key, value in properties.items())
    return f"::{name} {listed}::{_escaped(message, _IN_DATA)}"


def _escaped(text: str, marks: dict[str, str]) -> str:
    return "".join(marks.get(character, character) for character in text)
