"""What every `shapewright bench` command does with its points: measure them in a child process, keep the rows, show predictions beside."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from ..errors import InputError, ShapewrightError, shown
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..measure.executor import Summary, execute
from ..measure.plan import Plan
from ..measure.points import POINT_TYPES, TOGETHER, Point, key_of
from ..measure.progress import ProgressLine
from ..measure.run_lines import key_of_row
from ..measure.store import Run, read_run, runs_folder
from .notes import print_notes
from .options import PositiveNumber
from .screen import page_width

_GROUP = Group("Measuring", sort_key=9)
#: Points of a product of lists beyond which a plan is the better way.
MAX_POINTS = 100_000


def _flag(help_text: str, **options: Any) -> Parameter:
    return Parameter(help=help_text, **options)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class BenchFlags:
    """Flags of every bench command."""

    device: Annotated[str, _flag("cuda, cuda:N or cpu.")] = "cuda"
    gpu: Annotated[str | None, _flag("GPU to predict for; default: the known one of the device's name.")] = None
    library: Annotated[str | None, _flag("Library profile of the prediction; default: the GPU's own.")] = None
    out: Annotated[str | None, _flag("Run file (.jsonl), new or to go on with; default: a new one in your folder of runs.")] = None
    time_limit: Annotated[PositiveNumber | None, _flag("Seconds after which no further point is started.")] = None
    timeout: Annotated[PositiveNumber | None, _flag("Seconds that one point may take; default 120, layers and models 900.")] = None
    retry_failed: Annotated[bool, _flag("Measure points again whose rows in --out failed.", negative="")] = False
    json: Annotated[bool, _flag("Print one JSON document instead of text.", negative="")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a command measured: its rows in the order of its points, and what made them."""

    path: Path
    rows: list[Mapping[str, Any]]
    summary: Summary


def bench(points: Sequence[Point], flags: BenchFlags, *, name: str, plan: Plan | None = None, timeout_s: float = 120.0) -> int:
    """Measure, print the table or the document; 1 where no point could be measured."""
    known = named_gpu(flags)
    done = measured(points, flags, name=name, plan=plan, timeout_s=timeout_s)
    gpu, why = predicted_gpu(known, done.summary.environment)
    records = records_of(done.rows, gpu, why, flags.library)
    if flags.json:
        from ..report.bench import bench_document
        from ..report.json import to_json

        on = None if gpu is None else gpu.name
        document = bench_document(
            records, environment=done.summary.environment, run=str(done.path), predicted_on=on, why_no_prediction=why
        )  # fmt: skip
        print(to_json(document))
    else:
        from ..report.bench import bench_text

        print(bench_text(records, run=str(done.path), why_no_prediction=why, width=page_width()))
    return 0 if any(row["status"] == "ok" for row in done.rows) else 1


def measured(points: Sequence[Point], flags: BenchFlags, *, name: str, plan: Plan | None = None, timeout_s: float = 120.0) -> Finished:
    """Run the points that the file lacks, as their plan has it; what is kept, and how to go on, is said however it ends."""
    if not points:
        raise InputError("there is no point to measure", hint="name at least one")
    path = run_path(flags.out, name)
    line = ProgressLine() if len(points) > 1 else None
    with Run.open(path) as run:
        print_notes([f"{path}: {run.repaired}"] if run.repaired else [])
        try:
            summary = execute(
                points, run, device=flags.device, timeout_s=flags.timeout or timeout_s, progress=None if line is None else line.show,
                time_limit_s=flags.time_limit, retry_failed=flags.retry_failed, **_turns(plan),
            )  # fmt: skip
        except KeyboardInterrupt:
            _close(line)
            print_notes([_stopped(_num_kept(run, points), path)])
            raise
        finally:
            _close(line)
    if not summary.is_complete:
        print_notes([f"the time limit came first; the same command with --out {shlex.quote(str(path))} goes on"])
    if summary.num_skipped:
        print_notes([f"{summary.num_skipped} of {summary.num_points} points were in {path} already"])
    return Finished(path=path, rows=_rows(path, points, str(summary.environment.get("gpu", ""))), summary=summary)


def _turns(plan: Plan | None) -> dict[str, Any]:
    """How a plan wants its points run."""
    return {"together": TOGETHER} if plan is None else {"together": plan.together, "rest_s": plan.rest_s, "warm_s": plan.warm_s}


def named_gpu(flags: BenchFlags) -> Gpu | None:
    """The GPU of --gpu; it and its --library are refused before anything is measured."""
    if flags.gpu is None:
        return None
    from ..predict.profiles import load_profile

    gpu = load_gpu(flags.gpu)
    if flags.library is not None:
        load_profile(gpu, flags.library)
    return gpu


def _close(line: ProgressLine | None) -> None:
    if line is not None:
        line.close()


def _stopped(num_kept: int, path: Path) -> str:
    if not num_kept:
        return "stopped before any point was measured"
    kept = "1 row is" if num_kept == 1 else f"{num_kept:,} rows are"
    return f"stopped: {kept} kept in {path}; the same command with --out {shlex.quote(str(path))} goes on"


def _num_kept(run: Run, points: Sequence[Point]) -> int:
    wanted = {key_of(point) for point in points}
    return sum(key in wanted for key, _ in run.done)


def run_path(out: str | None, name: str) -> Path:
    """Where the rows go: the file that was named, else a new one in the user's folder of runs."""
    if out is not None:
        if not out.endswith(".jsonl"):
            raise InputError(f"--out is {shown(out)}", hint="expected the name of a run file, .jsonl")
        return Path(out)
    folder = runs_folder()
    if folder is None:
        raise InputError("there is no folder for runs", hint="name a file with --out")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{stamp}-{os.getpid()}.jsonl"


def _rows(path: Path, points: Sequence[Point], gpu: str) -> list[Mapping[str, Any]]:
    """The row of every point that the file holds one of, from this GPU."""
    found = {key_of_row(row): row for row in read_run(path).rows if row["gpu"] == gpu} if path.exists() else {}
    return [found[key] for key in dict.fromkeys(key_of(point) for point in points) if key in found]


def predicted_gpu(named: Gpu | None, environment: Mapping[str, Any]) -> tuple[Gpu | None, str]:
    """The GPU to predict for, or why there is none."""
    from ..calibrate.products import catalogued

    found = str(environment.get("gpu", ""))
    if found == "cpu":
        return None, "measured on the CPU, predictions are of GPUs"
    gpu = named or catalogued(found)
    return gpu, "" if gpu else f"no GPU is known as {shown(found)}, name one with --gpu"


def records_of(rows: Sequence[Mapping[str, Any]], gpu: Gpu | None, why: str, library: str | None = None) -> list[dict[str, Any]]:
    """Rows with their predictions; without a GPU with the reason `why`."""
    from ..calibrate.compare import Answer, compare_points
    from ..measure.points import point_of
    from ..report.bench import record_of

    points = [point_of(row) for row in rows]
    answers: list[Answer] = [why] * len(points) if gpu is None else compare_points(points, gpu, library)
    return [record_of(row, answer) for row, answer in zip(rows, answers, strict=True)]


def sizes(text: str, name: str) -> list[int]:
    """ "8192" or "10922,10923,11008" as whole numbers."""
    found = []
    for part in words(text, name):
        if not re.fullmatch(r"[0-9]{1,12}", part):
            raise InputError(f"{name} is {shown(text)}", hint="expected a number such as 8, or several such as 8,16, of 12 digits at most")
        found.append(int(part))
    return found


def words(text: str, name: str) -> list[str]:
    """Values of the flag or argument `name` that commas separate."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise InputError(f"{name} is {shown(text)}", hint="give a value, or several separated by commas")
    return found


def product(kind: str, choices: Mapping[str, Sequence[Any]], **fixed: Any) -> list[Point]:
    """A point for every combination of `choices`; the last field changes fastest."""
    count = 1
    for values in choices.values():
        count *= len(values)
    if count > MAX_POINTS:
        raise InputError(f"{count:,} combinations", hint=f"at most {MAX_POINTS:,}; write a plan for `shapewright bench sweep`")
    try:
        every = itertools.product(*choices.values())
        return [POINT_TYPES[kind](**dict(zip(choices, values, strict=True)), **fixed) for values in every]
    except ShapewrightError as error:
        raise error.at(f"bench {kind}") from None
