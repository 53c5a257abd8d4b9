"""The README shows real output: every line of its console block is printed by the command above it, in this order."""

import pytest

from cli.console_blocks import blocks_of, missing_lines, page
from shapewright.measure.plan import load_plan

README = page("README.md")


@pytest.mark.parametrize("block", blocks_of(README), ids=["lint", "search", "explain"])
def test_a_console_block_is_real_output(cli, block) -> None:
    assert missing_lines(cli, block) == []


def test_commands_of_the_readme_are_accepted(cli, tmp_path) -> None:
    examples = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("shapewright explain ")]
    named = [words[1:] for words in examples if "path/to/config.json" not in words]
    assert len(named) >= 5
    assert [cli(*words).code for words in named] == [0] * len(named)


def test_lint_commands_of_the_readme_are_accepted(cli, tmp_path, monkeypatch) -> None:
    """On a folder with the files that they name; findings make the exit code 1."""
    config = '{"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257}'
    for place in ("config.json", "models/mine/config.json"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(config)
    monkeypatch.chdir(tmp_path)
    examples = [line.split("#")[0].replace("*", "mine").split() for line in README.splitlines() if line.startswith("shapewright lint ")]
    assert len(examples) >= 4
    assert [cli(*words[1:]).code for words in examples] == [1] * len(examples)
    assert (tmp_path / "config.fixed.json").is_file() and (tmp_path / "config.json").read_text() == config


def test_the_plan_of_the_readme_is_one(tmp_path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(README.split("```toml\n")[1].split("```")[0])
    points = load_plan(path).points
    assert len(points) == 2 * len(range(10880, 11009, 2)) and {point.kind for point in points} == {"gemm"}


def test_paper_commands_of_the_readme_are_accepted(cli) -> None:
    examples = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("shapewright paper ")]
    printed = [words[1:] for words in examples if "-o" not in words]
    assert len(printed) == 2 and [cli(*words).code for words in printed] == [0, 0]
