"""Rows of a file as typed columns; what cannot be read is refused with its place and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.table import MissingFileError, Table, read_table
from shapewright.errors import InputError

ROWS = [{"m": 8, "us": 2.5, "layout": "NT"}, {"m": 16, "us": 3, "layout": "NN"}]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FORMS = {
    "a.csv": "m,us,layout\n8,2.5,NT\n16,3,NN\n", "a.csv.gz": "m,us,layout\n8,2.5,NT\n\n16,3,NN\n", "a.jsonl": lines(*ROWS),
    "a.jsonl.gz": lines(*ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_text_form_gives_the_same_columns(tmp_path: Path, name: str) -> None:
    table = read_table(written(tmp_path, name, FORMS[name]))
    assert table.columns["m"].dtype == np.int64 and table.integers("m").tolist() == [8, 16]
    assert table.positive("us").tolist() == [2.5, 3.0]
    assert table.texts("layout").tolist() == ["NT", "NN"]
    assert len(table) == 2 and "m" in table and "n" not in table


def test_parquet_gives_the_same_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    layout = pa.array(["NT", "NN"]).dictionary_encode()
    columns = {"m": pa.array([8, 16], pa.int32()), "us": pa.array([2.5, 3], pa.float32()), "layout": layout, "notes": pa.array([None, "x"])}
    parquet.write_table(pa.table(columns), path)
    table = read_table(path)
    assert (table.columns["m"].dtype, table.columns["us"].dtype) == (np.int64, np.float64)
    assert table.integers("m").tolist() == [8, 16] and table.positive("us").tolist() == [2.5, 3.0]
    assert table.texts("layout").tolist() == ["NT", "NN"] and table.texts("notes").tolist() == ["", "x"]
    with pytest.raises(InputError, match=r"a\.parquet, row 0: notes is missing; expected a number"):
        table.numbers("notes")


def test_the_environment_is_no_row_and_failed_points_are_counted(tmp_path: Path) -> None:
    head, failed = {"environment": {"gpu": "NVIDIA H200"}}, {"m": 4, "error": "out of memory"}
    table = read_table(
        written(tmp_path, "a.jsonl", lines(head, ROWS[0], failed, {"m": 4, "status": "timeout"}, ROWS[1] | {"status": "ok"}))
    )
    assert (len(table), table.num_failed, table.environment["gpu"]) == (2, 2, "NVIDIA H200")
    assert table.lines.tolist() == [2, 5]


def test_absent_values_are_nan_or_empty_and_take_defaults(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.jsonl", lines({"m": 8, "us": 1.0}, {"us": None, "layout": "NN"})))
    assert np.isnan(table.columns["m"][1]) and np.isnan(table.columns["us"][1])
    assert table.integers("m", 1).tolist() == [8, 1]
    assert table.texts("layout", "NT").tolist() == ["NT", "NN"]
    assert table.texts("dtype", "bf16").tolist() == ["bf16", "bf16"]
    assert table.integers("batch", 1).tolist() == [1, 1]


def test_some_rows_keep_their_lines(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.csv", "m,us\n8,1\n16,2\n24,-3\n")).take(np.array([False, True, True]))
    assert table.columns["m"].tolist() == [16, 24]
    with pytest.raises(InputError, match=r"a\.csv:4: us is -3; expected a number above 0"):
        table.positive("us")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "m,us\n8,1\n16\n", "a.csv:3: 1 fields where the header has 2; quote fields that contain commas"),
        ("a.csv", "m,m\n8,1\n", "a.csv:1: no header, or two columns of one name; the first line names the columns"),
        ("a.csv", "", "a.csv:1: no header, or two columns of one name; the first line names the columns"),
        ("a.csv", 'm\n"8\n', "a.csv:2: is no CSV"),
        ("a.jsonl", '{"m": 8}\n{"m": 1\n', "a.jsonl:2: is no JSON; one object a line; remove a line that was cut off"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: is [1]; expected an object such as {...}"),
        ("a.txt", "m\n8\n", "a.txt: unknown form '.txt'; known: .csv"),
    ],
)
def test_files_that_cannot_be_read_are_refused_with_their_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_table(written(tmp_path, name, text))
    assert str(error.value).removeprefix(f"{tmp_path}/").startswith(message)


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl.gz", b"no gzip"), ("a.jsonl", b"\xff\xfe{}"), ("a.csv.gz", gzip.compress(b"m\n" * 99, mtime=0)[:20])]
)
def test_binary_files_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as text"):
        read_table(path)


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="is no Parquet file"):
        read_table(written(tmp_path, "a.parquet", "PAR1 and nothing more"))


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_table(tmp_path / "a.csv")


def table_of(**columns: list[object]) -> Table:
    arrays = {name: np.array(column) for name, column in columns.items()}
    return Table(name="a.csv", columns=arrays, lines=np.arange(len(next(iter(arrays.values())))) + 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([8, 2.5], "a.csv:3: m is 2.5; expected a whole number from 1 on"),
        ([8, 0], "a.csv:3: m is 0; expected a whole number from 1 on"),
        ([8, np.nan], "a.csv:3: m is missing; expected a whole number from 1 on"),
        ([np.inf, 8], "a.csv:2: m is inf; expected a whole number from 1 on"),
        (["8", "eight"], "a.csv:3: m is 'eight'; expected a number"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_line(values: list[object], message: str) -> None:
    with pytest.raises(InputError) as error:
        table_of(m=values).integers("m")
    assert str(error.value) == message


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"a\.csv: has no column us; it has k, m"):
        table_of(m=[8], k=[8]).positive("us")
