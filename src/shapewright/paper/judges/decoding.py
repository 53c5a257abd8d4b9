"""Verdicts on the chart of FlashDecoding++: its speed-ups and tokens a second, against what a GPU's memory allows.

The least time of a token: weights of the model and the cache of its context read once from memory, bytes / bandwidth. Weights in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...hardware.gpu import Gpu
from ...hardware.load import gpu_names, load_gpu
from ...read.resolve import load_shape
from ...shape import ModelShape
from ..cases import decode_point
from ..decoders import Decoded, decoded
from ..evidence import Evidence, NoTimeError
from ..figure import load_figure
from ..judging import Verdict
from ..rows import Row, published_rows
from ..times import Time
from .common import listed, verdict

ELEMENT_BYTES = 2
#: The range of the chart's speed-ups and its largest rate.
LOW, HIGH = 1.5, 2.1
LLAMA, OPT = "Llama2-7B", "OPT-6.7B"


def claim_101(evidence: Evidence) -> Verdict:
    """What was gained on transformers, else what can be gained on its eager steps."""
    if found := cells_decoded(evidence):
        gains = [each.gain for each in found.values()]
        return verdict(
            "agrees" if min(gains) >= LOW else "disagrees" if max(gains) < LOW else "depends", float(np.median(gains)), "x",
            f"this project's decoder is {min(gains):.2f} to {max(gains):.2f} times as fast as transformers' generate on "
            f"{evidence.gpu.name} in {len(gains)} cells; the chart says {LOW} to {HIGH} and names no GPU, batch or format",
        )  # fmt: skip
    cells = cell_times(evidence)
    gains = [time.wall_s / time.time_s for time in cells.values()]
    limits = [time.wall_s / least_s(shape_of(cell), evidence.gpu, cell[1], cell[2]) for cell, time in cells.items()]
    word = "agrees" if min(gains) >= LOW else "depends" if max(limits) >= LOW else "disagrees"
    return verdict(
        word, float(np.median(gains)), "x",
        f"without the host's time an eager step of transformers is {min(gains):.2f} to {max(gains):.2f} times as fast on "
        f"{evidence.gpu.name}, at full bandwidth {min(limits):.1f} to {max(limits):.1f} times; the chart says {LOW} to {HIGH} and names "
        "no GPU, batch or format",
    )  # fmt: skip


def claim_102(_: Evidence) -> Verdict:
    """Tokens a second against the reading of the weights, and over the context."""
    rows = [row for row in published_rows(load_figure("S4")) if row.unit == "token/s"]
    groups = {row.series: [each.y for each in rows if each.series == row.series] for row in rows}
    rising = sum(values == sorted(values) and values[0] < values[-1] for values in groups.values())
    most, shape = max(row.y for row in rows), load_shape("llama-2-7b")
    bounds = {name: 1 / least_s(shape, load_gpu(name), 1, 0) for name in gpu_names() if load_gpu(name).vendor == "amd"}
    mi210 = bounds["mi210"]
    enough = [name for name, bound in bounds.items() if bound >= most]
    return verdict(
        rising == 0 and mi210 >= most, mi210, "token/s",
        f"tokens a second rise with the length in {rising} of {len(groups)} groups, which a fixed batch cannot do; one sequence of "
        f"Llama-2-7B can reach {mi210:.0f} token/s on an MI210, whose memory must read the weights each time, where {most:.0f} are shown "
        f"({listed(enough) or 'no AMD GPU here'} could)",
    )  # fmt: skip


def claim_103(evidence: Evidence) -> Verdict:
    """Which of the two is faster, and which gains more: in the chart and by this evidence."""
    shown = published_rows(load_figure("S4"))
    ours = cells_decoded(evidence) or {cell: Decoded(hf_s=time.wall_s, ours_s=time.time_s) for cell, time in cell_times(evidence).items()}
    contexts = [(batch, context) for name, batch, context in ours if name == LLAMA and (OPT, batch, context) in ours]
    faster = sum(ours[LLAMA, *cell].ours_s < ours[OPT, *cell].ours_s for cell in contexts)
    gains = sum(ours[OPT, *cell].gain > ours[LLAMA, *cell].gain for cell in contexts)
    total = len(contexts)
    if not total:
        raise NoTimeError
    rates, speedups = (better(shown, unit) for unit in ("token/s", "x"))
    word = "agrees" if faster == gains == total else "disagrees" if not faster or not gains else "depends"
    positions = load_shape("opt-6.7b").max_position_embeddings
    return verdict(
        word, float(gains), f"of {total} cells",
        f"here Llama2-7B has more token/s than OPT-6.7B in {faster} of {total} cells and OPT the larger gain in {gains}; the chart "
        f"has Llama2-7B above in {rates[0]}, equal in {rates[1]}, and OPT's gain larger in {total - speedups[0] - speedups[1]}; OPT has "
        f"{positions} positions, the chart goes to 4096",
    )  # fmt: skip


def cell_times(evidence: Evidence) -> dict[tuple[str, int, int], Time]:
    """Model, batch and context of each cell, and an eager step of it."""
    return {
        (case["name"], batch, context): evidence.time(decode_point(case["model"], evidence.dtype, "eager", batch, context))
        for case, batch, context in figure_cells()
    }


def cells_decoded(evidence: Evidence) -> dict[tuple[str, int, int], Decoded]:
    """Cells of the chart in which this project's decoder was measured beside transformers."""
    found = {
        (case["name"], batch, context): decoded(evidence.times, case["model"], batch=batch, context=context, dtype=evidence.dtype)
        for case, batch, context in figure_cells()
    }
    return {cell: both for cell, both in found.items() if both is not None}


def figure_cells() -> list[tuple[Mapping[str, Any], int, int]]:
    """Case, batch and context of each cell of the chart."""
    figure = load_figure("S4")
    return [(case, group["batch"], context) for case in figure.cases for group in figure.groups for context in group["contexts"]]


def shape_of(cell: tuple[str, int, int]) -> ModelShape:
    return load_shape(next(case["model"] for case in load_figure("S4").cases if case["name"] == cell[0]))


def least_s(shape: ModelShape, gpu: Gpu, batch: int, context: int) -> float:
    """Weights once and the keys and values of `batch` sequences, at the full bandwidth."""
    cache = 2 * shape.num_hidden_layers * shape.kv_size * batch * context
    return ELEMENT_BYTES * (shape.num_params + cache) / gpu.memory_bytes_per_s


def better(rows: Iterable[Row], unit: str) -> tuple[int, int]:
    """Cells of the chart in which Llama2-7B stands above OPT-6.7B, and those in which they tie."""
    own = [row for row in rows if "Ours" in row.series and row.unit == unit]
    values, others = (
        {(row.series.removeprefix(name), row.x): row.y for row in own if row.series.startswith(name)} for name in (LLAMA, OPT)
    )
    return sum(values[cell] > others[cell] for cell in values), sum(values[cell] == others[cell] for cell in values)
