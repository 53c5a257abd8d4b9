"""Every rule by its Markdown file: prose, configs, and the commands with the findings expected.

A block ` ```json NAME ` (or yaml, sh, toml) writes that file into an empty folder; a ` ```console ` block runs `shapewright lint` there in
the concise format and holds what it prints, with the exit code below where it is not 0. `pytest tests/lint --update-lint` writes what
is printed now into the files, for a change that is meant.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shapewright.cli import main
from shapewright.lint.rule import Rule, load_rules

FOLDER = Path(__file__).parent
PAGES = sorted(FOLDER.glob("SW*.md"))
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the file it names, its text and where the text stands in the page."""

    language: str
    name: str | None
    text: str
    start: int
    end: int

    @property
    def command(self) -> list[str]:
        """The arguments after `$ shapewright`, in the concise format."""
        line = self.text.splitlines()[0]
        assert line.startswith("$ shapewright lint "), line
        return [*shlex.split(line.removeprefix("$ shapewright ")), "--output-format", "concise"]

    @property
    def expected(self) -> str:
        """What stands below the command."""
        return self.text.partition("\n")[2]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _BLOCK.finditer(page):
        yield Block(language=found[1], name=found[2], text=found[3], start=found.start(3), end=found.end(3))


def printed(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """stdout of a command, and its exit code where it is not 0."""
    capsys.readouterr()
    code = main(command)
    captured = capsys.readouterr()
    assert code in (0, 1), captured.err
    return captured.out + (f"(exit {code})\n" if code else "")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_page(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    page = path.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    answers: list[tuple[Block, str]] = []
    for block in blocks(page):
        if block.language == "console":
            answers.append((block, printed(block.command, capsys)))
        elif block.name:
            file = tmp_path / block.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    assert answers, "the page runs no command"
    if request.config.getoption("--update-lint"):
        path.write_text(_updated(page, answers), encoding="utf-8")
        return
    spoken = [f" {path.stem} " in answer for _, answer in answers]
    assert any(spoken) and not all(spoken), "a page shows where its rule speaks and where it is silent"
    for block, answer in answers:
        assert answer == block.expected, block.text.splitlines()[0]


def _updated(page: str, answers: list[tuple[Block, str]]) -> str:
    """The page with what its commands print."""
    for block, answer in reversed(answers):
        page = page[: block.start] + block.text.splitlines()[0] + "\n" + answer + page[block.end :]
    return page


def test_every_rule_has_its_page_and_every_page_its_rule() -> None:
    assert [path.stem for path in PAGES] == [rule.code for rule in load_rules()]


@pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.code)
def test_the_docstring_says_what_a_reader_needs(rule: Rule) -> None:
    lines = rule.page.splitlines()
    assert lines[0].endswith(".") and not lines[1].strip(), "the first line says what the rule finds"
    for section in ("**Fix.**", "**Paper.**", "**Where it holds.**", "**Measured.**"):
        assert section in rule.page, section
