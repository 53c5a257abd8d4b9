"""`python -m shapewright.decode MODEL...`: measure decoding where nothing but torch, triton and transformers is installed.

    python -m shapewright.decode llama-2-7b opt-6.7b --grid s4 --versus hf,hf-static-compile --out run.jsonl --time-limit 540

Prints a line for each cell and a table at the end. Exit codes: 0 all is measured (failed rows are rows too) or the time limit came, 1 the
GPU faulted or the time limit came before any row, 2 bad input or a full disk, 3 no torch, transformers or GPU, 130 Ctrl-C. The same command
goes on where a stopped one was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError, shown
from ..measure.program import Parser, check_time_limit, default_out, exit_code
from .bench import DTYPES, GRIDS, Plan, cells_of, engines_of, run
from .bench_rows import ENGINES, read_rows
from .bench_text import cell_text, table_text

FAULTED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and say how it went; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    again = f"go on with: python -m shapewright.decode {shlex.join(given)}"
    return exit_code(lambda: _measured(plan_of(given), again), kept=f"the cells that were measured are kept, {again}")


def plan_of(arguments: Sequence[str]) -> Plan:
    """The plan that a command line asks for."""
    options = _parser().parse_args(arguments)
    check_time_limit(options.time_limit_s)
    cells = cells_of(
        batches=_numbers("--batch", options.batch),
        contexts=_numbers("--context", options.context),
        grid=options.grid,
        new_tokens=options.new_tokens,
        warmup_tokens=options.warmup_tokens,
    )
    return Plan(
        models=tuple(dict.fromkeys(options.models)),
        cells=cells,
        engines=engines_of(_words(options.engines), _words(options.versus)),
        out=options.out or default_out("decode"),
        dtype=options.dtype,
        device=options.device,
        repeats=options.repeats,
        time_limit_s=options.time_limit_s,
        retry_failed=options.retry_failed,
        counts_launches=options.launches,
        has_checks=not options.no_check,
    )


def _measured(plan: Plan, again: str) -> int:
    tell = partial(print, file=sys.stderr, flush=True)
    summary = run(plan, on_rows=lambda rows: print(cell_text(rows), flush=True), tell=tell)
    if summary.repaired:
        print(f"{plan.out}: {summary.repaired}", file=sys.stderr)
    if summary.num_skipped:
        print(f"{summary.num_skipped} rows were there already")
    if summary.has_any:
        wanted = {(cell.batch, cell.context) for cell in plan.cells}
        rows = [row for row in read_rows(plan.out) if row.model in plan.models and (row.batch, row.context) in wanted]
        print(f"\n{table_text(rows)}")
    if summary.fault is not None:
        print(f"error: the GPU faulted ({summary.fault}); {again}", file=sys.stderr)
        return FAULTED
    if not summary.is_complete:
        print(f"the time limit came; {again}", file=sys.stderr)
    print(f"rows: {plan.out}")
    return 0 if summary.has_any else FAULTED


def _parser() -> argparse.ArgumentParser:
    description = "Measure how fast models of random weights decode, in turn by several engines, beside a bare read of the same bytes."
    parser = Parser(prog="python -m shapewright.decode", description=description, allow_abbrev=False)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a catalogue name, a config.json or its folder, a cached Hub id")
    parser.add_argument("--batch", metavar="N,...", default="", help="rows of a batch (default: 1)")
    parser.add_argument("--context", metavar="N,...", default="", help="tokens of a prompt (default: 128,1024)")
    parser.add_argument("--grid", metavar="NAME", help=f"a named list of cells instead: {', '.join(GRIDS)}")
    parser.add_argument("--engines", metavar="NAME,...", default="ours-loop,ours-generate", help=f"of {', '.join(ENGINES)}, or all")
    parser.add_argument("--versus", metavar="NAME,...", default="hf", help="engines to compare with (default: hf)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed repeats of each engine (default: 5)")
    parser.add_argument("--new-tokens", type=int, default=128, metavar="N", help="timed steps of a repeat (default: 128)")
    parser.add_argument("--warmup-tokens", type=int, default=16, metavar="N", help="untimed steps before them (default: 16)")
    parser.add_argument("--dtype", default="bf16", help=f"{', '.join(DTYPES)} (default: bf16)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--out", type=Path, metavar="RUN.jsonl", help="where rows are kept; a run that is there goes on")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", dest="time_limit_s", help="start no cell that would end after it")
    parser.add_argument("--retry-failed", action="store_true", help="measure again what has a row that is not ok")
    parser.add_argument("--launches", action="store_true", help="count kernels a step too; the profiler slows down later cells")
    parser.add_argument("--no-check", action="store_true", help="do not compare logits and tokens with Hugging Face's first")
    return parser


def _words(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(each) for each in _words(text)]
    except ValueError:
        raise InputError(f"{flag} is {shown(text)}", hint="expected whole numbers, as in 1,2,4") from None


if __name__ == "__main__":
    sys.exit(main())
