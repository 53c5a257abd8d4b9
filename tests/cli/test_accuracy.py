"""`accuracy`: shipped results, a folder's, a file's; documents, charts, exit codes."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import jsonschema
import pytest

from cli.measured_run import rows as measured_rows
from cli.measured_run import write_run
from shapewright import report
from shapewright.calibrate.results import shipped_document

ROWS = "gpu,m,n,k,us\n" + "".join(f"h200,{m},4096,{k},{8 + m // 64}\n" for m in (64, 512) for k in range(64, 2048, 64))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return str(path)


def test_shipped_results_need_no_data(cli) -> None:
    answer = cli("accuracy")
    assert (answer.code, answer.err) == (0, "")
    assert all(each["name"] in answer.out for each in shipped_document()["sets"])
    assert max(map(len, answer.out.splitlines())) <= 80
    assert cli("accuracy", "--json").document == shipped_document()


SCHEMA = json.loads((Path(report.__file__).parent / "accuracy.schema.json").read_text())


def test_documents_follow_the_schema(cli, rows: str) -> None:
    jsonschema.validate(cli("accuracy", "--json").document, SCHEMA)
    jsonschema.validate(cli("accuracy", "--set", rows, "--json").document, SCHEMA)


def test_one_gpu(cli) -> None:
    document = cli("accuracy", "--gpu", "NVIDIA H200", "--json").document
    assert {each["gpu"] for each in document["sets"]} == {"h200"}
    refused = cli("accuracy", "--gpu", "rtx-4090")
    assert refused.code == 2 and "no accuracy is known of rtx-4090; known: " in refused.err


def test_a_file_of_products(cli, rows: str) -> None:
    answer = cli("accuracy", "--set", rows)
    assert (answer.code, answer.err) == (0, "")
    assert "rows.csv (h200 cuda13), all rows" in answer.out and "decode-size" in answer.out
    document = cli("accuracy", "--set", rows, "--json").document
    assert document["schema_version"] == 1 and document["sets"][0]["overall"]["num_rows"] == 2 * 31


def test_rows_that_are_not_scored_are_said(cli, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"m": 8, "n": 64, "k": 64, "us": 3.0, "gpu": "h200"}
    path.write_text("\n".join(json.dumps(each) for each in (row, row | {"gpu": "l4"}, {"m": 8, "error": "out of memory"})))
    answer = cli("accuracy", "--set", str(path), "--gpu", "h200", "--json")
    assert answer.notes == ["rows.jsonl: 1 failed measurements, skipped", "rows.jsonl: 1 rows of another GPU, skipped"]
    assert answer.document["sets"][0]["overall"]["num_rows"] == 1


def test_a_dtype_that_the_gpu_lacks_names_the_file(cli, tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("m,n,k,us,dtype\n64,64,64,5,bf16\n")
    answer = cli("accuracy", "--set", str(path), "--gpu", "v100-16gb")
    assert answer.code == 2 and "plain.csv: v100-16gb has no bf16 products; it has fp16, fp32" in answer.err


def test_a_folder_names_what_is_not_there(cli, tmp_path: Path) -> None:
    (tmp_path / "h200").mkdir()
    (tmp_path / "h200/gemm.csv").write_text(ROWS)
    answer = cli("accuracy", "--data", str(tmp_path), "--gpu", "h200")
    assert answer.code == 0 and "gemm-h200 (h200 cuda13)" in answer.out
    assert "gpu/attention.parquet: not there, skipped" in answer.notes


def test_chart_and_document_are_written_and_never_overwritten(cli, rows: str, tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    chart, out = tmp_path / "a.svg", tmp_path / "a.json"
    arguments = ("accuracy", "--set", rows, "--chart", str(chart), "--out", str(out))
    assert cli(*arguments).code == 0
    assert chart.read_text().startswith("<svg") and json.loads(out.read_text())["sets"][0]["name"] == "rows.csv"
    out.write_text("mine")
    refused = cli(*arguments)
    assert refused.code == 2 and "already exists" in refused.err and out.read_text() == "mine"
    assert cli(*arguments, "--force").code == 0 and out.read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "a.csv", "--data", "."), "--set and --data are both given; give one of them"),
        (("--set", "none.csv"), "none.csv: no such file; name a file of measured rows"),
        (("--set", "."), ".: is a folder; name a file of measured rows"),
        (("--set", "none.csv", "--chart", "a.gif"), "a.gif: unknown form .gif"),
        (("--data", "none"), "none: no such folder"),
        (("--gpu", "h2000"), "unknown GPU 'h2000'; did you mean h200"),
        (("--chart", "a.gif"), "a.gif: unknown form .gif; known: .svg, .png"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, arguments: tuple[str, ...], message: str) -> None:
    answer = cli("accuracy", *arguments)
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1 and answer.out == ""


def test_a_missing_extra_is_named(cli, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name.startswith("altair"):
            raise ImportError(name=name)
        return plain(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    answer = cli("accuracy", "--chart", str(Path(rows).with_name("a.svg")))
    assert answer.code == 3 and "drawing a chart needs altair; pip install 'shapewright[report]'" in answer.err


def test_a_run_of_every_kind(cli, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run.jsonl", measured_rows(1.25)))
    answer = cli("accuracy", "--measured", run)
    assert (answer.code, answer.err) == (0, "") and max(map(len, answer.out.splitlines())) <= 80
    assert "model host-bound (h200 cuda13), all rows" in answer.out and "1 timed out" in answer.out
    document = cli("accuracy", "--measured", run, "--json").document
    jsonschema.validate(document, SCHEMA)
    scored = {each["name"]: each["overall"] for each in document["sets"]}
    assert {name: each["num_rows"] for name, each in scored.items()} == {
        "attention": 2, "gemm": 6, "layer": 2, "memory": 1, "model host-bound": 1
    }  # fmt: skip
    assert all(each["mape_percent"] == 20 and each["bias_percent"] == -20 for each in scored.values())
    assert document["measured"]["failed"] == {"out_of_memory": 1, "timed_out": 1}
    assert document["measured"]["left_out"]["no profile holds the efficient backend on h200, where SDPA takes cudnn"] == 1
    assert [cell["is_host_bound"] for cell in document["measured"]["cells"]] == [False, False, True]


def test_runs_that_cannot_be_compared(cli, tmp_path: Path) -> None:
    cpu = str(write_run(tmp_path / "cpu.jsonl", measured_rows()[:2], {"gpu": "cpu"}))
    refused = cli("accuracy", "--measured", cpu)
    assert refused.code == 2 and "holds rows of cpu; predictions are of GPUs: measure on one" in refused.err
    unknown = str(write_run(tmp_path / "new.jsonl", measured_rows()[:2], {"gpu": "NVIDIA X9"}))
    assert "holds rows of NVIDIA X9; name one with --gpu" in cli("accuracy", "--measured", unknown).err
    assert cli("accuracy", "--measured", unknown, "--gpu", "h200").code == 0
    both = cli("accuracy", "--measured", unknown, "--set", "a.csv")
    assert both.code == 2 and "--set and --measured are both given" in both.err
