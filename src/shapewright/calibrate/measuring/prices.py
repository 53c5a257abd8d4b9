"""What a fault costs, measured and predicted: a layer or model with the fault beside the same with a better shape, in turn.

    cost = 1 - fix / fault     of the time of a layer or step, per token; both shapes as they are, parameters not evened out

A pair is two rows of one plan (`prices.toml`, `prices-workload.toml`) that agree in all but what the fault is in: the shape, the
sequence, the micro-batch or the runtime. Times in seconds, costs in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...hardware.gpu import Gpu
from ...measure.points import point_of
from ..compare import Compared, compare_points
from .misalignment import STEP
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
    ("pythia-410m", "", "hidden_size=1280,num_hidden_layers=15,num_attention_heads=20,intermediate_size=5120"),
)
#: What two rows of a pair agree in, but for what the fault is in.
SAME = ("kind", "model", "phase", "attention", "source", "changes", "sequence", "micro_batch", "runtime")


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
    """The pairs whose both rows are there: shapes in the order of `PAIRS`, then sequences, micro-batches and runtimes."""
    measured = list(rows)
    answers = compare_points([point_of(row) for row in measured], gpu)
    timed = [(row, answer) for row, answer in zip(measured, answers, strict=True) if isinstance(answer, Compared)]
    order = {pair: place for place, pair in enumerate(PAIRS)}
    shapes = [each for each in _pairs(timed, "changes") if _names(each) in order]
    shapes.sort(key=lambda each: order[_names(each)])
    sequences = [each for each in _pairs(timed, "sequence") if each[0][0]["sequence"] % STEP and not each[1][0]["sequence"] % STEP]
    largest = max((row["micro_batch"] for row in measured), default=0)
    batches = [each for each in _pairs(timed, "micro_batch") if each[0][0]["micro_batch"] < each[1][0]["micro_batch"] == largest]
    hosts = [each for each in _pairs(timed, "runtime") if each[0][0]["runtime"] == "eager" and each[0][0]["phase"] == "decode"]
    return [
        *(_pair(fault, fix, "changes") for fault, fix in shapes),
        *(
            _pair(fault, fix, name)
            for found, name in ((sequences, "sequence"), (batches, "micro_batch"), (hosts, "runtime"))
            for fault, fix in found
        ),
    ]


_Timed = tuple[Row, Compared]


def _pairs(timed: Sequence[_Timed], name: str) -> Iterator[tuple[_Timed, _Timed]]:
    """Two rows that differ in one setting."""
    for first in timed:
        for second in timed:
            differing = [each for each in SAME if first[0].get(each) != second[0].get(each)]
            if differing == [name]:
                yield first, second


def _names(pair: tuple[_Timed, _Timed]) -> tuple[str, str, str]:
    return pair[0][0]["model"], pair[0][0]["changes"], pair[1][0]["changes"]


def _pair(fault: _Timed, fix: _Timed, name: str) -> PricedPair:
    row, better = fault[0], fix[0]
    tokens = _tokens(row) / _tokens(better)
    ratio = tokens * better["time_s"] / row["time_s"]
    spreads = [(each["max_s"] - each["min_s"]) / each["time_s"] for each in (row, better)]
    labels = [each["changes"] if name == "changes" else f"{name}={each[name]}" for each in (row, better)]
    return PricedPair(
        kind=row["kind"], model=row["model"], fault=labels[0], fix=labels[1], phase=row["phase"], attention=row["attention"],
        runtime=row["runtime"], fault_s=row["time_s"], fix_s=better["time_s"], cost_percent=100 * (1 - ratio),
        spread_percent=100 * ratio * float(np.hypot(*spreads)),
        predicted_percent=100 * (1 - tokens * fix[1].predicted_s / fault[1].predicted_s),
        is_host_bound=bool(row.get("is_host_bound") or better.get("is_host_bound")),
    )  # fmt: skip


def _tokens(row: Row) -> int:
    """Tokens of a pass."""
    return row["micro_batch"] * (1 if row["phase"] == "decode" else row["sequence"])


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
