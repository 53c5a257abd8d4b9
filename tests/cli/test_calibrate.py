"""`calibrate`: rows in, a profile in the user's folder out, in force at once and removable."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import shapewright
from shapewright.predict.profiles import FOLDER_VARIABLE
from unit.calibrate.synthetic import products, write_rows
from unit.hardware.user_gpu import GPU


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "rows.jsonl", products(200, seed=7)))


def test_a_calibration_takes_effect_and_can_be_undone(cli, rows: str, folder: Path) -> None:
    before = cli("explain", "gpt2", "--gpu", "h200").out
    answer = cli("calibrate", "--from", rows, "--gpu", "h200")
    assert answer.code == 0 and len(answer.notes) == 1
    assert answer.notes[0].startswith("fitting aligned_nt to ") and answer.notes[0].endswith(" of 200 rows")
    path = folder / "h200.cuda13.json"
    flat = answer.flat.replace(" ", "")
    assert str(path) in flat and "removethefiletogoback" in flat and "aligned_nt" in answer.out
    # A path is never broken, however long it is.
    assert max(len(line) for line in answer.out.splitlines() if not any("/" in word and len(word) > 40 for word in line.split())) <= 80
    after = cli("explain", "gpt2", "--gpu", "h200").out
    assert after != before and str(path) in after
    path.unlink()
    assert cli("explain", "gpt2", "--gpu", "h200").out == before


def test_again_keeps_the_previous_profile(cli, rows: str, folder: Path) -> None:
    cli("calibrate", "--from", rows)
    first = (folder / "h200.cuda13.json").read_bytes()
    document = cli("calibrate", "--from", rows, "--json").document
    assert document["previous"] == str(folder / "h200.cuda13.json.1")
    assert (folder / "h200.cuda13.json.1").read_bytes() == first


def test_the_document(cli, rows: str, folder: Path) -> None:
    answer = cli("calibrate", "--from", rows, "--json")
    document = answer.document
    assert set(document) == {
        "schema_version", "gpu", "library", "base", "profile", "previous", "num_rows", "num_failed", "left_out", "classes"
    }  # fmt: skip
    assert (document["schema_version"], document["gpu"], document["library"], document["num_rows"]) == (1, "h200", "cuda13", 200)
    (fit,) = document["classes"]
    assert set(fit) == {"name", "num_rows", "num_held_out", "before_percent", "after_percent", "is_adopted", "remark"}
    assert fit["is_adopted"] and fit["after_percent"] < fit["before_percent"]


def test_out_writes_elsewhere_and_changes_nothing(cli, rows: str, folder: Path, tmp_path: Path) -> None:
    before = cli("explain", "gpt2", "--gpu", "h200").out
    answer = cli("calibrate", "--from", rows, "--out", str(tmp_path / "mine.json"))
    assert answer.code == 0 and "copy it to" in answer.flat and (tmp_path / "mine.json").is_file()
    assert not folder.exists() and cli("explain", "gpt2", "--gpu", "h200").out == before


def test_a_place_that_cannot_be_written_is_refused_before_the_fit(cli, rows: str, folder: Path, tmp_path: Path) -> None:
    answer = cli("calibrate", "--from", rows, "--out", str(tmp_path / "none/a.json"))
    assert (answer.code, answer.out, answer.notes) == (2, "", [])
    assert answer.err.endswith("none/a.json: its folder does not exist; create it first\n")


def test_bad_input_is_one_line_and_exit_code_2(cli, folder: Path, tmp_path: Path) -> None:
    few = str(write_rows(tmp_path / "few.jsonl", products(20, seed=8)))
    for arguments, message in (
        (("--from", few), "too few usable rows (aligned_nt 20); at least 40"),
        (("--from", few, "--gpu", "h100"), "holds rows of h200, not of h100"),
        (("--from", str(tmp_path / "none.jsonl")), "no such file"),
        (("--device", "cpu"), "a CPU has no profile"),
        (("--device", "tpu"), "device is 'tpu'; known: cuda, cuda:N, cpu"),
        (("--from", few, "--from", few), "several files are fitted together only if all are runs"),
    ):
        answer = cli("calibrate", *arguments)
        assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1 and answer.out == ""
    assert not folder.exists()


def test_without_a_gpu_the_remedy_is_named(cli, folder: Path) -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    answer = cli("calibrate")
    assert (answer.code, answer.out) == (3, "") and answer.err.startswith("error: torch finds no GPU; ") and answer.err.count("\n") == 1


def test_ctrl_c_says_where_the_rows_are(cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shapewright.calibrate import on_gpu

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "cpu.toml").write_text(GPU)
    monkeypatch.setattr(on_gpu, "calibrate_here", stopped)
    rows = tmp_path / "rows.jsonl"
    answer = cli("calibrate", "--device", "cpu", "--gpu", str(tmp_path / "cpu.toml"), "--resume", str(rows))
    last = answer.err.splitlines()[-1]
    assert answer.code == 130 and answer.out == "" and last.startswith("interrupted: ") and last.endswith(f"--from {rows}")


def test_the_gpu_is_described(cli) -> None:
    text = cli("calibrate", "--print-gpu", "--device", "cpu").out
    assert set(tomllib.loads(text)) == {"name", "full_name", "memory_bytes", "l2_bytes"} and "# memory_bytes_per_s" in text


@pytest.mark.parametrize("arguments", [["calibrate", "--from", "a.csv"], ["accuracy", "--set", "a.csv"]])
def test_without_scipy_the_extra_is_named(arguments: list[str]) -> None:
    program = f"import sys; sys.modules['scipy'] = None; from shapewright.cli import main; sys.exit(main({arguments}))"
    source = str(Path(shapewright.__file__).parents[1])
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": source}
    )
    assert answer.returncode == 3 and answer.stdout == ""
    assert answer.stderr.startswith("error: this needs scipy") and "pip install 'shapewright[calibrate]'" in answer.stderr


def test_the_shipped_results_need_no_scipy() -> None:
    program = "import sys; sys.modules['scipy'] = None; from shapewright.cli import main; sys.exit(main(['accuracy']))"
    source = str(Path(shapewright.__file__).parents[1])
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": source}
    )
    assert (answer.returncode, answer.stderr) == (0, "")
