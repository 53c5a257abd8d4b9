"""The authors' own logs as rows of the figures behind which they stand, from a folder with `gemm.csv` and `layers.csv`.

    log_rows(load_figure("5b"), Path("logs"))      # source "log", one row a logged point, in TFLOP/s

fp16, b = 4, s = 2048, PyTorch 1.13 (A100), the slowest of 200 calls (EleutherAI/cookbook, sizing/, Apache-2.0). `gemm.csv`: gpu, sweep,
batch, m, n, k, tflops of torch.mm and torch.bmm; `layers.csv`: gpu, sweep, hidden_size, tensor_parallel, component, unit, value. What each
figure's `logs` entry says: the file and sweep, the column that is x (and that of the series), or the component. Figures without a log, and
files that are absent, give no rows. Errors: a folder that is not there, files that are no tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..calibrate.products import Products
from ..calibrate.protocols import protocol_of
from ..calibrate.table import Table, read_table
from ..errors import InputError
from ..measure.points import GemmPoint, Point
from .curves import family_of
from .figure import Figure
from .rows import Row
from .times import Around, Time

#: What the profiles of GPUs call the authors' protocol.
SOURCE = "authors"
#: Name in the logs -> GPU. The A100 moves 1.39 TB/s where memory bounds it, 88 to 89 % of the 40 GB card's bandwidth.
GPUS = {"a100": "a100-40gb", "v100": "v100-16gb", "mi250x": "mi250x"}


def log_rows(figure: Figure, folder: Path) -> list[Row]:
    """Every logged point of the figure."""
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint="name the folder that holds gemm.csv and layers.csv")
    if figure.logs is None:
        return []
    path = folder / f"{figure.logs['file']}.csv"
    if not path.is_file():
        return []
    table = read_table(path)
    rows = _products(figure, figure.logs, table) if figure.logs["file"] == "gemm" else _layers(figure, figure.logs, table)
    drawn = {series.name for series in figure.series}
    return [row for row in rows if figure.split is not None or row.series in drawn]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsLogged(Around):
    """Predictions as the authors' log reads them: one call between two events holds the launch, which their profiles of GPUs keep."""

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        """Times of products mapped; others as they are."""
        found = self.inner.of(points)
        index = [place for place, point in enumerate(points) if isinstance(point, GemmPoint) and found[place] is not None]
        if not index:
            return found
        own = [points[place] for place in index]
        columns = {name: np.array([getattr(point, name) for point in own]) for name in ("batch", "m", "n", "k", "dtype", "layout")}
        products = Products(**columns, time_s=np.ones(len(own)))
        for place, pace, offset in zip(index, *protocol_of(products, self.gpu, SOURCE), strict=True):
            found[place] = _mapped(found[place], float(pace), float(offset))
        return found


def _mapped(time: Time | None, pace: float, offset_s: float) -> Time | None:
    """Pace x time + offset; the interval widens with the whole."""
    if time is None:
        return None
    scale = pace + offset_s / time.time_s
    names = ("time_s", "low_s", "high_s", "wall_s")
    return replace(time, **{name: getattr(time, name) * scale for name in names})


def _products(figure: Figure, logs: Mapping[str, Any], table: Table) -> Iterator[Row]:
    """Rows of one sweep of products."""
    own = table.take(table.texts("sweep") == logs["sweep"])
    series = logs.get("series", "")
    over = own.integers(series).tolist() if series in ("m", "batch") else None
    variable = {"batch": "b"}.get(series, series)
    columns = zip(own.texts("gpu").tolist(), own.integers(logs["x"]).tolist(), own.positive("tflops").tolist(), strict=True)
    for index, (gpu, x, rate) in enumerate(columns):
        name = f"{variable}={over[index]}" if over is not None else series
        yield _row(figure, gpu, name, x, rate)


def _layers(figure: Figure, logs: Mapping[str, Any], table: Table) -> Iterator[Row]:
    """Rows of one component, and of the figure's `own` product where the component is another thing."""
    yield from _component(figure, logs, table, logs.get("series", ""))
    if "own" in logs:
        yield from _component(figure, logs["own"], table, "")


def _component(figure: Figure, logs: Mapping[str, Any], table: Table, name: str) -> Iterator[Row]:
    keep = (table.texts("sweep") == logs["sweep"]) & (table.texts("component") == logs["component"]) & (table.texts("unit") == "tflops")
    own = table.take(keep)
    is_by_t = any("t" in series.fixed for series in figure.series)
    columns = zip(*(own.integers(key).tolist() for key in ("hidden_size", "tensor_parallel", "heads")), strict=True)
    for (h, t, heads), gpu, rate in zip(columns, own.texts("gpu").tolist(), own.positive("value").tolist(), strict=True):
        if is_by_t:
            yield _row(figure, gpu, f"{name}, t={t}" if name else f"t={t}", h, rate)
        elif t == 1:
            yield _row(figure, gpu, name if figure.split is None else f"pow2={family_of(h // heads)}", h, rate)


def _row(figure: Figure, gpu: str, series: str, x: int, rate: float) -> Row:
    return Row(figure=figure.id, source="log", gpu=GPUS.get(gpu, gpu), series=series, x=x, y=rate, unit=figure.unit)
