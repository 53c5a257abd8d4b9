"""Settings: where they are found, what each key says, how a mistake is refused, and which rules a file is held against."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.lint.rule import load_rules, select_rules
from shapewright.lint.settings import Settings, find_settings, rules_for, share
from shapewright.workload import Workload

ALL = """
[project]
name = "mine"

[tool.shapewright]
gpu = ["h200", "cards/my.toml"]
node = "node.toml"
library = "cublas-12.4"
select = ["SW1", "VocabNotPadded"]
ignore = "SW103"
fail-over = "2%"
output-format = "github"
exit-zero = true
for-new-model = true

[tool.shapewright.per-file-ignores]
"old/**" = ["SW101"]

[tool.shapewright.workload]
phase = "train"
micro-batch = 8
tensor_parallel = 4
"""


def project(folder: Path, text: str, name: str = "pyproject.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path, text: str, name: str = "pyproject.toml") -> str:
    """What is said of a file; always one line that begins with its name."""
    project(folder, text, name)
    with pytest.raises(InputError) as error:
        find_settings(folder)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


def test_every_key_is_read(tmp_path) -> None:
    found = find_settings(project(tmp_path, ALL))
    assert replace(found, places={}) == Settings(
        folder=tmp_path, gpu=("h200", str(tmp_path / "cards/my.toml")), node=str(tmp_path / "node.toml"), library="cublas-12.4",
        select=("SW1", "VocabNotPadded"), ignore=("SW103",), per_file_ignores=(("old/**", ("SW101",)),), fail_over=0.02,
        output_format="github", exit_zero=True, for_new_model=True,
        workload={"phase": "train", "micro_batch": 8, "tensor_parallel": 4},
    )  # fmt: skip
    assert {name: found.place(name) for name in ("gpu", "per_file_ignores", "micro_batch", "tensor_parallel", "sequence")} == {
        "gpu": f"{tmp_path}/pyproject.toml:6", "per_file_ignores": f"{tmp_path}/pyproject.toml:16",
        "micro_batch": f"{tmp_path}/pyproject.toml:21", "tensor_parallel": f"{tmp_path}/pyproject.toml:22", "sequence": None,
    }  # fmt: skip


def test_every_field_of_the_workload_is_known(tmp_path) -> None:
    values = {
        "phase": '"decode"', "micro_batch": 2, "global_batch": 6, "sequence": 64, "context": 9, "dtype": '"fp16"', "attention": '"unfused"',
        "runtime": '"eager"', "recompute": '"full"', "tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 3, "expert_parallel": 2,
        "sequence_parallel": "true", "zero": 1, "stack": '"megatron"',
    }  # fmt: skip
    assert set(values) == {field.name for field in fields(Workload)}
    for dash in ("-", "_"):
        lines = [f"{name.replace('_', dash)} = {value}" for name, value in values.items()]
        project(tmp_path, "[workload]\n" + "\n".join(lines), "shapewright.toml")
        assert set(find_settings(tmp_path).workload) == set(values)


def test_the_nearest_folder_decides_and_our_own_file_goes_first(tmp_path) -> None:
    inner = project(tmp_path / "a" / "b", "[tool.ruff]\nline-length = 100\n")
    project(tmp_path, "[tool.shapewright]\ngpu = 'h100'\n")
    assert find_settings(inner).gpu == ("h100",)
    project(tmp_path / "a", "[tool.shapewright]\ngpu = 'a100-40gb'\n")
    assert find_settings(inner).gpu == ("a100-40gb",)
    project(tmp_path / "a", "gpu = 'h200'\n", "shapewright.toml")
    assert find_settings(inner).gpu == ("h200",)
    assert find_settings(inner, explicit=tmp_path / "pyproject.toml").gpu == ("h100",)


def test_empty_files(tmp_path) -> None:
    """An empty pyproject is nobody's; an empty file of our own says to look no further."""
    project(tmp_path, "gpu = 'h200'", "shapewright.toml")
    inner = project(tmp_path / "inner", "")
    assert find_settings(inner).gpu == ("h200",)
    project(inner, "\n", "shapewright.toml")
    assert find_settings(inner) == Settings(folder=inner)


def test_without_a_file(tmp_path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    assert find_settings(tmp_path) == Settings()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gpus = 'h200'", "pyproject.toml:3: unknown key 'gpus'; did you mean gpu?"),
        ("fail_over = 0.1", "pyproject.toml:3: unknown key 'fail_over'; did you mean fail-over?"),
        ("gpu = 3", "pyproject.toml:3: gpu is 3; expected a name in quotes or a list of some"),
        ("gpu = []", "pyproject.toml:3: gpu is []; expected a name in quotes or a list of some"),
        ("gpu = ['h200', 1]", "pyproject.toml:3: gpu is ['h200', 1]; expected a name in quotes or a list of some"),
        ("node = ''", "pyproject.toml:3: node is ''; expected a name in quotes"),
        ("select = 'SW199'", "pyproject.toml:3: unknown rule 'SW199'; did you mean SW10"),
        ("select = 'SW1O1'", "pyproject.toml:3: unknown rule 'SW1O1'; did you mean SW101"),
        ("select = []", "pyproject.toml:3: select is []; expected a name in quotes or a list of some"),
        ("ignore = ['VocabNotPaded']", "pyproject.toml:3: unknown rule 'VocabNotPaded'; did you mean VocabNotPadded"),
        ("per-file-ignores = 'SW101'", "pyproject.toml:3: per-file-ignores is 'SW101'; expected a table"),
        (
            "[tool.shapewright.per-file-ignores]\n'a.json' = ['SW101']\n'b.json' = ['SX1']",
            "pyproject.toml:5: unknown rule 'SX1'; did you mean",
        ),
        ("per-file-ignores.'a*' = 3", "pyproject.toml:3: per-file-ignores of 'a*' is 3; expected a code such as SW101 or a list of some"),
        ("workload.expert-parallel = 0", "pyproject.toml:3: expert_parallel is 0; expected at least 1"),
        ("fail-over = 2", "pyproject.toml:3: fail-over is 2; expected a share of the step"),
        ("fail-over = '2'", "pyproject.toml:3: fail-over is '2'; expected a share of the step"),
        ("fail-over = nan", "pyproject.toml:3: fail-over is nan; expected a share of the step"),
        ("fail-over = true", "pyproject.toml:3: fail-over is true; expected a share of the step"),
        ("gpu = ['h200', false]", "pyproject.toml:3: gpu is ['h200', false]; expected"),
        ("node = 2026-01-31", "pyproject.toml:3: node is 2026-01-31; expected"),
        ("library = {a = [true]}", "pyproject.toml:3: library is {a = [true]}; expected"),
        ("per-file-ignores.'a*' = true", "pyproject.toml:3: per-file-ignores of 'a*' is true; expected"),
        ("workload.micro-batch = true", "pyproject.toml:3: micro_batch is true; expected a positive integer"),
        ("workload.dtype = [true]", "pyproject.toml:3: unknown dtype [true]; known"),
        ("output-format = 'jsn'", "pyproject.toml:3: unknown output-format 'jsn'; did you mean json?"),
        ("exit-zero = 'yes'", "pyproject.toml:3: exit-zero is 'yes'; expected true or false"),
        ("for-new-model = 1", "pyproject.toml:3: for-new-model is 1; expected true or false"),
        ("workload = 4", "pyproject.toml:3: workload is 4; expected a table"),
        (
            "[tool.shapewright.workload]\nmicro-batches = 4",
            "pyproject.toml:4: unknown workload key 'micro-batches'; did you mean micro-batch",
        ),
        ("[tool.shapewright.workload]\nmicro-batch = 'four'", "pyproject.toml:4: micro_batch is 'four'; expected a positive integer"),
        ("[tool.shapewright.workload]\nphase = 'training'", "pyproject.toml:4: unknown phase 'training'; did you mean train?"),
        ("[tool.shapewright.workload]\nexpert-parallel = 'x'", "pyproject.toml:4: expert_parallel is 'x'; expected a positive integer"),
        ("[tool.shapewright.workload]\ndtype = 16", "pyproject.toml:4: unknown dtype 16"),
        ("workload.zero = 1\nworkload.zero-1 = 1", "pyproject.toml:4: unknown workload key 'zero-1'; did you mean zero"),
        ("[tool.shapewright.workload]\nmicro-batch = 1\nmicro_batch = 2", "pyproject.toml:5: micro_batch is given twice"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, line, message) -> None:
    assert refused(tmp_path, f"# comment\n[tool.shapewright]\n{line}\n").startswith(message)


def test_our_own_file_has_no_table_around_its_keys(tmp_path) -> None:
    said = refused(tmp_path, "# comment\n[tool.shapewright]\ngpu = 'h200'\n", "shapewright.toml")
    assert said == "shapewright.toml:2: unknown key 'tool'; a shapewright.toml holds its keys at the top"
    said = refused(tmp_path, "\n\n[tool.shapewright.workload]\nzero = 1\n", "shapewright.toml")
    assert said.startswith("shapewright.toml:3: unknown key 'tool'")
    said = refused(tmp_path, "gpu = 'h200'\ntool.shapewright.gpu = 'h200'\n", "shapewright.toml")
    assert said.startswith("shapewright.toml:2: unknown key 'tool'")


def test_a_table_of_another_kind(tmp_path) -> None:
    assert refused(tmp_path, "[tool]\nshapewright = false\n").startswith("pyproject.toml:2: tool.shapewright is false; expected a table")
    assert refused(tmp_path, "[tool]\nshapewright = 3\n") == "pyproject.toml:2: tool.shapewright is 3; expected a table [tool.shapewright]"


def test_what_is_no_toml(tmp_path) -> None:
    assert refused(tmp_path, "[project]\nname = \n").startswith("pyproject.toml:2: not valid TOML: Invalid value")
    assert refused(tmp_path, "a = [1,").startswith("pyproject.toml:1: not valid TOML: ")
    assert refused(tmp_path, f"a = {'[' * 5000}").startswith("pyproject.toml: nested too deeply")
    assert refused(tmp_path, f"a = {'9' * 5000}").startswith("pyproject.toml: not valid TOML")
    assert refused(tmp_path, "gpu = 'h200'\ngpu = 'h100'", "shapewright.toml").startswith(
        "shapewright.toml:2: not valid TOML: Cannot overwrite"
    )
    (tmp_path / "shapewright.toml").write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(InputError, match=r"shapewright\.toml:2: the file is not UTF-8 text"):
        find_settings(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file(tmp_path) -> None:
    project(tmp_path, ALL)
    (tmp_path / "pyproject.toml").chmod(0)
    with pytest.raises(InputError, match=r"pyproject\.toml: cannot be read; check its permissions"):
        find_settings(tmp_path)


def test_an_explicit_file(tmp_path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: no file; check the path"):
        find_settings(tmp_path, explicit=tmp_path / "none.toml")
    project(tmp_path, "[tool.other]\n")
    with pytest.raises(InputError, match=r"pyproject\.toml: no table \[tool\.shapewright\]; add it"):
        find_settings(tmp_path, explicit=tmp_path / "pyproject.toml")
    project(tmp_path, "gpu = 'v100-16gb'", "team.toml")
    assert find_settings(tmp_path, explicit=tmp_path / "team.toml").gpu == ("v100-16gb",)


def test_places_are_named_from_the_current_folder(tmp_path, monkeypatch) -> None:
    inner = project(tmp_path / "inner", "")
    project(tmp_path, "gpu = 1", "shapewright.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^shapewright\.toml:1: gpu is 1"):
        find_settings(inner)


@pytest.mark.parametrize(
    ("written", "value"), [("2%", 0.02), (" 2.5 % ", 0.025), ("0.02", 0.02), (0.02, 0.02), (0, 0.0), ("0%", 0.0), ("100%", 1.0)]
)
def test_shares(written, value) -> None:
    assert share(written) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("written", ["2", 2, 1, "1", -0.1, "-1%", "101%", "nan", "inf%", "%", "", "two", None, True, [0.1], 10**400])
def test_what_is_no_share(written) -> None:
    with pytest.raises(InputError, match=r'is no share of a step; expected "2%" or 0\.02'):
        share(written)


def codes(settings: Settings, path: Path | None) -> set[str]:
    return {rule.code for rule in rules_for(settings, path)}


def test_rules_for_a_file(tmp_path) -> None:
    every = {rule.code for rule in load_rules()}
    assert codes(Settings(), tmp_path / "config.json") == every
    settings = Settings(folder=tmp_path, select=("SW1",), ignore=("SW103",), per_file_ignores=(("old/**", ("SW101",)), ("*.sh", ("ALL",))))
    chosen = {rule.code for rule in select_rules(("SW1",), ("SW103",))}
    assert codes(settings, tmp_path / "config.json") == chosen >= {"SW101"}
    assert codes(settings, tmp_path / "old/deep/config.json") == chosen - {"SW101"}
    assert codes(settings, tmp_path / "run/train.sh") == set()
    assert codes(settings, None) == chosen


def test_settings_that_leave_no_rule(tmp_path) -> None:
    """Refused, with the line of what leaves them out; that a file is held against none is its owner's wish."""
    found = find_settings(project(tmp_path, "select = 'SW1'\nignore = ['SW6', 'sw1']\n", "shapewright.toml"))
    with pytest.raises(InputError) as error:
        rules_for(found, tmp_path / "config.json")
    assert str(error.value) == (
        f"{tmp_path}/shapewright.toml:2: no rule is left: SW6 and sw1 ignore all that SW1 selects; ignore fewer rules, or select others"
    )
    assert codes(replace(found, select=("SW1", "SW201")), None) == {"SW201"}
    with pytest.raises(InputError, match=r"^no rule is left: ALL ignores all that ALL selects; "):
        rules_for(Settings(ignore=("ALL",)), None)


@pytest.mark.parametrize(
    "glob", ["[", "a[", "[]", "[!]", "{a,[^]}", "a{b", "a}", "{a,{b,c}}", "{[a,b]}", "[z-a].json", "", " ", "!", "![", "{x[,y}"]
)
def test_what_is_no_pattern(tmp_path, glob) -> None:
    said = refused(tmp_path, f"gpu = 'h200'\n[per-file-ignores]\n'{glob}' = 'SW1'\n", "shapewright.toml")
    assert said.startswith(f"shapewright.toml:3: per-file-ignores has {glob!r}, which is no pattern of files (")
    assert said.endswith("); expected one such as old/*.json")


@pytest.mark.parametrize("glob", ["[[]", "[]]", "[!]]", "a]", "[{]", "[a-z]", "[z-]", "{a,[bc]}", "**", "a***b", "(", "+", "\\"])
def test_odd_patterns_that_are_some(tmp_path, glob) -> None:
    """What is taken never fails when a file is held against it."""
    found = find_settings(project(tmp_path, f"per-file-ignores.'{glob}' = 'ALL'\n", "shapewright.toml"))
    assert rules_for(found, tmp_path / "no such") == (() if glob == "**" else load_rules())


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("config.json", {"config.json", "old/config.json", "old/deep/config.json"}),
        ("old/*", {"old/config.json", "old/deep/config.json"}),
        ("old/**/config.json", {"old/config.json", "old/deep/config.json"}),
        ("**/deep/*", {"old/deep/config.json"}),
        ("./old/*", {"old/config.json", "old/deep/config.json"}),
        ("old", set()),
        ("!old/*", {"config.json", "a-1.json"}),
        ("[a-c]-?.json", {"a-1.json"}),
        ("{a-1,b}.json", {"a-1.json"}),
        ("[!a]*.json", {"config.json", "old/config.json", "old/deep/config.json"}),
    ],
)
def test_globs(tmp_path, monkeypatch, glob, names) -> None:
    """What ruff 0.17 makes of the same patterns; paths may be relative to the current folder, patterns are to that of the settings."""
    settings = Settings(folder=tmp_path, per_file_ignores=((glob, ("ALL",)),))
    paths = ("config.json", "old/config.json", "old/deep/config.json", "a-1.json")
    assert {path for path in paths if not codes(settings, tmp_path / path)} == names
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert {path for path in paths if not codes(settings, Path("..") / path)} == names
