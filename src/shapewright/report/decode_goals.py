"""What decoding on an H200 is meant to reach, cell by cell, and whether rows reach it.

    for outcome in outcomes(answer):
        outcome.goal.name, outcome.batch, outcome.context, outcome.wanted, outcome.value, outcome.is_reached

Tokens a second are of the whole batch, shares and gains ratios. A goal of a cell that was not measured has no value, and is neither reached
nor missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..decode.bench import GRIDS
from .decode_cells import BASE, LIMIT, OURS, Answer, Cell

GPU, DTYPE = "h200", "bf16"
LLAMA, OPT = "llama-2-7b", "opt-6.7b"
#: Tokens a second of our loop at batch 1, by context, and the share of them that `generate` keeps.
LOOP_RATES: Mapping[int, float] = {128: 300.0, 1024: 290.0, 2048: 280.0, 4096: 262.0}
GENERATE_SHARE = 0.94
#: Share of the limit by (batch, context).
LIMIT_SHARES = {
    **{(batch, context): 0.80 for batch in (2, 4) for context in (128, 1024, 2048)},
    **{(8, context): 0.80 for context in (128, 1024)},
    **{(batch, context): 0.65 for batch in (16, 32) for context in (128, 1024)},
}
#: Gain over Hugging Face's `generate` in the cells of S4: everywhere, and at batch 1 and 128 tokens.
GAINS = {LLAMA: (4.0, 6.0), OPT: (2.5, 3.1)}
FIRST = (1, 128)
MOST_WARMUP_S, MOST_MEMORY = 20.0, 1.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing to reach. `wanted`: how much in a cell of a model, None where nothing is; `value`: what a measured cell has.

    `rate`: the tokens a second that so much comes to in a cell, where it comes to any.
    """

    name: str
    words: str
    wanted: Callable[[str, Cell], float | None]
    value: Callable[[Cell], float | None]
    form: Callable[[float], str]
    is_at_most: bool = False
    is_strict: bool = False
    rate: Callable[[Cell, float], float | None] | None = None

    def asked(self, wanted: float) -> str:
        """The bound in words: "at least 300"."""
        side = ("below" if self.is_at_most else "above") if self.is_strict else ("at most" if self.is_at_most else "at least")
        return f"{side} {self.form(wanted)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A goal in one cell."""

    goal: Goal
    model: str
    batch: int
    context: int
    wanted: float
    value: float | None
    share_asked: float | None = None
    """Of the cell's limit; None where the goal is no rate, or there is no limit."""

    @property
    def share_reached(self) -> float | None:
        """Of the cell's limit, as `share_asked`."""
        return None if self.share_asked is None or self.value is None else self.share_asked * self.value / self.wanted

    @property
    def is_reached(self) -> bool | None:
        """None where the cell was not measured."""
        if self.value is None:
            return None
        if self.goal.is_strict:
            return self.value < self.wanted if self.goal.is_at_most else self.value > self.wanted
        return self.value <= self.wanted if self.goal.is_at_most else self.value >= self.wanted


def _number(value: float) -> str:
    return f"{value:.0f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _times(value: float) -> str:
    return f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _loop_rate(_: str, cell: Cell) -> float | None:
    return LOOP_RATES.get(cell.context) if cell.batch == 1 else None


def _gain(model: str, cell: Cell) -> float | None:
    usual, first = GAINS[model]
    size = (cell.batch, cell.context)
    return None if size not in GRIDS["s4"] else first if size == FIRST else usual


def _where(*engines: str) -> Callable[[str, Cell], float | None]:
    """1 in every cell where all of `engines` and ours were measured."""
    return lambda _, cell: 1.0 if cell.ours and all(cell.row(name) for name in engines) else None


def _scaled(wanted: float, rate: float | None) -> float | None:
    return None if rate is None else wanted * rate


def _share_asked(goal: Goal, cell: Cell, wanted: float) -> float | None:
    rate, limit = None if goal.rate is None else goal.rate(cell, wanted), cell.tokens_per_s(LIMIT)
    return rate / limit if rate and limit else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _warmup_s(cell: Cell) -> float | None:
    return _most(row.warmup_s for name in OURS if (row := cell.row(name)) is not None)


GOALS = (
    Goal(
        name="own loop, tokens/s", words="batch 1: tokens/s of the loop at 128, 1k, 2k, 4k of context",
        wanted=_loop_rate, value=lambda cell: cell.tokens_per_s("ours-loop"), form=_number, rate=lambda _, wanted: wanted,
    ),
    Goal(
        name="generate / loop", words="batch 1: `generate` keeps 94 % of the loop's rate",
        wanted=lambda model, cell: None if _loop_rate(model, cell) is None else GENERATE_SHARE,
        value=lambda cell: cell.gain("ours-loop", "ours-generate"), form=_share,
    ),
    Goal(
        name="loop / limit", words="the loop's share of the limit: 80 % at batch 2 to 8, 65 % at 16 and 32",
        wanted=lambda _, cell: LIMIT_SHARES.get((cell.batch, cell.context)), value=lambda cell: cell.share_of_limit("ours-loop"),
        form=_share, rate=lambda cell, wanted: _scaled(wanted, cell.tokens_per_s(LIMIT)),
    ),
    Goal(
        name="over hf", words="gain over Hugging Face's `generate` in the cells of S4", wanted=_gain,
        value=lambda cell: cell.gain(BASE), form=_times, rate=lambda cell, wanted: _scaled(wanted, cell.tokens_per_s(BASE)),
    ),
    Goal(
        name="over static + compile", words="faster than the static cache with torch.compile", wanted=_where("hf-static-compile"),
        value=lambda cell: cell.gain("hf-static-compile"), form=_times, is_strict=True,
    ),
    Goal(
        name="over gpt-fast", words="faster than the compiled loop", wanted=_where("gpt-fast"), value=lambda cell: cell.gain("gpt-fast"),
        form=_times, is_strict=True,
    ),
    Goal(
        name="warm-up", words="warm-up below 20 s", wanted=lambda _, cell: MOST_WARMUP_S if cell.ours else None, value=_warmup_s,
        form=_seconds, is_at_most=True, is_strict=True,
    ),
    Goal(
        name="memory / hf", words="peak memory at most 3 % above Hugging Face's",
        wanted=lambda _, cell: MOST_MEMORY if cell.ours and cell.row(BASE) else None,
        value=lambda cell: _most(cell.memory_ratio(name) for name in OURS), form=_times, is_at_most=True,
    ),
)  # fmt: skip


def is_asked(answer: Answer) -> bool:
    """Whether goals are set for the answer: its model in bf16 on an H200."""
    return answer.model in GAINS and answer.dtype == DTYPE and GPU in answer.gpu.lower()


def outcomes(answer: Answer) -> list[Outcome]:
    """Every goal in every cell that it is set for, measured or not."""
    cells = [answer.cell(*size) or Cell(batch=size[0], context=size[1], rows={}) for size in _sizes(answer)]
    return list(_outcomes(answer.model, cells)) if is_asked(answer) else []


def _outcomes(model: str, cells: Iterable[Cell]) -> Iterator[Outcome]:
    cells = list(cells)
    for goal in GOALS:
        for cell in cells:
            wanted = goal.wanted(model, cell)
            if wanted is not None:
                asked = _share_asked(goal, cell, wanted)
                yield Outcome(
                    goal=goal, model=model, batch=cell.batch, context=cell.context, wanted=wanted, value=goal.value(cell), share_asked=asked
                )  # fmt: skip


def _sizes(answer: Answer) -> list[tuple[int, int]]:
    """Cells that were measured, and those that goals name."""
    return sorted({*((cell.batch, cell.context) for cell in answer.cells), *GRIDS["s4"], *LIMIT_SHARES})
