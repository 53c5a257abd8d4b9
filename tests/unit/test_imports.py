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
