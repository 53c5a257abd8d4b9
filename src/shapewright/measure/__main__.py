"""`python -m shapewright.measure PLAN.toml`: measure a plan where nothing but numpy and torch is installed.

Prints a summary (or one JSON object with `--json`) to stdout and progress to stderr. Exit codes: 0 the plan is measured (failed points are
rows too) or the time limit came, 2 bad input or a full disk, 3 no torch or no GPU, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .executor import Summary, execute
from .plan import load_plan
from .program import Parser, check_time_limit, default_out, exit_code
from .progress import ProgressLine, duration_text, rate_text
from .store import Run

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    plan: Path
    out: Path | None
    device: str
    time_limit_s: float | None
    retry_failed: bool
    json: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a plan and say how it went; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = f"what was measured is kept, go on with: python -m shapewright.measure {shlex.join(given)}"
    return exit_code(lambda: _measured(_options(given)), kept=kept)


def _options(arguments: Sequence[str]) -> Options:
    description = "Measure the points of a plan and keep them as rows. The same command goes on where a stopped one was."
    parser = Parser(prog="python -m shapewright.measure", description=description, allow_abbrev=False)
    parser.add_argument("plan", type=Path, metavar="PLAN.toml", help="which points to measure")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="RUN.jsonl",
        help="where rows are kept; a run that is there goes on (default: NAME_OF_THE_PLAN.jsonl in the folder of runs, which is "
        "SHAPEWRIGHT_RUNS, else shapewright/runs in XDG_DATA_HOME or ~/.local/share)",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        dest="time_limit_s",
        help="seconds after which no further point is started (default: none)",
    )
    parser.add_argument("--retry-failed", action="store_true", help="measure points again whose row is not ok")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = Options(**vars(parser.parse_args(arguments)))
    check_time_limit(options.time_limit_s)
    return options


def _measured(options: Options) -> int:
    plan = load_plan(options.plan)
    out = options.out or default_out(plan.name)
    line = ProgressLine()
    with Run.open(out) as run:
        if run.repaired:
            print(f"{out}: {run.repaired}", file=sys.stderr)
        try:
            summary = execute(
                plan.points,
                run,
                device=options.device,
                timeout_s=plan.timeout_s,
                progress=line.show,
                time_limit_s=options.time_limit_s,
                retry_failed=options.retry_failed,
                together=plan.together,
                rest_s=plan.rest_s,
                warm_s=plan.warm_s,
            )
        finally:
            line.close()
    print(json.dumps(summary_json(summary, plan.name, out)) if options.json else summary_text(summary, plan.name, out))
    return 0


def summary_json(summary: Summary, name: str, out: Path) -> Mapping[str, Any]:
    """The summary as a program gets it; times in seconds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "plan": name,
        "file": str(out),
        "num_points": summary.num_points,
        "num_measured": summary.num_measured,
        "num_skipped": summary.num_skipped,
        "counts": dict(summary.counts),
        "is_complete": summary.is_complete,
        "elapsed_s": round(summary.elapsed_s, 3),
        "rate_per_s": round(summary.rate_per_s, 3),
        "repaired": summary.repaired,
        "environment": dict(summary.environment),
    }


def summary_text(summary: Summary, name: str, out: Path) -> str:
    """The summary as a person reads it."""
    environment = summary.environment
    rows = [("plan", name), ("device", f"{environment.get('gpu', '?')}, torch {environment.get('torch', '?')}")]
    rows.append(("points", f"{summary.num_points}" + (f", {summary.num_skipped} there already" if summary.num_skipped else "")))
    rows += [(status.replace("_", " "), str(count)) for status, count in sorted(summary.counts.items(), key=lambda each: -each[1])]
    if summary.num_measured:
        rows.append(("time", f"{duration_text(summary.elapsed_s)}, {rate_text(summary.rate_per_s)}"))
    if not summary.is_complete:
        rest = summary.num_points - summary.num_skipped - summary.num_measured
        rows.append(("left", f"{rest} points: the time limit came; start again to go on"))
    rows.append(("file", str(out)))
    return "\n".join(f"{label:<14}{text}" for label, text in rows)


if __name__ == "__main__":
    sys.exit(main())
