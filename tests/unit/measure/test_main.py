"""`python -m shapewright.measure`: one line for each failure, and a way to go on that a shell takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.measure import __main__ as command
from shapewright.measure.store import FOLDER_VARIABLE

PLAN = 'name = "small"\n[[points]]\nkind = "gemm"\nm = 8\nn = [8, 16]\nk = 8\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: PLAN.toml; see `python -m shapewright.measure --help`"),
        (("plan.toml", "--devic", "cpu"), "unrecognized arguments: --devic cpu"),
        (("plan.toml", "--time-limit", "abc"), "argument --time-limit: invalid float value: 'abc'"),
        (("plan.toml", "--time-limit", "nan"), "--time-limit is nan; expected seconds above 0"),
        (("none.toml",), "none.toml: no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.count("\n") == 1 and message in answer.err


def test_the_command_to_go_on_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "a plan.toml"
    plan.write_text(PLAN)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(command, "execute", interrupted)
    assert command.main([str(plan), "--device", "cpu"]) == 130
    assert f"python -m shapewright.measure '{plan}' --device cpu" in capsys.readouterr().err
    assert list((tmp_path / "runs").glob("*")) == []
