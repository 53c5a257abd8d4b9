"""docs/lint.md is true: its files make a project in which its commands, and those of its workflows, do what it says of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import shapewright
from shapewright.lint.rule import load_rules
from shapewright.lint.settings import OUTPUT_FORMATS, Settings, find_settings, rules_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
WORKFLOWS = [name for name in FILES if name.startswith(".github/")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with every file that the page shows, and a command `shapewright` for its shell."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = tmp_path / "bin" / "shapewright"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m shapewright "$@"\n')
    command.chmod(0o755)
    return tmp_path


def shell(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(project / "bin"), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(Path(shapewright.__file__).parents[1]), "COLUMNS": "100"}
    return subprocess.run(["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_settings_of_the_page(project) -> None:
    found = find_settings(project)
    assert (found.gpu, found.fail_over, found.ignore) == (("h200", "a100-40gb"), 0.01, ("SW6",))
    assert dict(found.workload) == {"phase": "train", "micro_batch": 4, "sequence": 1024}
    every = {rule.code for rule in load_rules() if not rule.code.startswith("SW6")}
    assert {rule.code for rule in rules_for(found, project / "models/gpt2/config.json")} == every
    assert {rule.code for rule in rules_for(found, project / "models/released/a/config.json")} == {c for c in every if c[:3] != "SW1"}


def test_the_settings_of_a_file_of_their_own(project) -> None:
    found = find_settings(project / "models/draft")
    assert (found.gpu, found.for_new_model, dict(found.workload)) == (("h200",), True, {"sequence": 1024})


SCRIPT = """python pretrain_gpt.py --num-layers 12 --hidden-size 768 --num-attention-heads 12 --max-position-embeddings 1024 \\
  --vocab-size 50304 --seq-length 1024 --micro-batch-size 1
"""


@pytest.mark.parametrize(
    "command, chosen",
    [
        ("run.sh", [1]),  # not the settings' 4
        ("run.sh --micro-batch 2", [2]),
        ("run.sh --phase prefill", []),
        ("models/gpt2", []),  # the settings chose for every model
        ("models/gpt2 --micro-batch 2", [2]),
    ],
)
def test_who_says_the_micro_batch(project, command, chosen) -> None:
    """A flag, the model's own training file, the settings; the rule about it speaks of the first two."""
    (project / "run.sh").write_text(SCRIPT)
    answer = shell(project, f"shapewright lint {command} --select SW501 --exit-zero --json")
    assert answer.returncode == 0, answer.stderr
    assert [finding["value"] for finding in json.loads(answer.stdout)["findings"]] == chosen


def test_every_key_is_explained() -> None:
    keys = {each.name.replace("_", "-") for each in fields(Settings)} - {"folder", "places"}
    table = PAGE.split("| key | value |")[1].split("\n\n")[0]
    assert {key for line in table.splitlines()[2:] for key in re.findall(r"`([\w-]+)`", line.split("|")[1])} == keys
    assert set(OUTPUT_FORMATS) <= set(re.findall(r"`(\w+)`", table))


def test_the_commands_of_the_page(project) -> None:
    """In the order of the page: its exit codes, no traceback, and a fixed copy at the end."""
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        expected = re.search(r"# exit code (\d)", command)
        answer = shell(project, command)
        assert answer.returncode == int(expected[1] if expected else 0), (command, answer.stdout, answer.stderr)
        assert "Traceback" not in answer.stderr
    assert json.loads((project / "models/gpt2/config.fixed.json").read_text())["vocab_size"] == 50304


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_workflows(project, name) -> None:
    workflow = yaml.safe_load(FILES[name])
    steps = workflow["jobs"]["lint"]["steps"]
    assert [step["uses"].split("@")[0] for step in steps if "uses" in step][:2] == ["actions/checkout", "actions/setup-python"]
    [command] = [step["run"] for step in steps if step.get("run", "").startswith("shapewright")]
    answer = shell(project, command)
    if "github" in command.split():
        assert answer.returncode == 1
        assert re.search(r"^::\w+ .*file=models/gpt2/config\.json.*line=7", answer.stdout, re.MULTILINE)
    else:
        assert (answer.returncode, answer.stdout) == (0, "")
        [upload] = [step["with"] for step in steps if "upload-sarif" in step.get("uses", "")]
        document = json.loads((project / upload["sarif_file"]).read_text())
        assert document["version"] == "2.1.0" and document["runs"][0]["results"][0]["ruleId"] == "SW101"


def hooks() -> list[dict[str, object]]:
    """Of this repository and of the page; both may hold one hook, of one name."""
    own = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    [local] = yaml.safe_load(FILES[".pre-commit-config.yaml"])["repos"]
    return [*own, *local["hooks"]]


def test_the_hooks(project) -> None:
    found = hooks()
    assert [hook["id"] for hook in found] == ["shapewright-lint"] * 2
    assert [hook["entry"] for hook in found] == ["shapewright lint"] * 2
    for hook in found:
        assert all(re.search(str(hook["files"]), name) for name in ("models/gpt2/config.json", "models/a/b/config.json"))
        assert not re.search(str(hook["files"]), "models/gpt2/tokenizer.json")
    assert not re.search(str(found[0]["files"]), "myconfig.json")
    # pre-commit appends the names of the files.
    assert shell(project, f"{found[0]['entry']} models/gpt2/config.json").returncode == 1
