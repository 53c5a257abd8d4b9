"""`predict gemm`: rows and columns kept, times added, bad tables refused by file and line."""

import csv
import io
from pathlib import Path

import pytest

import shapewright as sw

ADDED = ["time_s", "low_s", "high_s", "limit_s", "bound_by", "provenance"]


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str | bytes) -> str:
        path = tmp_path / "in.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_and_rows_keep_their_order(cli, table) -> None:
    path = table('id,k,n,m,layout,dtype,batch,"remark, quoted"\nb,64,128,256,NN,fp16,8,"x, y"\na,2560,50304,8192,NT,bf16,1,\n')
    answer = cli("predict", "gemm", path, "--gpu", "a100-40gb")
    assert (answer.code, answer.err) == (0, "")
    rows = rows_of(answer.out)
    assert list(rows[0]) == ["id", "k", "n", "m", "layout", "dtype", "batch", "remark, quoted", *ADDED]
    assert [(row["id"], row["remark, quoted"]) for row in rows] == [("b", "x, y"), ("a", "")]


def test_times_are_those_of_the_python_face(cli, table) -> None:
    path = table("m,n,k,batch,dtype,layout\n8192,2560,2560,1,bf16,NT\n2048,2048,80,128,fp16,NN\n50257,2560,8192,1,bf16,TN\n")
    rows = rows_of(cli("predict", "gemm", path, "--gpu", "a100-40gb").out)
    for row in rows:
        sizes = {name: int(row[name]) for name in ("m", "n", "k", "batch")}
        expected = sw.predict_gemm("a100-40gb", **sizes, dtype=row["dtype"], layout=row["layout"])
        for name in ADDED[:4]:
            assert float(row[name]) == pytest.approx(getattr(expected, name)[0], rel=1e-8)
        assert (row["bound_by"], row["provenance"]) == (expected.bound_by[0], expected.provenance[0])
        assert 0 < float(row["low_s"]) <= float(row["time_s"]) <= float(row["high_s"])


@pytest.mark.parametrize(("gpu", "dtype"), [("a100-40gb", "bf16"), ("v100-16gb", "fp16")])
def test_batch_dtype_and_layout_may_be_left_out(cli, table, gpu: str, dtype: str) -> None:
    short = rows_of(cli("predict", "gemm", table("m,n,k\n512,1024,2048\n"), "--gpu", gpu).out)
    full = rows_of(cli("predict", "gemm", table(f"batch,m,n,k,dtype,layout\n1,512,1024,2048,{dtype},NT\n"), "--gpu", gpu).out)
    empty = rows_of(cli("predict", "gemm", table("batch,m,n,k,dtype,layout\n,512,1024,2048,,\n"), "--gpu", gpu).out)
    assert [row["time_s"] for row in short] == [row["time_s"] for row in full] == [row["time_s"] for row in empty]


def test_spreadsheet_files_with_bom_and_crlf(cli, table) -> None:
    plain = cli("predict", "gemm", table("m,n,k\n512,1024,2048\n"), "--gpu", "h200").out
    windows = cli("predict", "gemm", table(b"\xef\xbb\xbfm,n,k\r\n512,1024,2048\r\n\r\n"), "--gpu", "h200").out
    assert windows == plain


def test_names_ignore_case_and_blanks(cli, table) -> None:
    plain = cli("predict", "gemm", table("m,n,k,dtype,layout\n512,1024,2048,bf16,NN\n"), "--gpu", "h200").out
    loose = cli("predict", "gemm", table("M, N ,K,Dtype,layout\n512, 1024 ,2048,bfloat16,nn\n"), "--gpu", "h200").out
    assert rows_of(loose)[0]["time_s"] == rows_of(plain)[0]["time_s"]


def test_many_rows_cross_the_blocks_in_order(cli, table) -> None:
    sizes = [8 * (1 + number % 512) for number in range(70_000)]
    text = "row,m,n,k\n" + "".join(f"{number},{size},1024,1024\n" for number, size in enumerate(sizes))
    rows = rows_of(cli("predict", "gemm", table(text), "--gpu", "h200").out)
    assert [int(row["row"]) for row in rows] == list(range(70_000))
    assert float(rows[69_999]["time_s"]) == pytest.approx(float(rows[69_999 - 512 * 100]["time_s"]), rel=1e-5)


def test_output_file(cli, table, tmp_path) -> None:
    path, output = table("m,n,k\n512,1024,2048\n"), tmp_path / "out.csv"
    answer = cli("predict", "gemm", path, "--gpu", "h200", "-o", str(output))
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert output.read_text() == cli("predict", "gemm", path, "--gpu", "h200", "-o", "-").out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_an_existing_output_is_kept_unless_forced(cli, table, tmp_path) -> None:
    path, output = table("m,n,k\n512,1024,2048\n"), tmp_path / "out.csv"
    output.write_text("precious")
    refused = cli("predict", "gemm", path, "--gpu", "h200", "-o", str(output))
    assert refused.code == 2 and "already exists" in refused.err and "--force" in refused.err
    assert output.read_text() == "precious"
    assert cli("predict", "gemm", path, "--gpu", "h200", "-o", str(output), "--force").code == 0
    assert output.read_text().startswith("m,n,k,time_s")


def test_an_empty_output_has_nothing_to_lose(cli, table, tmp_path) -> None:
    path, output = table("m,n,k\n512,1024,2048\n"), tmp_path / "out.csv"
    output.touch()
    assert cli("predict", "gemm", path, "--gpu", "h200", "-o", str(output)).code == 0
    assert output.read_text().startswith("m,n,k,time_s")


def test_force_replaces_columns_of_an_earlier_answer(cli, table) -> None:
    plain = cli("predict", "gemm", table("id,m,n,k\na,512,1024,2048\nb,1,2,3\n"), "--gpu", "h200").out
    path = table("TIME_S,id,m,provenance,n,k,time_s\n1,a,512,x,1024,2048,2\n,b,1,,2,3,\n")
    assert cli("predict", "gemm", path, "--gpu", "h200", "--force").out == plain


def test_the_input_is_never_overwritten(cli, table) -> None:
    path = table("m,n,k\n512,1024,2048\n")
    answer = cli("predict", "gemm", path, "--gpu", "h200", "-o", path, "--force")
    assert answer.code == 2 and "the output is the input" in answer.err
    assert Path(path).read_text() == "m,n,k\n512,1024,2048\n"


def test_nothing_is_left_of_a_table_that_fails_late(cli, table, tmp_path) -> None:
    path = table("m,n,k\n" + "512,1024,2048\n" * 10 + "512,1024,x\n")
    assert cli("predict", "gemm", path, "--gpu", "h200", "-o", str(tmp_path / "out.csv")).code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]


def test_an_empty_table_has_an_empty_answer(cli, table) -> None:
    answer = cli("predict", "gemm", table("m,n,k\n"), "--gpu", "h200")
    assert (answer.code, answer.out) == (0, "m,n,k," + ",".join(ADDED) + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no column m or n or k"),
        ("m,n\n1,2\n", ":1: no column k"),
        ("m;n;k\n1;2;3\n", ":1: no column m or n or k"),
        ("m,n,k,m\n1,2,3,4\n", ":1: column m appears twice"),
        ("m,n,k,time_s\n1,2,3,4\n", ":1: column time_s would be overwritten; rename it, or add --force to replace it in the output"),
        ("m,n,k, Provenance\n1,2,3,4\n", ":1: column provenance would be overwritten"),
        ("m,n,k\n1,2,3\n1,2\n", ":3: 2 fields where the header has 3"),
        ("m,n,k\n1,2,3\n\n1,2,abc\n", ":4: k is 'abc'; expected an integer from 1"),
        ("m,n,k\n0,2,3\n", ":2: m is '0'"),
        ("m,n,k\n1,-2,3\n", ":2: n is '-2'"),
        ("m,n,k\n1,2,3.5\n", ":2: k is '3.5'"),
        ("m,n,k\n1,,3\n", ":2: n is ''"),
        ("m,n,k\n1,2,1000000000000000000000\n", ":2: k is '1000000000000000000000'"),
        ("m,n,k,dtype\n1,2,3,bf16\n1,2,3,fp9\n", ":3: unknown dtype 'fp9'; did you mean fp8"),
        ("m,n,k,dtype\n1,2,3,fp8\n", ":2: a100-40gb has no fp8 products"),
        ("m,n,k,layout\n1,2,3,TT\n", ":2: unknown layout 'TT'"),
        ('m,n,k\n1,2,"3\n', "not a CSV table"),
        (b"m,n,k\n1,2,\xff\xfe\n", "not UTF-8 text"),
        (b"m,n,k\n1,2,\x00\n", ":2: "),
    ],
)
def test_bad_tables_are_refused_by_line(cli, table, text: str | bytes, message: str) -> None:
    answer = cli("predict", "gemm", table(text), "--gpu", "a100-40gb")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert f"in.csv{message}" in answer.err or (message[0] != ":" and "in.csv" in answer.err and message in answer.err)


@pytest.mark.parametrize(("output", "message"), [("no/such/out.csv", "its folder does not exist"), (".", "is not a regular file")])
def test_outputs_that_cannot_be_written(cli, table, output: str, message: str) -> None:
    answer = cli("predict", "gemm", table("m,n,k\n1,2,3\n"), "--gpu", "h200", "-o", output, "--force")
    assert answer.code == 2
    assert message in answer.err
