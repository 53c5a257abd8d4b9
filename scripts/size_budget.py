"""Print the size budget of the code: long functions and files, many positional parameters, deep nesting, median function length.

    python scripts/size_budget.py [FOLDER_OR_FILE ...]        (default: src)

The budget: functions of at most 40 lines (median at most 12), files of at most 400, at most 5 positional parameters, at most 3 levels of
nesting. It informs and always exits with 0: a break that reads better than its mending may stay.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MAX_FUNCTION_LINES, MAX_MEDIAN_LINES, MAX_FILE_LINES, MAX_POSITIONAL, MAX_NESTING = 40, 12, 400, 5, 3
_BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function and its sizes: `lines` with decorators left out, `positional` without self or cls, `nesting` of blocks."""

    place: str
    lines: int
    positional: int
    nesting: int


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, methods and inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield Function(
                place=f"{path}:{node.lineno} {node.name}",
                lines=node.end_lineno - node.lineno + 1,
                positional=num_positional(node),
                nesting=max((nesting(child) for child in node.body), default=0),
            )


def num_positional(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def nesting(node: ast.AST, *, is_elif: bool = False) -> int:
    """Levels of blocks in `node`; `elif` is no deeper than its `if`, and an inner function counts for itself."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return 0
    inner = 0
    for child in ast.iter_child_nodes(node):
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        inner = max(inner, nesting(child, is_elif=chained))
    return inner + (isinstance(node, _BLOCKS) and not is_elif)


def source_files(paths: list[Path]) -> list[Path]:
    return sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


def report(files: list[Path]) -> Iterator[str]:
    """Lines of the budget: what is over it, then the totals."""
    every = [function for file in files for function in functions(file)]
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    for file, length in lengths.items():
        if length > MAX_FILE_LINES:
            yield f"{file}: {length} lines (budget {MAX_FILE_LINES})"
    for function in every:
        measured = (
            (function.lines, MAX_FUNCTION_LINES, "lines"),
            (function.positional, MAX_POSITIONAL, "positional parameters"),
            (function.nesting, MAX_NESTING, "levels of nesting"),
        )
        yield from (f"{function.place}: {size} {what} (budget {limit})" for size, limit, what in measured if size > limit)
    middle = median(function.lines for function in every) if every else 0
    yield (
        f"{len(files)} files, {sum(lengths.values())} lines, {len(every)} functions, "
        f"median {middle:g} lines (budget {MAX_MEDIAN_LINES}), longest {max((f.lines for f in every), default=0)}"
    )


if __name__ == "__main__":
    print("\n".join(report(source_files([Path(argument) for argument in sys.argv[1:]] or [Path("src")]))))
