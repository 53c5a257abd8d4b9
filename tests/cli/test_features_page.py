"""docs/paper/features.md: every feature of the paper's study once, with the commands and tests of scripts/features.toml."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from cli.console_blocks import ROOT, page


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_features", ROOT / "scripts/write_features.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
DATA = SCRIPT.load_data()
PAGE = page("docs/paper/features.md")
#: Rows of each section: operators, analyses, models, hardware, software and outputs, traps.
NUM_ROWS = {"B": 31, "F": 26, "M": 21, "H": 10, "S": 8, "T": 11}
#: Rows that take no second and change with no fit of the predictor.
CHEAP = ("F4", "F9", "F18", "M1", "M3", "M8", "M18", "H6", "S8", "T1", "T2", "T7", "T8")
FEATURES = {each.id: each for each in DATA.features}


def cells(text: str) -> dict[str, list[str]]:
    """Cells of the page's tables by the id in the first one."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if re.match(r"\| [BFMHST][0-9]+ \|", line)]
    return {row[0].strip(): [cell.strip().replace("\\|", "|") for cell in row] for row in rows}


SEEN = {name: row[3] for name, row in cells(PAGE).items()}


def test_every_feature_is_there_once() -> None:
    wanted = [f"{letter}{number}" for letter, count in NUM_ROWS.items() for number in range(1, count + 1)]
    assert [each.id for each in DATA.features] == wanted == list(SEEN)
    assert len(re.findall(r"^\| [BFMHST][0-9]+ \|", PAGE, re.MULTILINE)) == len(wanted)


def test_the_page_is_that_of_the_data() -> None:
    """Written by scripts/write_features.py: run it again when rows or predictions change."""
    assert SCRIPT.page(DATA, SEEN) == PAGE


@pytest.mark.parametrize("feature", DATA.features, ids=lambda each: each.id)
def test_what_proves_a_row_exists(feature) -> None:
    assert feature.commands and feature.tests
    for test in feature.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test


@pytest.mark.parametrize("feature", DATA.features, ids=lambda each: each.id)
def test_a_row_that_does_not_work_says_why(feature) -> None:
    line = cells(PAGE)[feature.id][5]
    assert (line == "works") == (feature.status == "works") and line.startswith(feature.status)
    assert feature.status == "works" or f"- {feature.id}, {feature.what}: {feature.status}: {feature.why}." in PAGE


def test_results_are_what_the_commands_answer() -> None:
    found = SCRIPT.results([FEATURES[name] for name in CHEAP], DATA.files)
    assert found == {name: SEEN[name] for name in CHEAP}


def test_a_command_that_ends_otherwise_is_no_proof() -> None:
    with pytest.raises(AssertionError, match="M18"):
        SCRIPT.results([replace(FEATURES["M18"], exits=(0, 0))], DATA.files)


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match=re.escape("T8: {claims/id=999/reading}")):
        SCRIPT.results([replace(FEATURES["T8"], shows="{claims/id=999/reading}")], DATA.files)


@pytest.mark.parametrize(
    ("shows", "text"),
    [
        ("{a/b}", "1.50"),
        ("{a/b|.1f}", "1.5"),
        ("{a/b|s}", "1.50 s"),
        ("{list/1/x}", "7"),
        ("{list/-1/x}", "9"),
        ("{list/k=v,x=8/x}", "8"),
        ("{list/[k=v]/#}", "2"),
        ("{list/*/x}", "6, 7, 8, 9"),
        ("{list/*/x|mean}", "7.50"),
        ("{list/*/k|distinct}", "u, v"),
        ("{many}, {is_it}", "1,234,567, yes"),
        ("{2:a/b} of {a/b}", "2.50 of 1.50"),
    ],
)
def test_sentences_are_filled(shows: str, text: str) -> None:
    ks = ("u", "u", "v", "v")
    items = [{"k": k, "x": x} for k, x in zip(ks, (6, 7, 8, 9), strict=True)]
    first = {"=code": 0, "a": {"b": 1.5}, "list": items, "many": 1234567, "is_it": True}
    feature = replace(FEATURES["T8"], shows=shows, exits=(0, 0))
    assert SCRIPT.result(feature, [first, {"=code": 0, "a": {"b": 2.5}}]) == text


def test_the_folder_of_files_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SCRIPT.folder_of_files({"a.txt": "text"}) as folder:
        assert Path("a.txt").read_text(encoding="utf-8") == "text" and Path("benchmarks/h200").is_dir()
    assert Path.cwd() == tmp_path and not folder.exists() and not list(tmp_path.iterdir())
