"""What a fault costs, measured and predicted: a layer or model with the fault beside the same with a better shape, in turn.

    cost = 1 - fix / fault     of the time of a layer or step, per token; both shapes as they are, parameters not evened out

A pair is two rows of one plan (`prices.toml`) that agree in phase, attention, runtime and batch. Times in seconds, costs in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...hardware.gpu import Gpu
from ...measure.points import point_of
from ..compare import Compared, compare_points
from .runs import Row

#: Model -> shapes with a fault and a better one, as a plan's `changes` write them.
PAIRS: tuple[tuple[str, str, str], ...] = (
    ("llama-2-7b", "intermediate_size=10923", "intermediate_size=11008"),
    ("llama-2-7b", "intermediate_size=10922", "intermediate_size=11008"),
    ("llama-2-7b", "intermediate_size=10924", "intermediate_size=11008"),
    ("llama-2-7b", "intermediate_size=10923", "intermediate_size=10944"),
    ("llama-2-7b", "intermediate_size=10920", "intermediate_size=10944"),
    ("llama-2-7b", "intermediate_size=10928", "intermediate_size=10944"),
    ("pythia-410m", "intermediate_size=4095", "intermediate_size=4096"),
    ("pythia-410m", "intermediate_size=4090", "intermediate_size=4096"),
    ("pythia-410m", "intermediate_size=4088", "intermediate_size=4096"),
    ("gpt3-2.7b", "num_attention_heads=64", "num_attention_heads=20"),
    ("gpt3-2.7b", "num_attention_heads=40", "num_attention_heads=20"),
    ("gpt3-2.7b", "num_attention_heads=32", "num_attention_heads=20"),
    ("gpt3-2.7b", "num_attention_heads=40", "num_attention_heads=32"),
    ("gpt3-2.7b", "num_attention_heads=20", "num_attention_heads=10"),
    *(
        ("llama-2-7b", f"{fault},intermediate_size=6912", f"{fix},intermediate_size=6912")
        for fault, fix in (
            ("hidden_size=2600,num_attention_heads=26", "hidden_size=2600,num_attention_heads=25"),
            ("hidden_size=2600,num_attention_heads=20", "hidden_size=2600,num_attention_heads=25"),
            ("hidden_size=2584,num_attention_heads=34", "hidden_size=2584,num_attention_heads=19"),
            ("hidden_size=2584,num_attention_heads=38", "hidden_size=2584,num_attention_heads=19"),
            ("hidden_size=2580,num_attention_heads=30", "hidden_size=2560,num_attention_heads=32"),
            ("hidden_size=2568,num_attention_heads=12", "hidden_size=2560,num_attention_heads=20"),
            ("hidden_size=2560,num_attention_heads=32", "hidden_size=2560,num_attention_heads=20"),
        )
    ),
    ("qwen3-30b-a3b", "moe_intermediate_size=760", "moe_intermediate_size=768"),
    ("gpt2", "vocab_size=50257", "vocab_size=50304"),
    ("gpt2", "vocab_size=50258", "vocab_size=50304"),
    ("gpt2", "vocab_size=50264", "vocab_size=50304"),
    ("gpt2", "vocab_size=50304", "vocab_size=50432"),
    ("pythia-410m", "vocab_size=50277", "vocab_size=50304"),
)
#: What two rows of a pair agree in.
SAME = ("kind", "model", "phase", "micro_batch", "attention", "runtime", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPair:
    """A fault and its fix. `spread_percent`: of the cost, from the spreads of both rows; `is_host_bound`: the host held one back."""

    kind: str
    model: str
    fault: str
    fix: str
    phase: str
    attention: str
    runtime: str
    fault_s: float
    fix_s: float
    cost_percent: float
    spread_percent: float
    predicted_percent: float
    is_host_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceScore:
    """Pairs of one way to run, where the GPU is the limit: the error of predicted costs, in points of the layer's or step's time."""

    attention: str
    runtime: str
    num_pairs: int
    mean_points: float
    worst_points: float


def priced_pairs(rows: Iterable[Row], gpu: Gpu) -> list[PricedPair]:
    """The pairs whose both rows are there, in the order of `PAIRS`, then sequences one token short of a round one."""
    measured = list(rows)
    answers = compare_points([point_of(row) for row in measured], gpu)
    timed = [(row, answer) for row, answer in zip(measured, answers, strict=True) if isinstance(answer, Compared)]
    return [_pair(fault, fix) for fault, fix in (*_shape_pairs(timed), *_sequence_pairs(timed))]


_Timed = tuple[Row, Compared]


def _shape_pairs(timed: Sequence[_Timed]) -> Iterator[tuple[_Timed, _Timed]]:
    for model, fault, fix in PAIRS:
        for first in timed:
            if (first[0]["model"], first[0]["changes"]) == (model, fault):
                yield from ((first, second) for second in timed if second[0]["changes"] == fix and _is_like(first[0], second[0]))


def _sequence_pairs(timed: Sequence[_Timed]) -> Iterator[tuple[_Timed, _Timed]]:
    for first in timed:
        for second in timed:
            is_round = second[0]["sequence"] % 64 == 0 and first[0]["sequence"] % 64 != 0
            if is_round and first[0]["changes"] == second[0]["changes"] and _is_like(first[0], second[0]):
                yield first, second


def _is_like(first: Row, second: Row) -> bool:
    return all(first.get(name) == second.get(name) for name in SAME)


def _pair(fault: _Timed, fix: _Timed) -> PricedPair:
    row, better = fault[0], fix[0]
    tokens = row["sequence"] / better["sequence"]
    ratio = tokens * better["time_s"] / row["time_s"]
    spreads = [(each["max_s"] - each["min_s"]) / each["time_s"] for each in (row, better)]
    sequence = f"sequence={row['sequence']}", f"sequence={better['sequence']}"
    labels = sequence if row["changes"] == better["changes"] else (row["changes"], better["changes"])
    return PricedPair(
        kind=row["kind"], model=row["model"], fault=labels[0], fix=labels[1], phase=row["phase"], attention=row["attention"],
        runtime=row["runtime"], fault_s=row["time_s"], fix_s=better["time_s"], cost_percent=100 * (1 - ratio),
        spread_percent=100 * ratio * float(np.hypot(*spreads)),
        predicted_percent=100 * (1 - tokens * fix[1].predicted_s / fault[1].predicted_s),
        is_host_bound=bool(row.get("is_host_bound") or better.get("is_host_bound")),
    )  # fmt: skip


def price_scores(pairs: Sequence[PricedPair]) -> list[PriceScore]:
    """Fused attention eager, then the other ways to run, each where it has pairs."""
    scores = []
    for attention, runtime in (("sdpa", "eager"), ("eager", "eager"), ("sdpa", "compiled")):
        own = [pair for pair in pairs if (pair.attention, pair.runtime) == (attention, runtime) and not pair.is_host_bound]
        if own:
            errors = np.array([pair.predicted_percent - pair.cost_percent for pair in own])
            worst = float(errors[np.argmax(np.abs(errors))])
            scores.append(
                PriceScore(
                    attention=attention, runtime=runtime, num_pairs=len(own), mean_points=float(np.abs(errors).mean()), worst_points=worst
                )
            )
    return scores
