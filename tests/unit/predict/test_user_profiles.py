"""A profile of the user's own goes before the one that ships, is named where it is used, and can be changed and removed at any time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import shapewright as sw
from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.predict.profiles import FOLDER, FOLDER_VARIABLE, load_profile, user_folder, user_profile
from shapewright.report.json import explain_document
from shapewright.report.text import explain_text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def write(folder: Path, launch_s: float, name: str = "h200.cuda13") -> Path:
    """The shipped profile of the H200 with another launch time."""
    data = json.loads((FOLDER / "h200.cuda13.json").read_text())
    for menu in data["menus"].values():
        menu |= {"launch_s": launch_s, "correction": None}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data))
    return path


def small_product_s() -> float:
    return float(sw.predict_gemm("h200", m=64, n=64, k=64).time_s[0])


def test_the_users_profile_is_used_changed_and_removed(folder: Path) -> None:
    shipped = small_product_s()
    path = write(folder, 1e-3)
    assert 1e-3 < small_product_s() < 1.1e-3
    write(folder, 2e-3)
    assert 2e-3 < small_product_s() < 2.1e-3
    path.unlink()
    assert small_product_s() == shipped


def test_explain_names_it(folder: Path) -> None:
    path = write(folder, 4e-6)
    explanation = sw.explain("gpt2", "h200")
    assert explanation.profile == str(path) and explain_document(explanation)["profile"] == str(path)
    assert f"profile {path}" in " ".join(explain_text(explanation, width=400).split())
    path.unlink()
    explanation = sw.explain("gpt2", "h200")
    assert explanation.profile == "" and explain_document(explanation)["profile"] is None
    assert "profile " not in explain_text(explanation).rpartition("provenance")[2]


def test_another_gpu_or_library_is_not_touched(folder: Path) -> None:
    before = load_profile(load_gpu("h100"))
    write(folder, 1e-3)
    assert load_profile(load_gpu("h100")) == before and load_profile(load_gpu("b200")).path == ""


def test_an_empty_variable_leaves_the_users_profiles_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 1e-3)
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    assert user_folder() is None and load_profile(load_gpu("h200")).path == ""


def test_the_folder_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "shapewright/profiles"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".local/share/shapewright/profiles"


@pytest.mark.parametrize(
    ("text", "message"), [("{", "profile is no JSON"), ("[]", "profile has schema_version None"), ("{}", "profile has schema")]
)
def test_a_broken_file_is_named(folder: Path, text: str, message: str) -> None:
    path = folder / "h200.cuda13.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_profile(load_gpu("h200"))
    assert str(error.value).startswith(f"{path}: {message}")


def _edited(folder: Path, place: tuple[str | int, ...], value: object) -> Path:
    """The shipped profile of the H200 with one value changed, or taken out where it is `...`."""
    path = write(folder, 2e-6)
    data = json.loads(path.read_text())
    part = data
    for key in place[:-1]:
        part = part[key]
    if value is ...:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("gpu",), "a100-80gb", "profile is of a100-80gb, not of h200; remove or rename the file, which puts the shipped profile in force"),
        (("menus", "odd"), ..., "profile has no odd in menus"),
        (("memory", "gather"), ..., "profile has no gather in memory"),
        (("spreads", "attention"), ..., "profile has no attention in spreads"),
        (("menus", "odd", "feed"), 0, "'profile.menus.odd.feed is 0'"),
        (("menus", "odd", "feed"), "2", "menus.odd.feed is"),
        (("menus", "odd", "droop"), float("nan"), "'profile.menus.odd.droop is nan'"),
        (("menus", "half", "launch_s"), -1, "'profile.menus.half.launch_s is -1'"),
        (("menus", "half", "num_rows"), True, "'profile.menus.half.num_rows is True'"),
        (("menus", "half", "groups", "NT:8:1"), "x", "menus.half.groups.NT:8:1 is"),
        (("menus", "half", "spreads", 1), ..., "'profile.menus.half.spreads has 3 entries'"),
        (("menus", "half", "fit_range", 1), ..., "'profile.menus.half.fit_range has 4 entries'"),
        (("menus", "half", "candidates"), [], "'profile.menus.half.candidates is empty'"),
        (("attention", "heads"), [], "'profile.attention.heads is empty'"),
        (("power", "slope"), None, "'profile.power.slope is None'"),
        (("menus", "odd", "correction"), {"widths": [2, 1], "weights": "AAAAAAAA", "bound": 0.7}, "correction of odd of another version"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(folder: Path, place: tuple[str | int, ...], value: object, message: str) -> None:
    path = _edited(folder, place, value)
    with pytest.raises(InputError) as error:
        load_profile(load_gpu("h200"))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_names_lead_to_no_other_folder(folder: Path) -> None:
    stranger = replace(load_gpu("h200"), name="../../etc/passwd")
    found = user_profile(stranger, "a/b")
    assert found is not None and found.parent == folder


def test_libraries_of_the_users_are_offered(folder: Path) -> None:
    write(folder, 1e-3, "h200.cuda14")
    with pytest.raises(InputError, match=r"did you mean cuda1[34] or cuda1[34]"):
        load_profile(load_gpu("h200"), "cuda15")
    assert load_profile(load_gpu("h200"), "cuda14").menus["aligned_nt"].launch_s == 1e-3
