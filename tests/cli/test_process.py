"""What only a process of its own can show: the entry point, pipes that close, other encodings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import shapewright


def test_version(process) -> None:
    answer = process("--version")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"shapewright {shapewright.__version__}\n", "")


def test_json_is_all_there_is_on_stdout(process) -> None:
    answer = process("explain", "gpt3-2.7b", "--gpu", "a100-40gb", "--json")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["schema_version"] == 1
    assert all(line.startswith("note: ") for line in answer.stderr.splitlines())


def test_bad_input_has_exit_code_2_and_no_traceback(process) -> None:
    answer = process("explain", "gpt3-2.7", "--gpu", "a100-40gb")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("error: unknown model") and answer.stderr.count("\n") == 1


def test_a_reader_that_stops_early_is_no_error() -> None:
    source = str(Path(shapewright.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source}
    command = [sys.executable, "-m", "shapewright", "models", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        errors = child.stderr.read()
    assert errors == b""
    assert child.returncode == 141


def test_nobody_to_answer_to_is_no_finding() -> None:
    """stdout closed from the start: the exit code is that of a closed pipe, not 1."""
    environment = os.environ | {"PYTHONPATH": str(Path(shapewright.__file__).parents[1])}
    command = f'"{sys.executable}" -m shapewright lint gpt2 --gpu h200 --sequence 1024 >&-'
    answer = subprocess.run(["sh", "-c", command], capture_output=True, env=environment, check=False)
    assert (answer.returncode, answer.stderr) == (141, b"")


def test_an_ascii_terminal(process) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    source = str(Path(shapewright.__file__).parents[1])
    command = [sys.executable, "-m", "shapewright", "explain", "gpt\u00e4-2", "--gpu", "h200"]
    answer = subprocess.run(command, capture_output=True, env=os.environ | environment | {"PYTHONPATH": source}, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(b"error: unknown model 'gpt\\xe4-2'")


def test_help_ends_on_a_terminal_of_one_column() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(shapewright.__file__).parents[1]), "COLUMNS": "1"}
    answer = subprocess.run(
        [sys.executable, "-m", "shapewright", "explain", "--help"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert answer.returncode == 0 and "--gpu" in answer.stdout
