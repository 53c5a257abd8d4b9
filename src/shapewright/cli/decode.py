"""`shapewright decode MODEL...`: how fast models decode, engine by engine; `shapewright decode profile`: the kernels for this GPU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ..decode import NEEDED
from ..decode.bench_rows import Check, Row, read_checks, read_every_row
from ..errors import InputError, MissingError, shown
from .bench import sizes
from .decode_flags import MeasureFlags, ShowFlags
from .notes import print_notes
from .options import Json, PositiveNumber
from .screen import page_width

if TYPE_CHECKING:
    from ..decode.bench import Plan, Summary

FAULTED = 1
Models = Annotated[str, Parameter(help="Names of the catalogue, config.json files or their folders, Hub ids in your own cache.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows and checks to show, and where they are kept."""

    rows: Sequence[Row]
    checks: Sequence[Check]
    runs: Sequence[str]
    is_complete: bool = True
    exit_code: int = 0


def decode(*models: Models, measuring: MeasureFlags | None = None, showing: ShowFlags | None = None, json: Json = False) -> int:
    """Measure how fast models decode: Hugging Face as it is, compiled, and ours, beside a bare read of the same bytes.

    Weights are random, nothing is fetched. All engines of a cell (batch x context) run in turn over the same weights; a row is kept as soon
    as its cell is done, and the same command with --out goes on where it was. --rows shows rows that were measured before, on any machine.

    `shapewright decode profile` measures which kernels are fastest on this GPU.
    """
    own, asked = measuring or MeasureFlags(), showing or ShowFlags()
    asked.check(own, is_named=bool(models))
    found = _stored(asked.rows, models) if asked.rows else _measured(own.plan(models))
    from ..report.decode_cells import answers

    told = answers(found.rows)
    if asked.chart is not None:
        from ..report.accuracy_chart import save_chart
        from ..report.decode_chart import decode_chart

        save_chart(decode_chart(told), Path(asked.chart))
    if json:
        from ..report.decode_json import decode_document
        from ..report.json import to_json

        print(to_json(decode_document(told, found.checks, runs=found.runs, is_complete=found.is_complete)))
    elif told:
        from ..report.decode_text import decode_text

        print(decode_text(told, found.checks, width=page_width()))
    return found.exit_code


def profile(
    model: Annotated[str, Parameter(help="The model whose products are tried.")] = "llama-2-7b",
    *,
    batch: Annotated[str, Parameter(help="Rows of the products, with commas.")] = "1,2,4,8,16,32,64",
    dtype: Annotated[str, Parameter(help="bf16 or fp16.")] = "bf16",
    out: Annotated[
        str | None,
        Parameter(
            help="Table (.json), new or to add to; default: decode-table.json in your runs, which decoding reads.", show_default=False
        ),
    ] = None,
    time_limit: Annotated[PositiveNumber, Parameter(help="Seconds after which no further number of rows is begun.")] = 600.0,
) -> None:
    """Measure which kernel is fastest for each product of a model on this GPU, inside whole steps, and keep the table."""
    rows = tuple(sizes(batch, "--batch"))
    if out is not None and not out.endswith(".json"):
        raise InputError(f"--out is {shown(out)}", hint="expected the name of a table, .json")
    needs_decode()
    path = _own_table() if out is None else Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = import_module("shapewright.decode.profile").profile(model, rows=rows, out=path, time_limit_s=time_limit, dtype=dtype)
    print(f"{len(table.entries)} choices for {table.gpu}: {path}")


def _own_table() -> Path:
    """The table that decoding on this machine looks at."""
    from ..decode.dispatch import user_table_path

    path = user_table_path()
    if path is None:
        raise InputError("there is no folder for runs", hint="name a file with --out")
    return path


def needs_decode() -> None:
    """Refuses to go on where a package that decoding needs is missing, without the seconds that importing them takes."""
    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingError(f"measuring decoding needs {name}", hint="pip install 'shapewright[decode]', or show rows with --rows")


def _stored(paths: Sequence[str], models: Sequence[str]) -> Found:
    """Rows of run files, of all models or those named."""
    rows = [row for path in paths for row in read_every_row(path)]
    checks = [check for path in paths for check in read_checks(path)]
    known = dict.fromkeys(row.model for row in rows)
    for model in models:
        if model not in known:
            raise InputError(f"no row is of {model}", where=paths[0], hint=f"there are rows of {', '.join(known)}")
    wanted = models or known
    return Found(rows=[row for row in rows if row.model in wanted], checks=[each for each in checks if each.model in wanted], runs=paths)


def _measured(plan: Plan) -> Found:
    """Measure what is left of the plan, a line on stderr for each cell; how to go on is said however it ends."""
    needs_decode()
    from ..decode.bench import run
    from ..decode.bench_text import cell_text

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    again = f"the same command with --out {shlex.quote(str(plan.out))} goes on"
    try:
        summary = run(plan, on_rows=lambda rows: tell(cell_text(rows)), tell=tell)
    except KeyboardInterrupt:
        print_notes([f"stopped: the cells that were measured are kept; {again}"])
        raise
    print_notes(_remarks(plan, summary, again))
    return _found(plan, summary)


def _remarks(plan: Plan, summary: Summary, again: str) -> Iterable[str]:
    """What a user should know of the run besides its rows."""
    if summary.repaired:
        yield f"{plan.out}: {summary.repaired}"
    if summary.num_skipped:
        yield f"{summary.num_skipped} rows were in {plan.out} already"
    if summary.fault is not None:
        yield f"the GPU faulted ({summary.fault}); {again}"
    elif not summary.is_complete:
        yield f"the time limit came first; {again}"
    yield f"rows are kept in {plan.out}"


def _found(plan: Plan, summary: Summary) -> Found:
    """What the file now holds of the plan."""
    rows: list[Row] = []
    checks: list[Check] = []
    if summary.has_any:
        cells = {(cell.batch, cell.context, cell.new_tokens, cell.warmup_tokens) for cell in plan.cells}
        rows = [
            row for row in read_every_row(plan.out)
            if row.model in plan.models and row.engine in plan.engines and row.dtype == plan.dtype
            and (row.batch, row.context, row.new_tokens, row.warmup_tokens) in cells
        ]  # fmt: skip
        checks = [each for each in read_checks(plan.out) if each.model in plan.models and each.dtype == plan.dtype]
    is_good = summary.fault is None and any(row.status == "ok" for row in rows)
    code = 0 if is_good else FAULTED
    return Found(rows=rows, checks=checks, runs=[str(plan.out)], is_complete=summary.is_complete, exit_code=code)


#: The group: measuring is its own action.
decode_app = App(name="decode", help_format="plaintext")
decode_app.default(decode)
decode_app.command(profile, name="profile", help="Measure which kernels are fastest on this GPU.")
