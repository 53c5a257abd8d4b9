"""`results`: rows of runs, asked with SQL, compared, exported; nothing but the runs can be read and nothing be written over."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from cli.measured_run import rows, write_run
from shapewright.measure.store import FOLDER_VARIABLE


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(write_run(tmp_path / "run.jsonl", rows()))


def test_rows_of_a_file(cli, run: str) -> None:
    answer = cli("results", run)
    assert answer.code == 0 and answer.err == ""
    assert "8192 x 10923 x 4096 NT bf16" in answer.out and "CUDA out of memory" in answer.out
    assert "16 rows of 1 run; 16 match, 16 shown" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert len(cli("results", run, "--limit", "3", "--json").document["rows"]) == 3


def test_rows_of_the_folder(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    refused = cli("results")
    assert refused.code == 2 and "holds no run" in refused.err
    write_run(tmp_path / "one.jsonl", rows())
    write_run(tmp_path / "two.jsonl", rows()[:2])
    (tmp_path / "other.jsonl").write_bytes(b"\x00\x01\xff no run")
    answer = cli("results", "--json", "--limit", "0")
    assert answer.document["num_rows"] == 18 and {row["run"] for row in answer.document["rows"]} == {"one.jsonl", "two.jsonl"}
    assert any("other.jsonl" in note and note.endswith("left out") for note in answer.notes)


def test_a_torn_line_is_a_note(cli, run: str) -> None:
    with Path(run).open("a") as sink:
        sink.write('{"kind": "gemm", "m"')
    answer = cli("results", run, "--json")
    assert answer.document["num_rows"] == 16 and any("left out" in note for note in answer.notes)


def test_questions_in_sql(cli, run: str) -> None:
    pytest.importorskip("duckdb")
    answer = cli(
        "results", run, "--where", "n % 8 = 0 AND status = 'ok' AND layout = 'NT'", "--select", "m,n,time_s", "--sort", "time_s desc"
    )
    assert answer.out.splitlines()[0].split() == ["m", "n", "time_s"]
    assert [line.split()[1] for line in answer.out.splitlines()[1:4]] == ["11008", "10920", "2048"]
    counted = cli("results", run, "--select", "count(*) AS num", "--where", "kind = 'gemm'", "--json").document
    assert counted["rows"] == [{"num": 8}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--where", "n ="), "--where is no SQL that the rows answer: Parser Error"),
        (("--where", "widht = 3"), "widht"),
        (("--where", "true; DROP TABLE rows"), "--where"),
        (("--where", "true) ; COPY rows TO 'x.csv' --"), "--where"),
        (("--limit", "0", "--sort", "1; COPY rows TO 'x.csv'"), "holds more than one statement"),
        (("--where", "n IN (SELECT n FROM read_csv('/etc/passwd'))"), "file system operations are disabled"),
        (("--where", "n IN (SELECT m FROM 'other.parquet')"), "--where"),
        (("--limit", "-1"), "--limit is -1"),
        (("--export", "rows.csv"), "rows.csv: is no .parquet file"),
        (("--compare", "a", "b", "--select", "n"), "--compare takes two runs and --where"),
    ],
)
def test_bad_questions_are_one_line(
    cli, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    files = () if "--compare" in arguments else (run,)
    answer = cli("results", *files, *arguments)
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1 and answer.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_export_is_complete_and_replaces_nothing(cli, run: str, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "rows.parquet"
    answer = cli("results", run, "--where", "kind = 'gemm'", "--limit", "1", "--export", str(target))
    assert answer.code == 0 and answer.notes == [f"8 rows written to {target}"]
    table = parquet.read_table(target)
    assert table.num_rows == 8 and str(table.schema.field("n").type) == "int64" and str(table.schema.field("time_s").type) == "double"
    held = target.read_bytes()
    refused = cli("results", run, "--export", str(target))
    assert refused.code == 2 and "already exists" in refused.err and target.read_bytes() == held


def test_two_runs_beside_each_other(cli, run: str, tmp_path: Path) -> None:
    second = [{**row, "time_s": row["time_s"] * (1.02 if row["kind"] == "gemm" else 1.0)} if "time_s" in row else row for row in rows()[1:]]
    other = str(write_run(tmp_path / "other.jsonl", second))
    document = cli("results", "--compare", run, other, "--json").document
    assert (document["num_points"], document["num_only_first"], document["num_only_second"], document["num_unusable"]) == (13, 1, 0, 4)
    assert document["kinds"]["gemm"]["median_percent"] == pytest.approx(2.0) and document["kinds"]["layer"]["worst_percent"] == 0
    assert document["points"][0]["ratio"] == pytest.approx(1.02) and len(document["points"]) == 13
    answer = cli("results", "--compare", run, other, "--limit", "2")
    assert "13 points in both; 1 only in the first" in answer.flat


def test_a_comparison_needs_no_duckdb(cli, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    assert cli("results", "--compare", run, run).code == 0 and cli("results", run).code == 0
    refused = cli("results", run, "--where", "true")
    assert refused.code == 3 and "pip install 'shapewright[calibrate]'" in refused.err


def test_numbers_survive_json(cli, run: str) -> None:
    document = cli("results", run, "--json").document
    assert document["rows"][0]["time_s"] == json.loads(Path(run).read_text().splitlines()[1])["time_s"]


def test_values_that_json_lacks_are_left_out_and_others_made_plain(cli, run: str, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    select = "1/0 AS inf, 0.0/0 AS nan, 0.5 AS half, date '2026-01-02' AS day, [n, 1] AS both, [1/0] AS many"
    target = tmp_path / "out.parquet"
    answer = cli("results", run, "--select", select, "--where", "n = 10923", "--limit", "1", "--json", "--export", str(target))
    assert answer.document["rows"] == [{"half": 0.5, "day": "2026-01-02", "both": [10923, 1]}]
    assert target.stat().st_size and "inf" in cli("results", run, "--select", select, "--limit", "1").out


def test_nan_in_a_file_is_left_out(cli, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.jsonl", rows()[:1])
    with path.open("a") as sink:
        sink.write('{"kind": "gemm", "m": NaN, "status": "ok", "at": 1e999, "gpu": "cpu"}\n')
    answer = cli("results", str(path), "--json")
    assert answer.code == 0 and {"kind": "gemm", "status": "ok"}.items() <= answer.document["rows"][-1].items()
    assert not {"m", "at"} & set(answer.document["rows"][-1])


def test_an_export_on_a_full_disk_names_the_file(cli, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    monkeypatch.setattr("shapewright.measure.query.write_parquet", full)
    answer = cli("results", run, "--export", str(tmp_path / "out.parquet"))
    assert answer.code == 2 and "out.parquet: cannot be written: no space left on device; make room" in answer.err
