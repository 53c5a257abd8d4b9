"""docs/measuring.md, written from the measuring document: the goals, the protocol, then what every run says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..calibrate.measuring.misalignment import TOLERANCE
from . import measuring_tables as tables
from .accuracy_page import markdown_table

Document = Mapping[str, Any]
MAP_CHART, HEAD_CHART = "images/misalignment.svg", "images/head-sizes.svg"
NOT_YET = "Not measured yet.\n"
_INTRODUCTION = """# Measuring

What this project measured on one GPU, how, and how to repeat it. This page is written by `scripts/write_measuring.py` from the runs in
[`benchmarks/{gpu}`](../benchmarks/{gpu}); every number stands in a row there.
"""
_PROTOCOL = """## How time is measured

A short kernel launched from Python takes as long as Python does, a kernel that finds its weights in the cache is faster than it will
be in a model, and a card that has just run something large is slower than a cool one. So a time here is this:

- **Graph replay.** Calls are captured into a CUDA graph and replayed: the GPU runs them back to back and the host is out of the
  picture. A graph holds about 2 ms of calls, at most 200, so that one replay is long against what starting it takes.
- **Cold operands.** Each call of a graph has its own copy of the operands, so many that together they exceed twice the L2 cache (at
  most 64): weights come from memory, as they do in a model whose layers do not fit the cache. Values are random normal numbers:
  the power that a product draws, and with it the clock, depends on them.
- **Medians.** After a warm-up replay five are timed; the median counts, and the least, the largest and two quantiles are kept beside
  it.
- **The card.** Clock, power and temperature before and after each point, and the reasons for a lowered clock, are in its row; so is
  the name of the kernel that ran, from one further call under the profiler.
- **Layers and models** run for seconds in training, and heat and power lower the clock meanwhile: the same layer moves by several
  percent between occasions. So they are timed by the wall clock, back to back for a quarter of a second a turn, every layer in turn (A
  B C A B C ...) for seven rounds. A layer is the difference of two depths of one model, divided by the layers between, round by round;
  the spread between rounds stands beside it.
- **What went wrong is a row too.** A point that ran out of memory, crashed or timed out is a row with its reason. Rows are written to
  disk group by group: kill a sweep anywhere, start it again, and it goes on where it was.

The numbers of the protocol are the fields of `Protocol` in [`measure/clock.py`](../src/shapewright/measure/clock.py), the only file
that times.

## How to repeat a table

Each table below comes from one plan of [`benchmarks/plans`](../benchmarks/plans), a product of ranges with constraints and seeded
draws:

    shapewright bench sweep benchmarks/plans/misalignment.toml                              # your GPU; stop and start again as you like
    python -m shapewright.measure benchmarks/plans/heads.toml --out heads.jsonl             # needs no more than numpy and torch
    shapewright accuracy --measured heads.jsonl                                             # predictions beside your rows
    shapewright calibrate                                                                   # fit a profile to your GPU
"""
_REPEATABILITY = """## Repeatability and rate

One plan on two occasions. A point deviates by |second / first - 1|; shift is the median of second / first - 1. Seconds run from the
first to the last row of a run, start of the process left aside.
"""
_CALIBRATION = """## Calibration

`shapewright calibrate` measures the products that tell most, fits a profile and keeps what is better on products left out of the fit.
Its own report first; then random products that it has not seen, by the profile that ships and by the calibrated one: of usual sizes
(`usual.toml`), and with twice as many misaligned ones and attention over any sequence (`random.toml`).
"""
_LAYERS = """## Layers

One layer, Hugging Face modules with random weights, bf16, SDPA, eager, b=4, s=2048 (`layers.toml`). Spread is (slowest - fastest
round) / median of the rounds. Limit: "host" where issuing the kernels takes longer than running them, as measured (and as predicted,
where that differs). No layer was fitted; MAPE, bias (median) and worst error are over the layers where the GPU is the limit.
"""
_PRICES = """## What a fault costs

A layer, or the step of a small model, with a fault and with a better shape or workload, in turn (`prices.toml`,
`prices-workload.toml`): bf16, s=2048 and SDPA unless said otherwise ("unfused": scores in memory, Hugging Face's eager attention).
Cost is the share of the time that the better one saves a token, both shapes as they are; the band is what the spreads of both allow.
Predictions of unfused attention are those of Megatron-LM's kernels, of which Hugging Face runs more; those of compiled code have no host
in them. None of these times was fitted. The errors of the first table are over pairs where the GPU is the limit.
"""
_MAP = """## The misalignment map

What a matrix product costs as one dimension leaves the multiples of 64, the other two staying there (`misalignment.toml`). Products are
y[m,n] = x[m,k] w[k,n]; layout NT is `F.linear`, NN its dgrad, TN its wgrad. *Relative* is time a FLOP over that of the nearest
multiple of 64. Columns are alignments: the largest power of two that divides the size; cells are medians over all sizes (and those of
the single sweeps). As rows, with the time over that of the next multiple of 64 (`padded`: above 1 padding by hand is faster):
[`misalignment.parquet`](../benchmarks/{gpu}/misalignment.parquet).
"""
_PAIRS = "Two dimensions off at once, in time a FLOP over that of the worse of the two alone:\n"
_NEEDS = (
    "What a dimension must be a multiple of to lose no more than {percent:.0f} % (median), and the slowest sweep's median below that:\n"
)
_PADDING = """## What torch.compile pads by itself

The same products eager and through Inductor (`misalignment-compiled.toml`), one dimension off the multiples of 64 at a time. Columns
are alignments; cells say how many products were padded, that is where Inductor runs a kernel of its own beside the library's, and the
median of compiled / eager.
"""
_HEADS = """## Head sizes

Causal attention of 4 x 32 heads over 2,048 tokens, bf16, by head size (`heads.toml`). In brackets: time over that on the straight line
between the nearest head sizes of 16, 32, 64, 128, 192 and 256 (a smaller one is compared with 16). A dash: the backend refuses the
head size.
"""
_HEAD_PRODUCTS = """The two batched products of unfused attention alone (128 matrices of 2048 x 2048 scores), at every head size from
16 to 160, relative to the line between the nearest multiples of 16:
"""


def measuring_page(document: Document) -> str:
    """The page as Markdown; it ends with a newline."""
    gpu = document["gpu"]
    parts = [
        _INTRODUCTION.format(gpu=gpu), *_section("## Goals\n", tables.goals(document)), _PROTOCOL, *_repeatability(document),
        *_calibration(document), *_layers(document), *_prices(document), *_map(document), *_section(_PADDING, tables.padding(document)),
        *_optional("Products of models, and of 16 rows:\n", tables.model_products(document)), *_heads(document), *_runs(document),
    ]  # fmt: skip
    return "\n".join(parts)


def _section(text: str, table: tables.Shown) -> list[str]:
    return [text, _table(table) if table.rows else NOT_YET]


def _optional(text: str, table: tables.Shown) -> list[str]:
    return [text, _table(table)] if table.rows else []


def _table(table: tables.Shown) -> str:
    return markdown_table(table.header, table.rows, table.sides)


def _repeatability(document: Document) -> list[str]:
    return [*_section(_REPEATABILITY, tables.repeatability(document)), *_optional("Every run:\n", tables.rates(document))]


def _calibration(document: Document) -> list[str]:
    reports = document["calibrate"]["reports"]
    parts = [_CALIBRATION] if reports or document["calibrate"]["evaluations"] else [_CALIBRATION, NOT_YET]
    for report in reports:
        parts += [f"{report['file']}:\n", _table(tables.calibration_classes(report))]
    return [*parts, *_optional("Unseen random products:\n", tables.evaluations(document))]


def _layers(document: Document) -> list[str]:
    cells = tables.layers(document)
    if not cells.rows:
        return [_LAYERS, NOT_YET]
    left = [f"{each.get('model', '')} {each.get('changes', '')}: {each['error']}" for each in document["layers"]["failed"]]
    left += document["layers"]["unpredicted"]
    return [_LAYERS, _table(tables.layer_scores(document)), _table(cells), *(f"- {each}\n" for each in left)]


def _prices(document: Document) -> list[str]:
    pairs = tables.prices(document)
    if not pairs.rows:
        return [_PRICES, NOT_YET]
    left = [f"{each.get('model', '')} {each.get('changes', '')}: {each['error']}" for each in document["prices"]["failed"]]
    return [_PRICES, _table(tables.price_scores(document)), _table(pairs), *(f"- {each}\n" for each in left)]


def _map(document: Document) -> list[str]:
    text = _MAP.format(gpu=document["gpu"])
    if not document["misalignment"]["lines"]:
        return [text, NOT_YET]
    alt = "Time a FLOP by size modulo 64, relative to multiples of 64: one small chart for each layout and dimension"
    parts = [text, f"![{alt}]({MAP_CHART})\n", _NEEDS.format(percent=100 * (TOLERANCE - 1)), _table(tables.needs(document))]
    for dtype in dict.fromkeys(each["dtype"] for each in document["misalignment"]["lines"]):
        parts += [f"### {dtype}\n", _table(tables.map_lines(document, dtype))]
        parts += ["The kernels that ran:\n", _table(tables.map_kernels(document, dtype))]
    return [*parts, *_optional(_PAIRS, tables.pairs(document))]


def _heads(document: Document) -> list[str]:
    if not document["heads"]["points"]:
        return [_HEADS, NOT_YET]
    alt = "Time of attention by head size and backend, and of its two products alone relative to multiples of 16"
    return [
        _HEADS,
        f"![{alt}]({HEAD_CHART})\n",
        *_optional("", tables.head_times(document))[1:],
        *_optional(_HEAD_PRODUCTS, tables.head_lines(document)),
    ]


def _runs(document: Document) -> list[str]:
    """What each run was made with."""
    lines = ["## Machines\n"]
    for run in document["runs"]:
        for each in run["environments"]:
            facts = ", ".join(f"{name} {value}" for name, value in each.items() if name not in ("gpu", "l2_bytes", "memory_bytes"))
            when = f", {run['times'][0]}" if run["times"] else ""
            lines.append(f"- `{run['file']}`: {each.get('gpu', 'unknown GPU')}{when}; {facts}")
    return [*lines, ""] if document["runs"] else [lines[0], NOT_YET]
