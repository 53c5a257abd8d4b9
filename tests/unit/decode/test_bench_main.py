"""`python -m shapewright.decode`: what a command line asks for, one line for each failure, and no more than torch and transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shapewright.decode import __main__ as command
from shapewright.decode.bench_rows import read_rows

from .bench_fakes import config_file

TINY = ("--new-tokens", "24", "--warmup-tokens", "2", "--repeats", "1", "--dtype", "fp32", "--device", "cpu", "--context", "5")


def test_what_a_command_line_asks_for(tmp_path: Path) -> None:
    plan = command.plan_of(
        [
            "llama-2-7b",
            "opt-6.7b",
            "--batch",
            "1,8",
            "--context",
            "128, 1024",
            "--versus",
            "hf,hf-static-compile",
            "--out",
            str(tmp_path / "r.jsonl"),
        ]
    )
    assert plan.models == ("llama-2-7b", "opt-6.7b") and plan.out == tmp_path / "r.jsonl"
    assert [(cell.batch, cell.context) for cell in plan.cells] == [(1, 128), (1, 1024), (8, 128), (8, 1024)]
    assert plan.engines == ("hf", "hf-static-compile", "ours-generate", "ours-loop", "read")
    assert (plan.dtype, plan.repeats, plan.cells[0].new_tokens, plan.cells[0].warmup_tokens) == ("bf16", 5, 128, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: MODEL; see `python -m shapewright.decode --help`"),
        (("gpt2", "--batch", "1,two"), "--batch is '1,two'; expected whole numbers, as in 1,2,4"),
        (("gpt2", "--time-limit", "nan"), "--time-limit is nan; expected seconds above 0"),
        (("gpt2", "--engines", "our-loop"), "unknown engine 'our-loop'; did you mean ours-loop"),
        (("gpt2", "--grid", "s4", "--context", "5"), "--grid names batches and contexts itself"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.count("\n") == 1 and message in answer.err


def test_a_run_prints_its_cells_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = config_file(tmp_path), tmp_path / "run.jsonl"
    arguments = [model, "--engines", "gpt-fast", "--out", str(out), *TINY]
    assert command.main(arguments) == 0
    answer = capsys.readouterr()
    assert f"{model} 1 x 5 gpt-fast: 2 of 2 tokens equal" in answer.out
    assert f"{model}, fp32: tokens/s" in answer.out and answer.out.endswith(f"rows: {out}\n")
    assert [row.engine for row in read_rows(out)] == ["hf", "gpt-fast", "read"]

    assert command.main(arguments) == 0
    assert "3 rows were there already" in capsys.readouterr().out


def test_a_time_limit_that_leaves_no_row_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [config_file(tmp_path), "--out", str(tmp_path / "run.jsonl"), "--time-limit", "1e-9", *TINY]
    assert command.main(arguments) == 1
    answer = capsys.readouterr()
    assert "the time limit came; go on with: python -m" in answer.err and answer.out == f"rows: {tmp_path / 'run.jsonl'}\n"


def test_the_command_to_go_on_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert command.main(["a model", "--out", str(tmp_path / "r.jsonl")]) == 130
    assert "python -m shapewright.decode 'a model' --out" in capsys.readouterr().err


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter holds."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=True)
    return set(found.stdout.splitlines()[-1].split())


def test_nothing_of_the_terminal_is_needed() -> None:
    loaded = modules_after("from shapewright.decode.__main__ import plan_of\nplan_of(['gpt2', '--out', 'x'])")
    assert loaded & {"cyclopts", "rich", "scipy", "altair", "pyarrow", "duckdb"} == set()


def test_rows_are_read_and_shown_without_torch() -> None:
    loaded = modules_after("import shapewright.decode.bench_rows, shapewright.decode.bench_text, shapewright.decode.bench")
    assert loaded & {"torch", "triton", "transformers"} == set()
