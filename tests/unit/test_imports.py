"""What is imported when: no framework and no terminal library to explain, almost nothing for `import shapewright`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import shapewright

HEAVY = ("torch", "triton", "transformers", "scipy", "pandas", "rich", "cyclopts")


def modules_after(code: str) -> set[str]:
    """Top-level modules, and ours in full, that a fresh interpreter holds after `code`."""
    source = str(Path(shapewright.__file__).parents[1])
    program = f"{code}\nimport sys\nprint(*(name for name in sys.modules if name.startswith('shapewright') or '.' not in name))"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": source}
    )
    return set(answer.stdout.splitlines()[-1].split())


def test_import_costs_next_to_nothing() -> None:
    loaded = modules_after("import shapewright")
    assert {name for name in loaded if name.startswith("shapewright")} == {"shapewright", "shapewright.version"}
    assert loaded & {"numpy", *HEAVY} == set()


def test_explaining_needs_no_framework_and_no_terminal() -> None:
    loaded = modules_after("import shapewright\nshapewright.explain('gpt2', 'h200')")
    assert "shapewright.predict.explain" in loaded
    assert loaded & set(HEAVY) == set()
    assert {name for name in loaded if name.startswith(("shapewright.cli", "shapewright.report"))} == set()


def test_the_command_imports_no_framework() -> None:
    loaded = modules_after("from shapewright.cli import main\nmain(['explain', 'gpt2', '--gpu', 'h200'])")
    assert loaded & {"torch", "triton", "transformers", "scipy", "pandas", "rich"} == set()


@pytest.mark.parametrize("arguments", ["'--help'", "'--version'", ""])
def test_help_imports_no_command(arguments: str) -> None:
    loaded = modules_after(f"from shapewright.cli import main\nmain([{arguments}])")
    rooms = ("predict", "operators", "read", "hardware", "report", "cli.explain", "cli.gpus", "cli.models", "cli.predict_gemm")
    assert {name for name in loaded if name.startswith(tuple(f"shapewright.{room}" for room in rooms))} == set()
    assert "numpy" not in loaded


def test_the_public_face_is_complete() -> None:
    assert sorted(dir(shapewright)) == sorted(shapewright.__all__)
    for name in shapewright.__all__:
        assert getattr(shapewright, name) is not None


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        shapewright.explane  # noqa: B018


def test_figures_and_claims_need_no_framework() -> None:
    loaded = modules_after(
        "from shapewright.paper.evidence import Evidence\nfrom shapewright.paper.judging import judge_claims\n"
        "from shapewright.paper.times import Predicted\nfrom shapewright.hardware.load import load_gpu\n"
        "judge_claims(Evidence(times=Predicted(gpu=load_gpu('h200'))))"
    )
    assert "shapewright.paper.judges.rules" in loaded
    assert loaded & set(HEAVY) == set()


def test_the_papers_commands_need_no_extra(tmp_path: Path) -> None:
    """Neither help, nor figures with an authors' log beside them, nor claims nor tables load scipy or a charting library."""
    log = "gpu,sweep,op,batch,m,n,k,tflops\na100,m_sweep,gemm,1,1024,1024,4096,50.0\n"
    (tmp_path / "gemm.csv").write_text(log, encoding="utf-8")
    commands = (
        ["figure", "--help"], ["figure", "5a", "--gpu", "a100-40gb", "--logs", str(tmp_path)],
        ["claims", "14", "--gpu", "h200"], ["table", "II"],
    )  # fmt: skip
    loaded = modules_after("from shapewright.cli import main\n" + "\n".join(f"assert main(['paper', *{each}]) == 0" for each in commands))
    assert "shapewright.paper.logs" in loaded
    assert loaded & {"torch", "triton", "transformers", "scipy", "pandas", "pyarrow", "duckdb", "altair", "vl_convert"} == set()
