"""Writes docs/paper/features.md: every feature that the paper's study needs, with a command that is run here and the test that proves it.

python scripts/write_features.py

The rows stand in features.toml beside this file: what each is, the commands, and a sentence whose braces are filled from what the commands
answer. A command runs in this process in a folder of its own, which holds the files of `[files]` and a link to benchmarks/; no GPU is used.
In braces stands a place in the answer and, after a bar, how it is written:

    {figures/0/comparisons/source=measured/mean|.1f}   steps: a key, a position, key=value[,key=value] (the first element that has
                                                        them), [key=value] (all that have), * (each element), # (how many)
    {2:memory/total_bytes|bytes}                        of the second command

A command with `--json` in its help answers with that document; `=code`, `=out` (lines), `=error` (the last line of stderr) and `=files` are
there for every command. Errors: a command that ends otherwise than the row says, a place that is not there, a test that does not exist.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapewright.cli import main as shapewright
from shapewright.report.units import flops_per_s, num_bytes, percent, seconds, three_digits

ROOT = Path(__file__).parent.parent
DATA, PAGE = Path(__file__).with_name("features.toml"), ROOT / "docs/paper/features.md"
STATUSES = ("works", "predicted only", "in part", "not")
PLACE = re.compile(r"\{(?:(?P<command>[1-9]):)?(?P<path>[^{}|]+)(?:\|(?P<form>[^{}]+))?\}")
FORMS = {"s": seconds, "bytes": num_bytes, "flops_per_s": flops_per_s, "percent": percent}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One row: `shows` is the sentence with places in braces, `why` what does not work, `exits` the exit codes of the commands."""

    id: str
    what: str
    modes: str
    commands: tuple[str, ...]
    shows: str
    tests: tuple[str, ...]
    status: str
    why: str
    exits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of the page."""

    title: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """All of features.toml."""

    sections: tuple[Section, ...]
    files: Mapping[str, str]

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(each for section in self.sections for each in section.features)


def load_data(path: Path = DATA) -> Data:
    """The rows; `like` takes a sentence of `[sentences]`."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    sections = tuple(
        Section(title=section["title"], features=tuple(_feature(each, data["sentences"]) for each in section["rows"]))
        for section in data["sections"]
    )
    return Data(sections=sections, files=data["files"])


def _feature(entry: Mapping[str, Any], sentences: Mapping[str, str]) -> Feature:
    kept = entry.get("kept", {})
    entry = {**entry, **kept} if kept and (ROOT / kept["folder"]).is_dir() else entry
    commands = tuple(entry["commands"])
    status = entry.get("status", "works")
    assert status in STATUSES and bool(entry.get("why")) == (status != "works"), entry["id"]
    return Feature(
        id=entry["id"],
        what=entry["what"],
        modes=entry.get("modes", ""),
        commands=commands,
        shows=entry["shows"] if "shows" in entry else sentences[entry["like"]],
        tests=tuple(entry["tests"]),
        status=status,
        why=entry.get("why", ""),
        exits=tuple(entry.get("exits", [0] * len(commands))),
    )


def answer(command: str) -> dict[str, Any]:
    """What a command answers in the current folder; wildcards are those of a shell."""
    words = [each for word in shlex.split(command) for each in _expanded(word)]
    is_text = not {"-o", "--help", "--chart"}.isdisjoint(words) or words[0] == "predict"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = shapewright(words if is_text else [*words, "--json"])
    found = {} if is_text or not out.getvalue() else json.loads(out.getvalue())
    lines = out.getvalue().splitlines() if is_text else []
    error = (err.getvalue().splitlines() or [""])[-1]
    return {**found, "=code": code, "=out": lines, "=error": error.removeprefix("error: "), "=files": sorted(_files("figures"))}


def _expanded(word: str) -> list[str]:
    return sorted(str(each) for each in Path().glob(word)) if "*" in word else [word]


def _files(folder: str) -> Iterator[str]:
    """Names of the files that a command has drawn, which make room for those of the next."""
    for path in Path(folder).glob("*"):
        yield path.name
        path.unlink()


def at(found: Any, path: str) -> Any:
    """What stands at a place of an answer."""
    step, _, rest = path.partition("/")
    if step == "*":
        return [at(each, rest) if rest else each for each in found]
    if step == "#":
        return len(found)
    return at(_step(found, step), rest) if rest else _step(found, step)


def _step(found: Any, step: str) -> Any:
    if isinstance(found, Mapping):
        return found[step]
    if step.lstrip("-").isdecimal():
        return found[int(step)]
    wanted = [each.split("=", 1) for each in step.strip("[]").split(",")]
    having = [each for each in found if all(str(each[name]) == value for name, value in wanted)]
    return having if step.startswith("[") else having[0]


def written(value: Any, form: str | None) -> str:
    """A value as the page has it: three digits, a form of `FORMS`, or Python's."""
    if form == "mean":
        return three_digits(sum(value) / len(value))
    if form == "distinct":
        return written(list(dict.fromkeys(value)), None)
    if isinstance(value, list):
        return ", ".join(written(each, form) for each in value)
    if form is not None:
        return FORMS[form](value) if form in FORMS else format(value, form)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    return three_digits(value) if isinstance(value, float) else str(value)


def result(feature: Feature, answers: Sequence[Mapping[str, Any]]) -> str:
    """The sentence of a row, filled."""
    assert tuple(each["=code"] for each in answers) == feature.exits, (
        f"{feature.id}: {[(each['=code'], each['=error']) for each in answers]}"
    )

    def fill(place: re.Match[str]) -> str:
        try:
            return written(at(answers[int(place["command"] or 1) - 1], place["path"]), place["form"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise LookupError(f"{feature.id}: {place[0]}: {error!r}") from error

    return PLACE.sub(fill, feature.shows)


@contextlib.contextmanager
def folder_of_files(files: Mapping[str, str]) -> Iterator[Path]:
    """A folder with the files that the commands name, as the current one; runs and profiles of the user's own stay out of it."""
    before = Path.cwd()
    own = {name: os.environ.get(name) for name in ("SHAPEWRIGHT_PROFILES", "SHAPEWRIGHT_RUNS", "COLUMNS")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in files.items():
            (folder / path).write_text(text, encoding="utf-8")
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
        os.environ.update(SHAPEWRIGHT_PROFILES=str(folder / "profiles"), SHAPEWRIGHT_RUNS=str(folder / "runs"), COLUMNS="80")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            for variable, value in own.items():
                if value is None:
                    del os.environ[variable]
                else:
                    os.environ[variable] = value


def results(features: Sequence[Feature], files: Mapping[str, str]) -> dict[str, str]:
    """The sentence of every row; a command that several rows name runs once."""
    with folder_of_files(files):
        commands = dict.fromkeys(command for each in features for command in each.commands)
        answers = {command: answer(command) for command in commands}
    return {each.id: result(each, [answers[command] for command in each.commands]) for each in features}


def missing_tests(features: Sequence[Feature]) -> list[str]:
    """Tests that are named and that pytest does not collect."""
    named = list(dict.fromkeys(test for each in features for test in each.tests))
    paths = list(dict.fromkeys(test.partition("::")[0] for test in named))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    collected = {line.partition("[")[0] for line in done.stdout.splitlines()}
    return [each for each in named if each not in collected]


def page(data: Data, found: Mapping[str, str]) -> str:
    """The page."""
    parts = [_head(data), *(_section(each, found) for each in data.sections), _files_part(data.files)]
    return "\n\n".join(parts) + "\n"


def _head(data: Data) -> str:
    counts = {status: sum(each.status == status for each in data.features) for status in STATUSES}
    open_rows = [each for each in data.features if each.status != "works"]
    listed = "\n".join(f"- {each.id}, {each.what}: {each.status}: {each.why}." for each in open_rows)
    counted = ", ".join(f"{status}: {count}" for status, count in counts.items())
    return f"""# What the paper's study needs, row by row

Written by `python scripts/write_features.py`, which runs every command below without a GPU, reads the result off its `--json`, and looks up
every test. Commands follow `shapewright`; measured values come from the rows of an H200 under `benchmarks/h200`; files that the commands
name stand at the end. Errors are means without sign of predictions against what was measured.

{len(data.features)} rows: {counted}.

{listed}"""


def _section(section: Section, found: Mapping[str, str]) -> str:
    head = "| id | what | command | result | test | status |\n|---|---|---|---|---|---|"
    return "\n".join([f"## {section.title}\n", head, *(_row(each, found[each.id]) for each in section.features)])


def _row(feature: Feature, seen: str) -> str:
    what = f"{feature.what} ({feature.modes})" if feature.modes else feature.what
    commands = "<br>".join(f"`{each}`" for each in feature.commands)
    tests = "<br>".join(f"`{each.removeprefix('tests/')}`" for each in feature.tests)
    status = f"{feature.status}: {feature.why}" if feature.why else feature.status
    cells = (each.replace("|", "\\|") for each in (feature.id, what, commands, seen, tests, status))
    return f"| {' | '.join(cells)} |"


def _files_part(files: Mapping[str, str]) -> str:
    blocks = [f"`{name}`:\n\n```{Path(name).suffix[1:]}\n{text.strip()}\n```" for name, text in files.items()]
    return "\n\n".join(["## Files that the commands name", *blocks])


def main() -> None:
    data = load_data()
    if missing := missing_tests(data.features):
        raise SystemExit(f"no such test: {', '.join(missing)}")
    text = page(data, results(data.features, data.files))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
