"""The user's own Hugging Face cache, laid out in a temporary folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shapewright.read.hub_cache import cache_folder, find_cached_config, is_hub_id

HASH, OLDER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def add(cache: Path, folder: str, revision: str, *, age_s: int = 0) -> Path:
    """One snapshot with a config, last changed `age_s` before a fixed time."""
    snapshot = cache / folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    os.utime(snapshot, (1_700_000_000 - age_s,) * 2)
    return snapshot / "config.json"


def point_main(cache: Path, folder: str, text: str) -> None:
    (cache / folder / "refs").mkdir(parents=True, exist_ok=True)
    (cache / folder / "refs" / "main").write_text(text)


def test_main_branch_wins_over_a_newer_snapshot(cache: Path):
    add(cache, "models--org--name", HASH)
    older = add(cache, "models--org--name", OLDER, age_s=1000)
    point_main(cache, "models--org--name", OLDER + "\n")
    assert find_cached_config("org/name") == older


def test_newest_snapshot_without_a_main_branch(cache: Path):
    add(cache, "models--gpt2", OLDER, age_s=1000)
    newest = add(cache, "models--gpt2", HASH)
    assert find_cached_config("gpt2") == newest


def test_a_main_branch_without_its_snapshot_falls_back(cache: Path):
    config = add(cache, "models--gpt2", HASH)
    point_main(cache, "models--gpt2", OLDER)
    assert find_cached_config("gpt2") == config


def test_main_branch_cannot_point_outside(cache: Path):
    config = add(cache, "models--gpt2", HASH)
    (cache / "config.json").write_text("{}")
    point_main(cache, "models--gpt2", "../..")
    assert find_cached_config("gpt2") == config


def test_nothing_cached(cache: Path):
    assert find_cached_config("org/name") is None
    (cache / "models--org--name" / "snapshots" / HASH).mkdir(parents=True)
    assert find_cached_config("org/name") is None


@pytest.mark.parametrize(
    "name", ["../secret", "a/../b", "a/b/c", "/etc", "a--b", "a\\b", "", ".", "..", "a/", "/a", "a\0b", "a b", "x" * 300, "é", "a/-"]
)
def test_odd_names_are_no_hub_ids(cache: Path, name: str):
    (cache / "models--..--secret" / "snapshots" / HASH).mkdir(parents=True)
    assert not is_hub_id(name)
    assert find_cached_config(name) is None


@pytest.mark.parametrize("name", ["gpt2", "meta-llama/Llama-3.1-8B", "EleutherAI/pythia-2.8b", "org_1/n.a_m-e", "01-ai/Yi-6B"])
def test_usual_names_are_hub_ids(name: str):
    assert is_hub_id(name)


def test_order_of_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"
