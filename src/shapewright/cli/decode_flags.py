"""The flags of `shapewright decode`: what is measured, how, or which rows are shown instead."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from ..errors import InputError
from ..write.output_file import refuse_overwriting
from .bench import run_path, sizes, words
from .options import Count, PositiveNumber

if TYPE_CHECKING:
    from ..decode.bench import Plan

_CELLS, _MEASURING, _ANSWER = Group("Cells", sort_key=0), Group("Measuring", sort_key=1), Group("Answer", sort_key=2)
#: What is measured where nothing is said.
ENGINES, VERSUS = "ours-loop,ours-generate", "hf"


def _flag(group: Group, text: str, **options: Any) -> Parameter:
    return Parameter(group=group, help=text, negative="", **options)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MeasureFlags:
    """What is measured, and how; None, or false, where the user did not say."""

    batch: Annotated[str | None, _flag(_CELLS, "Rows of a batch, with commas; default 1.")] = None
    context: Annotated[str | None, _flag(_CELLS, "Tokens of a prompt, with commas; default 128,1024.")] = None
    grid: Annotated[str | None, _flag(_CELLS, "A named list of cells instead: s4, the twelve of FlashDecoding++.")] = None
    versus: Annotated[
        str | None, _flag(_CELLS, "What to compare with: hf, hf-eager, hf-static-compile, gpt-fast, with commas; default hf.")
    ] = None
    engines: Annotated[str | None, _flag(_CELLS, "Ours: ours-loop, ours-generate; default both; all: every engine.")] = None
    new_tokens: Annotated[Count | None, _flag(_MEASURING, "Timed steps of a repeat; default 128.")] = None
    warmup_tokens: Annotated[Count | None, _flag(_MEASURING, "Untimed steps before them; default 16.")] = None
    repeats: Annotated[Count | None, _flag(_MEASURING, "Timed repeats of each engine; default 5.")] = None
    dtype: Annotated[str | None, _flag(_MEASURING, "bf16, fp16 or fp32; default bf16.")] = None
    device: Annotated[str | None, _flag(_MEASURING, "cuda, cuda:N or cpu; default cuda.")] = None
    out: Annotated[str | None, _flag(_MEASURING, "Run file (.jsonl), new or to go on with; default: a new one in your folder of runs.")] = (
        None
    )
    time_limit: Annotated[PositiveNumber | None, _flag(_MEASURING, "Seconds; a cell that would end after them is not started.")] = None
    retry_failed: Annotated[bool, _flag(_MEASURING, "Measure again what has a row in --out that failed.")] = False
    launches: Annotated[bool, _flag(_MEASURING, "Count kernels a step too; the profiler slows down later cells.")] = False
    no_check: Annotated[bool, _flag(_MEASURING, "Do not hold logits and tokens against Hugging Face's first.")] = False

    @property
    def given(self) -> list[str]:
        """Flags that the user set."""
        return [f"--{each.name.replace('_', '-')}" for each in fields(self) if getattr(self, each.name) not in (None, False)]

    def plan(self, models: tuple[str, ...]) -> Plan:
        """What they ask for; names and sizes that cannot be are refused."""
        from ..decode.bench import Plan, cells_of, engines_of

        cells = cells_of(
            batches=() if self.batch is None else sizes(self.batch, "--batch"),
            contexts=() if self.context is None else sizes(self.context, "--context"),
            grid=self.grid,
            **{name: value for name in ("new_tokens", "warmup_tokens") if (value := getattr(self, name)) is not None},
        )
        engines = engines_of(words(self.engines or ENGINES, "--engines"), words(self.versus or VERSUS, "--versus"))
        habits = {name: value for name in ("dtype", "device", "repeats") if (value := getattr(self, name)) is not None}
        return Plan(
            models=tuple(dict.fromkeys(models)), cells=cells, engines=engines, out=run_path(self.out, "decode"),
            time_limit_s=self.time_limit, retry_failed=self.retry_failed, counts_launches=self.launches, has_checks=not self.no_check,
            **habits,
        )  # fmt: skip


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ShowFlags:
    """Where rows come from instead, and what is drawn."""

    rows: Annotated[
        list[str] | None,
        _flag(_ANSWER, "Run files measured before (.jsonl, .jsonl.gz): shown instead of measuring; no GPU.", consume_multiple=True),
    ] = None
    chart: Annotated[str | None, _flag(_ANSWER, "Draw gains and tokens/s: a file .svg or .png.", name=["--chart", "-o"])] = None
    force: Annotated[bool, _flag(_ANSWER, "Replace the chart if it exists.")] = False

    def check(self, measuring: MeasureFlags, *, is_named: bool) -> None:
        """Refuse flags that contradict each other, and a chart that cannot be drawn, before anything is measured."""
        if self.rows is not None and not self.rows:
            raise InputError("--rows needs a value", hint="name run files of `shapewright decode`")
        if self.rows and measuring.given:
            raise InputError(f"{measuring.given[0]} is given with --rows", hint="nothing is measured: leave one of them out")
        if not self.rows and not is_named:
            raise InputError("no model is named", hint="name some, such as llama-2-7b, or rows measured before with --rows")
        if self.force and self.chart is None:
            raise InputError("--force is given without --chart", hint="leave it out: no file is written")
        if self.chart is not None:
            from ..report.accuracy_chart import require_altair, require_form

            refuse_overwriting(Path(self.chart), force=self.force, flag="--chart")
            require_form(Path(self.chart))
            require_altair()
