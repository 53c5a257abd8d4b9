"""Measures decoding: which models, cells and engines, and how the rows of a run come to be. `run(plan)` is `shapewright decode`.

Models come one after the other, cells in the order of the plan. A row is on the disk as soon as its cell is done; a run that was stopped
goes on: what the file holds a row of, on the same GPU, is left out (`read`, the ceiling, runs along again with whatever is left).

    summary = run(Plan(models=("llama-2-7b",), cells=cells_of(grid="s4"), engines=engines_of(("ours-loop",), ("hf",)), out=path))

Errors: `InputError` for names and sizes that cannot be, before anything is built. The time limit ends a run between two cells, before one
that would exceed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import InputError, unknown_name
from ..measure.clock import is_out_of_memory
from ..measure.devices import Device, environment, now, open_device
from ..measure.hf_fields import Recipe
from ..measure.hf_models import check_transformers
from ..measure.run_rows import read_run
from ..measure.store import Run
from .bench_bytes import read_weight_bytes
from .bench_cell import CellBench, GpuFault, Habits
from .bench_check import checks
from .bench_engines import Cell, MakeEngine, make_engine, task_for
from .bench_models import BenchModel, build_model, recipe_for
from .bench_rows import ENGINES, Check, Row, row_json, rows_of
from .bench_turn import Turn

#: Named grids as (batch, context), what is wanted most first. s4: the twelve cells of FlashDecoding++ (arXiv:2311.01282v4, figure 12).
GRIDS = {
    "s4": (
        (1, 128), (1, 1024), (1, 4096), (4, 1024), (8, 1024), (1, 2048),
        (2, 1024), (4, 128), (8, 128), (2, 128), (2, 2048), (4, 2048),
    ),
}  # fmt: skip
DTYPES = ("bf16", "fp16", "fp32")
MAX_BATCH, MAX_TOKENS, MAX_REPEATS = 1024, 2**20, 1000
OnRows = Callable[[Sequence[Row | Check]], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how."""

    models: tuple[str, ...]
    cells: tuple[Cell, ...]
    engines: tuple[str, ...]
    out: Path
    dtype: str = "bf16"
    device: str = "cuda"
    repeats: int = 5
    time_limit_s: float | None = None
    retry_failed: bool = False
    counts_launches: bool = False
    has_checks: bool = True
    """Hold each engine's logits and tokens against Hugging Face's on the first cell of a model."""
    make: MakeEngine = make_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did. `rows` and `checks` are those of this run; `num_skipped` rows were there."""

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    num_skipped: int
    is_complete: bool
    """False where the time limit came, or the GPU faulted, first."""
    fault: str | None = None
    repaired: str | None = None

    @property
    def has_any(self) -> bool:
        """Whether there is a row to show, of this run or an earlier one."""
        return bool(self.rows or self.num_skipped)


def cells_of(
    *,
    batches: Sequence[int] = (),
    contexts: Sequence[int] = (),
    grid: str | None = None,
    new_tokens: int = 128,
    warmup_tokens: int = 16,
) -> tuple[Cell, ...]:
    """The cells of a named grid, or every batch with every context."""
    if grid is not None and (batches or contexts):
        raise InputError("--grid names batches and contexts itself", hint="leave out --batch and --context, or --grid")
    if grid is not None and grid not in GRIDS:
        raise unknown_name("grid", grid, GRIDS)
    pairs = GRIDS[grid] if grid is not None else [(batch, context) for batch in batches or (1,) for context in contexts or (128, 1024)]
    _check_size("--new-tokens", new_tokens, MAX_TOKENS)
    _check_size("--warmup-tokens", warmup_tokens, MAX_TOKENS)
    for batch, context in pairs:
        _check_size("--batch", batch, MAX_BATCH)
        _check_size("--context", context, MAX_TOKENS)
    cells = [Cell(batch=batch, context=context, new_tokens=new_tokens, warmup_tokens=warmup_tokens) for batch, context in pairs]
    return tuple(dict.fromkeys(cells))


def engines_of(engines: Sequence[str], versus: Sequence[str]) -> tuple[str, ...]:
    """Baselines, then ours, in the order in which tables show them, and the ceiling; "all" are all of them."""
    wanted = {*versus, *engines, "read"}
    if "all" in wanted:
        return ENGINES
    for name in wanted:
        if name not in ENGINES:
            raise unknown_name("engine", name, (*ENGINES, "all"))
    return tuple(name for name in ENGINES if name in wanted)


@dataclass(slots=True, kw_only=True)
class _Bench:
    """A run at work."""

    plan: Plan
    file: Run
    device: Device
    on_rows: OnRows
    tell: Tell
    end_s: float
    done: set[tuple[str, ...]]
    recipes: Mapping[str, Recipe]
    longest_s: float = 0.0
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def left(self, model: str, cell: Cell) -> list[str]:
        """Engines of the plan that the file has no row of."""
        names = {name: Row(engine=name, **self._about(model, cell)).key for name in self.plan.engines}
        return [name for name, key in names.items() if key not in self.done]

    def measure(self, model: str) -> bool:
        """All cells of a model; False where the time limit came first."""
        cells = [cell for cell in self.plan.cells if self.left(model, cell)]
        if not cells or self._is_over():
            return not cells
        self.tell(f"{model}: building it ({self.plan.dtype}, random weights)")
        try:
            built = build_model(
                self.recipes[model],
                self.device,
                name=model,
                dtype=self.plan.dtype,
                positions=max(cell.capacity for cell in self.plan.cells),
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._refuse(model, cells, str(error).strip().splitlines()[0])
            return True
        for number, cell in enumerate(cells):
            if number and self._is_over():
                return False
            begun_s = monotonic()
            self.tell(f"{model}: cell {number + 1} of {len(cells)}, {cell.batch} x {cell.context}")
            self._measure_cell(built, cell, is_first=number == 0)
            self.longest_s = max(self.longest_s, monotonic() - begun_s)
        return True

    def keep(self, rows: Sequence[Row | Check]) -> None:
        """On the disk first, then told."""
        self.file.append([row_json(row) for row in rows])
        self.rows += [row for row in rows if isinstance(row, Row)]
        self.checks += [row for row in rows if isinstance(row, Check)]
        self.on_rows(rows)

    def _measure_cell(self, built: BenchModel, cell: Cell, *, is_first: bool) -> None:
        task = task_for(built, cell, self.device)
        left = self.left(built.name, cell)
        # The ceiling runs along whatever is left: a share of it means something only beside it.
        names = [name for name in self.plan.engines if name in left or name == "read"]
        found: list[Check] = []

        def look(turns: Sequence[Turn]) -> None:
            found.extend(checks(task, [(turn.name, turn.engine) for turn in turns], self.plan.make))

        habits = Habits(repeats=self.plan.repeats, counts_launches=self.plan.counts_launches, make=self.plan.make)
        try:
            rows = CellBench(task, habits).rows(names, look if is_first and self.plan.has_checks else None)
        except GpuFault as fault:
            self.keep([row for row in fault.rows if row.engine in left])
            raise
        self.keep([*found, *(row for row in rows if row.engine in left)])

    def _refuse(self, model: str, cells: Sequence[Cell], error: str) -> None:
        """Rows of a model that the memory does not hold."""
        for cell in cells:
            about = self._about(model, cell)
            self.keep([Row(engine=name, **about, status="out_of_memory", error=error, started_at=now()) for name in self.left(model, cell)])

    def _is_over(self) -> bool:
        """Whether the next cell would not end in time, if it took as long as the longest so far."""
        return monotonic() + self.longest_s >= self.end_s

    def _about(self, model: str, cell: Cell) -> dict[str, Any]:
        recipe = self.recipes[model]
        return {
            "model": model,
            "family": recipe.model_type,
            "num_parameters": recipe.shape.num_params,
            "dtype": self.plan.dtype,
            "batch": cell.batch,
            "context": cell.context,
            "new_tokens": cell.new_tokens,
            "warmup_tokens": cell.warmup_tokens,
        }


def run(plan: Plan, *, on_rows: OnRows = lambda rows: None, tell: Tell = lambda line: None) -> Summary:
    """Measure what is left of `plan`; `on_rows` gets the checks and rows of each cell once they are on the disk, `tell` what is begun."""
    end_s = monotonic() + plan.time_limit_s if plan.time_limit_s else float("inf")
    recipes = _recipes(plan)
    device = open_device(plan.device)
    with Run.open(plan.out) as file:
        done = _done(plan, device)
        bench = _Bench(plan=plan, file=file, device=device, on_rows=on_rows, tell=tell, end_s=end_s, done=done, recipes=recipes)
        num_left = sum(len(bench.left(model, cell)) for model in plan.models for cell in plan.cells)
        if num_left:
            file.start(environment(device), {"repeats": plan.repeats, "order": "in turn, every other repeat backwards"})
        fault = None
        try:
            is_complete = all(bench.measure(model) for model in plan.models)
        except GpuFault as found:
            fault, is_complete = found.rows[-1].error, False
        return Summary(
            rows=tuple(bench.rows),
            checks=tuple(bench.checks),
            num_skipped=len(plan.models) * len(plan.cells) * len(plan.engines) - num_left,
            is_complete=is_complete,
            fault=fault,
            repaired=file.repaired,
        )


def _recipes(plan: Plan) -> dict[str, Recipe]:
    """The fields of every model; what cannot be measured is refused before anything is built."""
    if not plan.models:
        raise InputError("no model is named", hint="give a catalogue name, a config.json or a Hub id")
    if plan.dtype not in DTYPES:
        raise unknown_name("dtype", plan.dtype, DTYPES)
    _check_size("--repeats", plan.repeats, MAX_REPEATS)
    check_transformers(hint="pip install 'shapewright[decode]'")
    recipes = {name: recipe_for(name) for name in plan.models}
    for recipe in recipes.values():
        read_weight_bytes(recipe.shape, 1)
    return recipes


def _check_size(flag: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"{flag} is {value}", hint=f"expected 1 to {most}")


def _done(plan: Plan, device: Device) -> set[tuple[str, ...]]:
    """Keys of the rows that the file has of this GPU, of as many repeats as are asked for."""
    if not plan.out.stat().st_size:
        return set()
    rows = [row for row in rows_of(read_run(plan.out)) if row.gpu == device.gpu]
    return {row.key for row in rows if (len(row.repeats_s or ()) >= plan.repeats if row.status == "ok" else not plan.retry_failed)}
