"""The README shows real output: every line of its console block is printed by the command above it, in this order."""

from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_console_block_is_real_output(cli) -> None:
    command, *shown = README.split("```console\n")[1].split("```")[0].splitlines()
    printed = iter(cli(*command.removeprefix("$ shapewright ").split()).out.splitlines())
    missing = [line for line in shown if line != "..." and line not in printed]
    assert missing == []


def test_commands_of_the_readme_are_accepted(cli, tmp_path) -> None:
    examples = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("shapewright explain ")]
    named = [words[1:] for words in examples if "path/to/config.json" not in words]
    assert len(named) >= 5
    assert [cli(*words).code for words in named] == [0] * len(named)
