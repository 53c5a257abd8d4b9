"""The command line in this process: exit code, stdout and stderr of one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import shapewright
from shapewright.cli import main


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as JSON: the whole of it, nothing before or after."""
        return json.loads(self.out)

    @property
    def notes(self) -> list[str]:
        return [line.removeprefix("note: ") for line in self.err.splitlines() if line.startswith("note: ")]

    @property
    def flat(self) -> str:
        """stdout with every run of blanks as one, so that wrapping does not matter."""
        return " ".join(self.out.split())


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Run one command on a page of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a process of its own, with the package that the tests run on."""
    source = str(Path(shapewright.__file__).parents[1])

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])), "COLUMNS": "80"}
        command = [sys.executable, "-m", "shapewright", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False, **options)

    return run
