"""`bench` measures through the real child process on the CPU, keeps its rows, goes on where it was, and says what it cannot do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest

from cli.measured_run import ENVIRONMENT, ok_row, rows
from shapewright import report
from shapewright.calibrate.compare import Compared
from shapewright.cli import bench as bench_module
from shapewright.cli.bench import product, records_of, sizes
from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import GemmPoint, LayerPoint
from shapewright.measure.store import FOLDER_VARIABLE, read_run
from shapewright.report.bench import bench_document, bench_text, record_of

SCHEMA = json.loads((Path(report.__file__).parent / "bench.schema.json").read_text())
CPU = ("--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


def test_products_on_the_cpu_are_kept_in_the_folder_of_runs(cli, folder: Path) -> None:
    answer = cli("bench", "gemm", "16", "15,16", "8", *CPU)
    (path,) = folder.glob("gemm-*.jsonl")
    assert answer.code == 0 and "predicted" not in answer.out.splitlines()[0]
    assert "16 x 15 x 8 NT bf16" in answer.out and "16 x 16 x 8 NT bf16" in answer.out
    assert "No prediction: measured on the CPU, predictions are of GPUs." in answer.flat
    assert str(path) in answer.flat.replace(" ", "").partition("rowskeptin")[2] or str(path) in answer.out
    assert [(row["n"], row["status"]) for row in read_run(path).rows] == [(15, "ok"), (16, "ok")]


def test_a_run_goes_on_and_prints_what_it_holds_too(cli, folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run.jsonl")
    assert cli("bench", "memory", "add", "8", "16", *CPU, "--out", out).code == 0
    before = Path(out).read_bytes()
    answer = cli("bench", "memory", "add,gelu", "8", "16", *CPU, "--out", out, "--json")
    assert answer.code == 0 and any("1 of 2 points were in" in note for note in answer.notes)
    jsonschema.validate(answer.document, SCHEMA)
    assert [row["op"] for row in answer.document["rows"]] == ["add", "gelu"]
    assert answer.document["environment"]["gpu"] == "cpu" and answer.document["predicted_on"] is None
    assert Path(out).read_bytes().startswith(before) and not folder.exists()


def test_a_failed_point_is_a_row_and_the_rest_goes_on(cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    answer = cli(
        "bench",
        "attention",
        "--batch",
        "1",
        "--heads",
        "2",
        "--query-len",
        "8",
        "--head-dim",
        "8",
        "--backend",
        "cudnn,unfused",
        *CPU,
        "--out",
        str(out),
    )
    assert answer.code == 0 and "1 of 2 points measured; 1 failed." in answer.flat
    assert [row["status"] for row in read_run(out).rows] == ["failed", "ok"]


def test_every_operator_of_a_model(cli, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 64}
    config.write_text(json.dumps({"model_type": "gpt_neox", **sizes}))
    flags = ("--phase", "forward", "--micro-batch", "1", "--sequence", "8", *CPU)
    document = cli("bench", "operators", str(config), *flags, "--json").document
    found = {each["name"]: each for each in document["operators"]}
    assert found["qkv"]["count"] == 2 and all(each["measured_s"] > 0 for each in found.values())
    whole = sum(each["measured_s"] * each["count"] for each in document["operators"])
    assert document["sum"]["measured_s"] == pytest.approx(whole) and document["sum"]["error_percent"] is None


def test_a_sweep_follows_its_plan(cli, folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "small.toml"
    plan.write_text('name = "small"\n[[points]]\nkind = "gemm"\nm = 8\nn = {from = 6, to = 8}\nk = 8\nwhere = ["n % 2 == 0"]\n')
    answer = cli("bench", "sweep", str(plan), *CPU)
    assert answer.code == 0 and "2 of 2 points measured." in answer.flat
    (path,) = folder.glob("small-*.jsonl")
    assert [row["n"] for row in read_run(path).rows] == [6, 8]


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_no_gpu_is_exit_code_3_and_leaves_no_file(cli, folder: Path) -> None:
    answer = cli("bench", "gemm", "8", "8", "8")
    assert answer.code == 3 and answer.out == "" and "error: " in answer.err
    assert list(folder.glob("*")) == []


def test_an_interruption_says_what_is_kept_and_how_to_go_on(cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(points, run, **_):
        run.start({"gpu": "cpu"})
        run.append([{**ok_row(points[0], 1e-6)}])
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_module, "execute", interrupted)
    out = tmp_path / "run.jsonl"
    answer = cli("bench", "gemm", "8,16", "8", "8", "--out", str(out))
    assert answer.code == 130 and answer.out == ""
    assert answer.notes == [f"stopped: 1 row is kept in {out}; the same command with --out {out} goes on"]
    assert len(read_run(out).rows) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gemm", "8", "x", "8"), "N is 'x'; expected a number such as 8, or several such as 8,16"),
        (("gemm", "8", "0", "8"), "n is 0; expected a whole number from 1"),
        (("gemm", "8", "8", "8", "--dtype", "bf61"), "unknown dtype 'bf61'"),
        (("gemm", "8", "8", "8", "--layout", "TN", "--call", "linear"), "layout is TN; linear stores its weight n x k"),
        (("gemm", "8", "8", "8", "--gpu", "h20"), "unknown GPU 'h20'; did you mean h200"),
        (("gemm", "8", "8", "8", "--out", "run.txt"), "--out is 'run.txt'; expected the name of a run file, .jsonl"),
        (("gemm", "8", "8", "8", "--out", ""), "--out is ''"),
        (("gemm", "8", "8", "8", "--dtype", ""), "--dtype is ''; give a value"),
        (("memory", ",", "8", "8"), "OP is ','; give a value"),
        (("gemm", "8", "8", "8", "--gpu", "h200", "--library", "cuda13x", *CPU), "unknown library for h200 'cuda13x'"),
        (("gemm", "8", "8"), "is missing"),
        (("memory", "layernorm", "8", "8"), "unknown memory operation 'layernorm'; did you mean layer_norm"),
        (("layer", "llama-2-7", "--phase", "train"), "llama-2-7"),
        (("layer", "llama-2-7b", "--changes", "intermediate_sise=3"), "intermediate_sise"),
        (("layer",), "there is no point to measure"),
        (("sweep", "none.toml"), "none.toml"),
        (("gem", "8", "8", "8"), "unknown command 'gem'; did you mean gemm?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    answer = cli("bench", *arguments)
    assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1
    assert message in answer.err and not folder.exists()


def test_missing_transformers_is_exit_code_3_before_anything_is_measured(cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "transformers" else found(name, *rest))
    for kind in ("layer", "model"):
        answer = cli("bench", kind, "pythia-70m", *CPU)
        assert answer.code == 3 and answer.err.count("\n") == 1 and "pip install transformers" in answer.err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("calibrate",),
            ("--from", "two and a half minutes in all", "After Ctrl-C the same command", "SHAPEWRIGHT_RUNS", "SHAPEWRIGHT_PROFILES"),
        ),
        (("bench", "sweep"), ("[[points]]", "goes on where a stopped one was")),
        (("bench", "layer"), ("deep model less that of a shallow one",)),
        (("bench", "operators"), ("leaves out the power limit",)),
        (("results",), ("SHAPEWRIGHT_RUNS", "time_s and its quantiles")),
        (("bench",), ("Exit code 1", "Measure every point of a plan.")),
    ],
)
def test_help_says_more_than_the_list_of_commands(cli, command: tuple[str, ...], said: tuple[str, ...]) -> None:
    answer = cli(*command, "--help")
    assert answer.code == 0 and [each for each in said if each not in answer.flat] == []


def test_lists_make_every_combination() -> None:
    assert sizes("8, 16", "M") == [8, 16]
    points = product("gemm", {"m": [8, 16], "n": [4], "k": [1, 2]})
    assert [(point.m, point.k) for point in points if isinstance(point, GemmPoint)] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    with pytest.raises(InputError, match="4,000,000 combinations"):
        product("gemm", {"m": range(1, 2001), "n": range(1, 2001), "k": [1]})


def test_predictions_stand_beside_the_rows() -> None:
    found = [{"gpu": "NVIDIA H200", **row} for row in rows(1.25)]
    records = records_of(found, load_gpu("h200"), "")
    errors = [record["error_percent"] for record in records if "error_percent" in record]
    assert len(errors) == 12 and errors == pytest.approx([-20.0] * 12)
    document = bench_document(records, environment=ENVIRONMENT, run="run.jsonl", predicted_on="h200", why_no_prediction="")
    jsonschema.validate(document, SCHEMA)
    text = bench_text(records, run="run.jsonl")
    assert "mean error 20.0 % over 12" in " ".join(text.split()) and "timed out: no answer for 120 s" in text
    assert "no profile holds the efficient backend" in " ".join(text.split()) and max(map(len, text.splitlines())) <= 80


def test_a_record_has_rates_of_what_is_run() -> None:
    row = ok_row(GemmPoint(m=1000, n=1000, k=1000), 1e-3)
    record = record_of(row, Compared(predicted_s=2e-3, low_s=1e-3, high_s=3e-3, limit_s=5e-4, bound_by="compute", provenance="calibrated"))
    assert record["flops_per_s"] == pytest.approx(2e12) and record["bytes_per_s"] == pytest.approx(6e9)
    assert record["error_percent"] == pytest.approx(100) and record["speed_of_light"] == pytest.approx(0.5)
    assert "flops_per_s" not in record_of(ok_row(LayerPoint(model="gpt2"), 1e-3), "none")
