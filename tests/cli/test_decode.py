"""`decode` at the command line: stored rows shown, documents, charts, what is missing, and what contradicts itself."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import types
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from unit.report.decode_example import check, grid, row, write_run

SCHEMA = json.loads(files("shapewright.report").joinpath("decode.schema.json").read_text(encoding="utf-8"))
LLAMA, OPT = "llama-2-7b", "opt-6.7b"
CELLS = ((1, 128), (8, 1024))


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(write_run(tmp_path / "run.jsonl", [check(), *grid(LLAMA, CELLS), *grid(OPT, CELLS)]))


def test_rows_measured_before_are_shown(cli, run: str) -> None:
    answer = cli("decode", "--rows", run)
    assert (answer.code, answer.err) == (0, "") and max(map(len, answer.out.splitlines())) <= 80
    assert "llama-2-7b, bf16, on NVIDIA H200: tokens/s of 128 steps" in answer.out
    assert "1 128 50.0 169 225 291 307 338" in answer.flat and "opt-6.7b, bf16" in answer.out
    assert "check of ours-generate at 1 x 128" in answer.flat


def test_several_files_and_packed_ones_of_one_model(cli, run: str, tmp_path: Path) -> None:
    later = write_run(tmp_path / "later.jsonl", [row(LLAMA, "ours-loop", step_s=0.002)])
    packed = tmp_path / "later.jsonl.gz"
    packed.write_bytes(gzip.compress(later.read_bytes()))
    document = cli("decode", LLAMA, "--rows", run, str(packed), "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [each["model"] for each in document["models"]] == [LLAMA] and document["runs"] == [run, str(packed)]
    assert document["models"][0]["cells"][0]["engines"]["ours-loop"]["tokens_per_s"] == 500.0
    assert [each["model"] for each in document["checks"]] == [LLAMA]


def test_a_chart(cli, run: str, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    chart = tmp_path / "decode.svg"
    assert cli("decode", "--rows", run, "-o", str(chart)).code == 0 and chart.read_text(encoding="utf-8").startswith("<svg")
    before = chart.read_bytes()
    refused = cli("decode", "--rows", run, "--chart", str(chart))
    assert refused.code == 2 and "already exists" in refused.err and chart.read_bytes() == before
    assert cli("decode", "--rows", run, "--chart", str(chart), "--force").code == 0


def test_a_tiny_model_is_measured_on_the_cpu(cli, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    fields = {
        "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
        "vocab_size": 96,
    }  # fmt: skip
    model, out = tmp_path / "config.json", tmp_path / "run.jsonl"
    model.write_text(json.dumps(fields), encoding="utf-8")
    flags = ("--engines", "gpt-fast", "--context", "5", "--new-tokens", "24", "--warmup-tokens", "2", "--repeats", "1", "--dtype", "fp32")
    answer = cli("decode", str(model), *flags, "--device", "cpu", "--out", str(out), "--json")
    assert answer.code == 0, answer.err
    jsonschema.Draft202012Validator(SCHEMA).validate(answer.document)
    assert list(answer.document["models"][0]["cells"][0]["engines"]) == ["hf", "gpt-fast", "read"]
    assert answer.notes == [f"rows are kept in {out}"] and f"{model} 1 x 5 gpt-fast" in answer.err
    again = cli("decode", str(model), *flags, "--device", "cpu", "--out", str(out))
    assert again.code == 0 and f"3 rows were in {out} already" in again.err and "tokens/s of 24 steps" in again.flat


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "no model is named; name some, such as llama-2-7b, or rows measured before with --rows"),
        ("llama-2-7b --rows", "--rows needs a value"),
        ("--rows RUN --batch 1", "--batch is given with --rows; nothing is measured"),
        ("gpt2 --rows RUN", "no row is of gpt2; there are rows of llama-2-7b, opt-6.7b"),
        ("--rows RUN --force", "--force is given without --chart"),
        ("--rows RUN -o x.pdf", "unknown form .pdf; known: .svg, .png"),
        ("--rows /nope.jsonl", "/nope.jsonl: no such file"),
        ("llama-2-7b --batch one", "--batch is 'one'; expected a number"),
        ("llama-2-7b --grid s5", "unknown grid 's5'"),
        ("llama-2-7b --grid s4 --context 5", "--grid names batches and contexts itself"),
        ("llama-2-7b --engines our-loop", "unknown engine 'our-loop'; did you mean ours-loop"),
        ("llama-2-7b --time-limit 0", "--time-limit is '0'; expected a number above 0"),
        ("llama-2-7b --out run.txt", "--out is 'run.txt'; expected the name of a run file"),
        ("llama-2-7b --speed 3", "unknown flag '--speed'"),
    ],
)
def test_bad_input_is_one_line(cli, run: str, flags: str, message: str) -> None:
    answer = cli("decode", *(run if word == "RUN" else word for word in flags.split()))
    assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1 and message in answer.err


@pytest.mark.parametrize("package", ["torch", "transformers", "triton"])
@pytest.mark.parametrize("arguments", [("decode", LLAMA), ("decode", "profile")])
def test_a_missing_package_is_named(cli, monkeypatch, tmp_path: Path, package: str, arguments: tuple[str, ...]) -> None:
    monkeypatch.setattr("shapewright.cli.decode.find_spec", lambda name: None if name == package else object())
    out = tmp_path / ("run.jsonl" if LLAMA in arguments else "table.json")
    answer = cli(*arguments, "--out", str(out))
    assert answer.code == 3 and answer.out == "" and answer.err.count("\n") == 1
    assert f"measuring decoding needs {package}; pip install 'shapewright[decode]'" in answer.err
    assert not out.exists()


def test_without_a_gpu_it_says_so(cli, monkeypatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = cli("decode", LLAMA, "--out", str(tmp_path / "run.jsonl"))
    assert answer.code == 3 and answer.err.count("\n") == 1 and "torch finds no GPU" in answer.err


def test_profile_hands_its_flags_on(cli, monkeypatch, tmp_path: Path) -> None:
    module = types.ModuleType("shapewright.decode.profile")
    seen = []
    table = types.SimpleNamespace(entries=(1, 2), gpu="NVIDIA H200")
    module.profile = lambda *model, **flags: seen.append((*model, flags)) or table  # type: ignore[attr-defined]
    monkeypatch.setenv("SHAPEWRIGHT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setitem(sys.modules, "shapewright.decode.profile", module)
    answer = cli("decode", "profile", "opt-6.7b", "--batch", "1,8", "--out", str(tmp_path / "t.json"), "--time-limit", "60")
    assert (answer.code, answer.out) == (0, f"2 choices for NVIDIA H200: {tmp_path / 't.json'}\n")
    assert seen == [("opt-6.7b", {"rows": (1, 8), "out": tmp_path / "t.json", "time_limit_s": 60.0, "dtype": "bf16"})]
    assert cli("decode", "profile").code == 0
    usual = {"rows": (1, 2, 4, 8, 16, 32, 64), "out": tmp_path / "runs/decode-table.json", "time_limit_s": 600.0, "dtype": "bf16"}
    assert seen[1] == ("llama-2-7b", usual) and (tmp_path / "runs").is_dir()
    refused = cli("decode", "profile", "--out", "table.txt")
    assert refused.code == 2 and "--out is 'table.txt'; expected the name of a table, .json" in refused.err


def test_showing_rows_imports_no_framework(process, run: str) -> None:
    code = f"import sys; from shapewright.cli import main; main(['decode', '--rows', {run!r}]); print(*sys.modules, file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "llama-2-7b" in answer.stdout and {"torch", "triton", "transformers"} & set(answer.stderr.split()) == set()


def test_its_help_names_both_of_its_ways(cli) -> None:
    text = cli("decode", "--help").flat
    assert "Measure how fast models decode" in text and "--versus" in text and "profile" in text
    assert "decode" in cli("--help").flat and "Measure which kernel" in cli("decode", "profile", "--help").flat
