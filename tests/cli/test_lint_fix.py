"""`shapewright lint --fix`: a copy appears whole or not at all, and nothing that was there is lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shapewright.cli import lint_fix
from shapewright.cli.lint_fix import write_fixes
from shapewright.errors import InputError
from shapewright.lint.finding import Finding, Fix, Price
from shapewright.lint.linter import Linted
from shapewright.read.resolve import load

TEXT = '{\r\n\t"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12,\r\n\t"vocab_size": 50257, "n_positions": 1024}'
FIXED = TEXT.replace("50257", "50304")
ARGUMENTS = ("--gpu", "h200", "--sequence", "1024", "--select", "SW101", "--fix")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    return path


def linted(source: object) -> Linted:
    """A model whose vocabulary is to be padded, without asking the predictor."""
    fix = Fix(values=(("vocab_size", 50304),), params_change=0.0, step_s=(1.0,), shares=(0.1,), is_safe=True, is_workload=False)
    price = Price(gpu="h200", cost_s=0.1, step_s=1.0, low=0.05, high=0.15, is_raised=True)
    found = Finding(code="SW101", name="VocabNotPadded", model="m", file="config.json", line=3, field="vocab_size", value=50257, message="",
                    prices=(price,), fixes=(fix,))  # fmt: skip
    return Linted(loaded=load(source), findings=(found,), step_s=())


def refused(linted: Linted, **options: object) -> str:
    with pytest.raises(InputError) as error:
        write_fixes(linted, **options)  # type: ignore[arg-type]
    message = str(error.value)
    assert "\n" not in message
    return message


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_copy_beside_the_file(cli, config) -> None:
    answer = cli("lint", str(config), *ARGUMENTS)
    assert answer.code == 1
    assert answer.notes == [
        f"{config.parent}/config.fixed.json is written",
        "vocab_size 50257 -> 50304 (SW101)",
        "an existing checkpoint does not load with the new config alone: pad its embedding and logit tables to 50304 rows too",
    ]
    assert config.read_bytes() == b"\xef\xbb\xbf" + TEXT.encode()
    assert (config.parent / "config.fixed.json").read_bytes() == b"\xef\xbb\xbf" + FIXED.encode()
    assert names(config.parent) == ["config.fixed.json", "config.json"]
    again = cli("lint", str(config.parent / "config.fixed.json"), *ARGUMENTS)
    assert (again.code, names(config.parent)) == (0, ["config.fixed.json", "config.json"])


def test_a_folder_of_a_model(cli, config) -> None:
    assert cli("lint", str(config.parent), *ARGUMENTS).code == 1
    assert names(config.parent) == ["config.fixed.json", "config.json"]


def test_nothing_to_fix_writes_nothing(config) -> None:
    without = Linted(loaded=load(str(config)), findings=(), step_s=())
    assert write_fixes(without) == (f"{config}: nothing is written: no finding has a fix that may be made",)
    assert names(config.parent) == ["config.json"]


def test_an_existing_target_is_kept(cli, config) -> None:
    target = config.parent / "mine.json"
    target.write_text("{}")
    answer = cli("lint", str(config), *ARGUMENTS, "-o", str(target))
    assert (answer.code, target.read_text()) == (2, "{}")
    assert answer.err.strip().endswith("mine.json: already exists; name another file after -o, or add --force")
    assert cli("lint", str(config), *ARGUMENTS, "-o", str(target), "--force").code == 1
    assert json.loads(target.read_text(encoding="utf-8-sig"))["vocab_size"] == 50304
    target.write_text("")  # as mktemp leaves it
    assert cli("lint", str(config), *ARGUMENTS, "-o", str(target)).code == 1
    assert target.read_bytes()


def test_the_file_itself_only_by_force(config) -> None:
    assert "already exists" in refused(linted(str(config)), output=config)
    write_fixes(linted(str(config)), output=config, force=True)
    assert config.read_text(encoding="utf-8-sig") == FIXED.replace("\r\n", "\n")


@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("aim", ["nowhere.json", "kept.json"])
def test_a_link_is_never_replaced(cli, config, aim, is_forced) -> None:
    link, kept = config.parent / "link.json", config.parent / "kept.json"
    kept.write_text("{}")
    link.symlink_to(aim)
    answer = cli("lint", str(config), *ARGUMENTS, "-o", str(link), *(["--force"] if is_forced else []))
    assert answer.code == 2 and "link.json: is a link; name the file that it leads to, or another, after -o" in answer.err
    assert link.is_symlink() and kept.read_text() == "{}"
    assert names(config.parent) == ["config.json", "kept.json", "link.json"]


@pytest.mark.parametrize("mode, umask, expected", [(0o755, 0o022, 0o755), (0o777, 0o027, 0o750), (0o600, 0o022, 0o600)])
def test_the_copy_may_be_used_as_its_source(config, mode, umask, expected) -> None:
    config.chmod(mode)
    before = os.umask(umask)
    try:
        write_fixes(linted(str(config)))
        write_fixes(linted(str(config)), text=TEXT, output=config.parent / "stdin.json")
    finally:
        os.umask(before)
    assert (config.parent / "config.fixed.json").stat().st_mode & 0o7777 == expected
    assert (config.parent / "stdin.json").stat().st_mode & 0o7777 == 0o666 & ~umask


def test_targets_that_cannot_be(config) -> None:
    assert refused(linted(str(config)), output=config.parent).endswith(": is not a regular file; name a file after -o")
    assert refused(linted(str(config)), output=config.parent / "no/a.json").endswith("a.json: its folder does not exist; create it first")
    assert names(config.parent) == ["config.json"]


def test_a_folder_that_may_not_be_written(cli, config, monkeypatch) -> None:
    """The system's refusal, which root would not get from a folder's mode."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "draft")

    monkeypatch.setattr("tempfile.mkstemp", denied)
    answer = cli("lint", str(config), *ARGUMENTS)
    assert answer.code == 2
    target = config.parent / "config.fixed.json"
    assert answer.err.strip() == f"error: {target}: cannot be written (permission denied); name another place after -o"
    assert names(config.parent) == ["config.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(cli, config) -> None:
    config.parent.chmod(0o555)
    try:
        answer = cli("lint", str(config), *ARGUMENTS)
    finally:
        config.parent.chmod(0o755)
    assert answer.code == 2 and "cannot be written (permission denied)" in answer.err
    assert names(config.parent) == ["config.json"]


def test_a_full_disk_leaves_nothing(config, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "config.fixed.json: cannot be written (no space left on device)" in refused(linted(str(config)))
    assert names(config.parent) == ["config.json"]


def test_a_file_that_changed_since_it_was_linted(config) -> None:
    found = linted(str(config))
    config.write_text(TEXT.replace("768", "1536"))
    assert "the fix no longer applies: the file does not describe the model that was linted" in refused(found)
    config.unlink()
    assert "has no file to fix" in refused(found)
    assert names(config.parent) == []


def test_a_file_that_changes_while_the_copy_is_made(config, monkeypatch) -> None:
    def edited(linted: Linted, text: str, **options: bool):
        config.write_text(TEXT + "\n")
        return plan(linted, text, **options)

    plan = lint_fix.plan_fixes
    monkeypatch.setattr(lint_fix, "plan_fixes", edited)
    assert "the fix no longer applies: the file changed meanwhile; lint it again" in refused(linted(str(config)))
    assert names(config.parent) == ["config.json"]


def test_models_without_a_file(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("lint", "gpt2", *ARGUMENTS)
    assert answer.code == 2
    assert answer.err.strip().endswith("'gpt2' has no file to fix (it comes from catalogue); give a config.json of your own")
    assert names(tmp_path) == []


def test_several_files_that_were_merged(cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yml").write_text("num_layers: 4\nhidden_size: 512\nseq_length: 1024\nmax_position_embeddings: 1024\n")
    Path("b.yml").write_text("num_attention_heads: 8\nvocab_size: 50257\nmake_vocab_size_divisible_by: 1\n")
    answer = cli("lint", "a.yml+b.yml", *ARGUMENTS)
    assert answer.code == 2
    assert "error: a.yml + b.yml: several files were merged; make the changes by hand, in the file of each finding\n" in answer.err
    assert names(tmp_path) == ["a.yml", "b.yml"]


def test_a_model_of_the_hubs_cache(config, tmp_path, monkeypatch) -> None:
    """Its file is the cache's, in which nothing of ours belongs."""
    snapshot = tmp_path / "hub/models--org--name/snapshots/0123456789abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(TEXT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert refused(linted("org/name")) == "'org/name' has no file to fix (it comes from org/name); give a config.json of your own"
    assert names(snapshot) == ["config.json"]


def test_standard_input_goes_where_it_is_told(process, tmp_path) -> None:
    answer = process("lint", "-", *ARGUMENTS, cwd=tmp_path, input=TEXT)
    assert answer.returncode == 2
    assert answer.stderr.strip().endswith("--fix of standard input needs a place to write to; name a file after -o")
    assert process("lint", "-", *ARGUMENTS, "-o", "new.json", cwd=tmp_path, input=TEXT).returncode == 1
    assert json.loads((tmp_path / "new.json").read_text())["vocab_size"] == 50304
    assert names(tmp_path) == ["new.json"]


KILLED = """
import os, pathlib, signal, sys
from shapewright.cli import main
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.mark.parametrize("flags", [(), ("-o", "config.json", "--force")])
def test_killed_before_the_copy_is_in_its_place(config, flags) -> None:
    """Not even the file itself, where the copy is to replace it, is ever half-written."""
    command = [sys.executable, "-c", KILLED, "lint", "config.json", *ARGUMENTS, *flags]
    source = str(Path(lint_fix.__file__).parents[2])
    killed = subprocess.run(command, cwd=config.parent, env=os.environ | {"PYTHONPATH": source}, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert config.read_bytes() == b"\xef\xbb\xbf" + TEXT.encode()
    assert not (config.parent / "config.fixed.json").exists()
