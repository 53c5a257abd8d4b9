"""What the book about the paper is made of: runs read, figures compared, claims judged, readings told.

    book = book_of(sorted(Path("benchmarks/h200/paper").glob("*.jsonl*")))

The A100-40GB and the H200 are predicted, the H200 measured by the runs. Seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..hardware.load import load_gpu
from ..measure.store import RunRows, read_run
from ..paper.evidence import Evidence
from ..paper.figure import all_figures
from ..paper.judging import Judged, judge_claims
from ..paper.readings import SOURCES, Facts, load_readings, load_rules, tell
from ..paper.reports import FigureReport, figure_report
from ..paper.times import Predicted, Times, measured_times
from .paper_book import Book, RunFacts

Draw = Callable[[Mapping[str, FigureReport]], Mapping[str, str]]


def book_of(
    paths: Sequence[Path], *, decoded: Sequence[Path] = (), logs: Sequence[Mapping[str, Any]] = (), draw: Draw | None = None
) -> Book:
    """The book of these runs, and for Figure S4 of those of decoding; `draw` writes the images and says where they are."""
    times = times_of([*paths, *decoded])
    reports = {figure.id: figure_report(figure, list(times.values())) for figure in all_figures()}
    judged = {source: judge_claims(Evidence(times=each)) for source, each in times.items()}
    rules = load_rules()
    facts = facts_of(reports, judged)
    told = {each.id: tell(each, facts) for each in (*load_readings().values(), *(rule.reading for rule in rules))}
    runs = [run_facts(path) for path in paths]
    return Book(reports=reports, judged=judged, told=told, rules=rules, runs=runs, logs=logs, images=draw(reports) if draw else {})


def times_of(paths: Sequence[Path]) -> dict[str, Times]:
    """Where times come from, by the names that readings use."""
    found: dict[str, Times] = {}
    for name, (gpu, source) in SOURCES.items():
        found[name] = Predicted(gpu=load_gpu(gpu)) if source == "predicted" else measured_times(paths, load_gpu(gpu))
    return found


def facts_of(reports: Mapping[str, FigureReport], judged: Mapping[str, Sequence[Judged]]) -> Facts:
    """What readings ask."""
    return Facts(
        rows={figure: report.rows for figure, report in reports.items()},
        verdicts={(source, each.claim.id): each.verdict for source, own in judged.items() for each in own},
        comparisons={figure: each for figure, report in reports.items() for each in report.comparisons if each.source == "measured"},
    )


def run_facts(path: Path) -> RunFacts:
    """Rows and seconds of one run."""
    run = read_run(path)
    rows = run.latest()
    failed = sum(row.get("status") != "ok" for row in rows)
    return RunFacts(
        file=path.name, num_rows=len(rows), num_failed=failed, span_s=span_s(run), environment=run.environment,
    )  # fmt: skip


def span_s(run: RunRows) -> float:
    """Seconds from the start of each process that wrote the run to its last row."""
    total = 0.0
    for start, environment in enumerate(run.environments):
        times = [str(row["at"]) for row, own in zip(run.rows, run.starts, strict=True) if own == start and "at" in row]
        if times and environment.get("time"):
            total += (datetime.fromisoformat(max(times)) - datetime.fromisoformat(str(environment["time"]))).total_seconds()
    return total
