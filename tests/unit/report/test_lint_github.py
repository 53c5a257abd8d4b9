"""Findings as workflow commands: read back as the runner reads them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from shapewright.report.lint_github import github_text
from shapewright.report.lint_words import sentence

_COMMAND = re.compile(r"::(?P<name>\w+) (?P<properties>[^:]*)::(?P<message>.*)")
_MARKS = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}


def unescaped(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: _MARKS[found[0]], text)


def commands(run) -> list[tuple[str, dict[str, str], str]]:
    """Level, properties and message of each command; each stands on a line of its own."""
    read = []
    for line in github_text(run, Path.cwd()).splitlines():
        found = _COMMAND.fullmatch(line)
        assert found, line
        pairs = [pair.split("=", 1) for pair in found["properties"].split(",")]
        read.append((found["name"], {key: unescaped(value) for key, value in pairs}, unescaped(found["message"])))
    return read


def test_a_finding_stands_beside_its_line(make_run, make_finding) -> None:
    assert commands(make_run()) == [
        ("error", {"file": "gpt/config.json", "line": "3", "title": "SW101 VocabNotPadded"}, sentence(make_finding()))
    ]


def test_below_the_threshold_it_is_a_warning(make_run) -> None:
    assert commands(make_run(fail_over=0.5))[0][0] == "warning"


def test_marks_of_the_runner_survive_in_names_and_messages(make_run, make_linted, make_finding) -> None:
    evil = make_finding(file="a,b:c%0A\n::error::.json", message="50 % of it: vocab_size 50257, odd\r\n::stop-commands::x")
    (level, properties, message), *rest = commands(make_run(make_linted(evil)))
    assert not rest and level == "error"
    assert properties["file"] == evil.file
    assert message.startswith("50 % of it: vocab_size 50257, odd\\r\\n::stop-commands::x; costs 40.5")


def test_a_model_without_a_file_is_named_in_the_message(make_run, make_linted, make_finding) -> None:
    ((_, properties, message),) = commands(make_run(make_linted(make_finding(file="catalogue", line=None))))
    assert set(properties) == {"title"} and message.startswith("toy: vocab_size 50257")


def test_a_file_without_a_line_has_none(make_run, make_linted, make_finding) -> None:
    assert set(commands(make_run(make_linted(make_finding(line=None))))[0][1]) == {"file", "title"}


def test_a_model_that_could_not_be_linted_is_an_error(make_run) -> None:
    run = replace(make_run(), failures=(("a.json", "a.json:3: expected a comma, or a closing }"),))
    assert commands(run)[1] == ("error", {"title": "not linted"}, "a.json:3: expected a comma, or a closing }")


def test_clean_models_print_nothing(make_run, make_linted) -> None:
    assert github_text(make_run(make_linted()), Path.cwd()) == ""


def test_paths_are_those_of_the_repository(make_run, make_linted, make_finding, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    for file, expected in (("gpt.json", "models/gpt.json"), ("../gpt.json", "gpt.json"), (str(tmp_path / "x.json"), "x.json")):
        command = github_text(make_run(make_linted(make_finding(file=file))), tmp_path)
        assert command.startswith(f"::error file={expected},line=3,"), command
    assert github_text(make_run(make_linted(make_finding(file="/elsewhere/x.json"))), tmp_path).startswith(
        "::error file=/elsewhere/x.json,"
    )
