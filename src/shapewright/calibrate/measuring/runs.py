"""The run files of a folder, by the name of the plan that made them.

    runs = find_runs(Path("benchmarks/h200"), "repeatability")     # repeatability.jsonl, repeatability-1.jsonl.gz, ...
    ok_rows(runs, "gemm")                                          # measured rows of a kind, in order

A run is `PLAN.jsonl` or `PLAN-WORD.jsonl`, where WORD holds digits alone (an occasion); both may be packed (.gz). Times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...measure.store import RunRows, read_run

Row = dict[str, Any]


def find_runs(folder: Path, plan: str) -> list[RunRows]:
    """The runs of a plan, by name; none is an empty list. A file that is no run is refused by `read_run`."""
    pattern = re.compile(rf"{re.escape(plan)}(-\d+)?\.jsonl(\.gz)?")
    return [read_run(path) for path in sorted(folder.glob(f"{plan}*")) if pattern.fullmatch(path.name)]


def ok_rows(runs: Iterable[RunRows], kind: str = "") -> list[Row]:
    """The measured rows (of one kind, where named), each point once a run: the last where it was measured again."""
    return [row for run in runs for row in run.latest() if row["status"] == "ok" and kind in ("", row["kind"])]


def failed_rows(runs: Iterable[RunRows], kind: str = "") -> list[Row]:
    """Rows of points that could not be measured, with their reason."""
    return [row for run in runs for row in run.latest() if row["status"] != "ok" and kind in ("", row["kind"])]
