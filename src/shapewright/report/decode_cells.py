"""Rows of decode as cells: what the engines took at one batch and context of a model, beside one another, the ceiling and predictions.

    for answer in answers(read_every_row("run.jsonl.gz")):
        for cell in answer.cells:
            cell.tokens_per_s("ours-loop"), cell.gain("hf"), cell.share_of_limit("ours-loop"), cell.predicted

Tokens a second are of the whole batch; a gain is a ratio of them, of rows that ran in the same turns where there are such. The limit of a
cell is what its own bare read of the same bytes allows. Of several runs ours is shown as it ran last, and what it is held against as it
ran fastest. What was not measured is None. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..calibrate.products import catalogued
from ..decode.bench_rows import BASE, ENGINES, LIMIT, OURS, Row, fastest_beside, representative
from ..errors import ShapewrightError
from ..hardware.gpu import Gpu
from ..predict.explain import explain
from ..read.resolve import load_shape
from ..workload import Runtime, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Seconds of the step in the middle of the timed ones, as `shapewright explain --phase decode` has it, and of its bytes."""

    eager_s: float
    """Runtime eager: transformers' kernels one by one, or the host that launches them, whichever takes longer."""
    compiled_s: float
    """Runtime compiled: pointwise operators fused, no host."""
    bytes_s: float
    """The bytes that a step must read, at the bandwidth of the datasheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One batch and context."""

    batch: int
    context: int
    rows: Mapping[str, Row]
    """By engine: ours and the read as measured last, others in their fastest run (hosts differ); what failed where nothing is ok."""
    predicted: Predicted | None = None
    every: tuple[Row, ...] = ()
    """Those in `rows`, and those of other runs that they took the place of."""

    def row(self, engine: str) -> Row | None:
        """The engine's row, if it was measured."""
        found = self.rows.get(engine)
        return found if found is not None and found.has_rate else None

    def tokens_per_s(self, engine: str) -> float | None:
        """New tokens of the batch a second."""
        found = self.row(engine)
        return None if found is None else found.tokens_per_s

    @property
    def ours(self) -> str | None:
        """The faster of our two engines."""
        known = {name: rate for name in OURS if (rate := self.tokens_per_s(name)) is not None}
        return max(known, key=known.__getitem__) if known else None

    def gain(self, over: str, engine: str | None = None) -> float | None:
        """Tokens a second of `engine` (None: the faster of ours) over those of `over`."""
        above, below = self.beside(over, engine), self.tokens_per_s(over)
        return above.tokens_per_s / below if above is not None and above.tokens_per_s and below else None

    def beside(self, over: str, engine: str | None = None) -> Row | None:
        """The fastest row of `engine` (None: of ours) in the run of `over`; without one there, of those shown."""
        return fastest_beside(self.every, self.rows, over, (engine,) if engine else OURS)

    def least_gain(self, over: str) -> float | None:
        """`gain` over the fastest repeat of `over`: what a busy host cannot make larger."""
        gain, row = self.gain(over), self.row(over)
        if gain is None or row is None or not row.time_per_step_s or row.min_s is None:
            return gain
        return gain * row.min_s / (row.time_per_step_s * row.new_tokens)

    def share_of_limit(self, engine: str) -> float | None:
        """Share of what the read of the same turns allows; of turns without one, of the cell's."""
        found = self.row(engine)
        limit = self.tokens_per_s(LIMIT)
        if found is None or found.tokens_per_s is None:
            return None
        return found.speed_of_light or (found.tokens_per_s / limit if limit else None)

    def memory_ratio(self, engine: str) -> float | None:
        """Peak memory over that of Hugging Face's default."""
        above, below = (None if row is None else row.memory_peak_bytes for row in (self.row(engine), self.row(BASE)))
        return above / below if above and below else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The cells of one model, number format and GPU, by batch and context. How many steps were timed its rows say."""

    model: str
    dtype: str
    gpu: str
    cells: tuple[Cell, ...]

    @property
    def num_steps(self) -> tuple[int, ...]:
        """How many steps its rows timed at once, fewest first."""
        return tuple(sorted({row.new_tokens for row in self.rows}))

    @property
    def engines(self) -> tuple[str, ...]:
        """Those that any cell has a row of, in the order of tables."""
        return tuple(name for name in ENGINES if any(name in cell.rows for cell in self.cells))

    @property
    def rows(self) -> list[Row]:
        """Every row, cell by cell."""
        return [cell.rows[name] for cell in self.cells for name in self.engines if name in cell.rows]

    def cell(self, batch: int, context: int) -> Cell | None:
        """The cell of that size, if there is one."""
        return next((each for each in self.cells if (each.batch, each.context) == (batch, context)), None)


def answers(rows: Iterable[Row], *, is_predicted: bool = True) -> list[Answer]:
    """One for each model, number format and GPU, in the order of the rows."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        groups.setdefault((row.model, row.dtype, row.gpu), []).append(row)
    return [
        Answer(model=model, dtype=dtype, gpu=gpu, cells=_cells(own, catalogued(gpu) if is_predicted else None))
        for (model, dtype, gpu), own in groups.items()
    ]


def _cells(rows: Sequence[Row], gpu: Gpu | None) -> tuple[Cell, ...]:
    sizes = sorted({(row.batch, row.context) for row in rows})
    found = []
    for batch, context in sizes:
        every = tuple(row for row in rows if (row.batch, row.context) == (batch, context))
        own = representative(every)
        predicted = None if gpu is None else predict(next(iter(own.values())), gpu)
        found.append(Cell(batch=batch, context=context, rows=own, predicted=predicted, every=every))
    return tuple(found)


def predict(row: Row, gpu: Gpu) -> Predicted | None:
    """What the predictor says of the row's cell; None of a model or number format that it has not."""
    middle = row.context + row.warmup_tokens + row.new_tokens // 2

    def step_s(runtime: Runtime) -> float:
        asked = Workload(phase="decode", micro_batch=row.batch, context=middle, dtype=row.dtype, runtime=runtime)
        return explain(shape, gpu, asked).step.time_s

    try:
        shape = load_shape(row.model)
        return Predicted(
            eager_s=step_s("eager"), compiled_s=step_s("compiled"),
            bytes_s=(row.weight_bytes + row.cache_bytes) / gpu.memory_bytes_per_s,
        )  # fmt: skip
    except ShapewrightError:
        return None
