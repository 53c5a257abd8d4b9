"""What this project's decoder was measured to gain in a cell of Figure S4, from rows of `shapewright decode`.

    found = decoded(times, "llama-2-7b", batch=1, context=128)       # None where no such rows are among them
    found.hf_s, found.ours_s, found.gain

Seconds of one step, medians. Beside Hugging Face's `generate` stands the faster of our loop and our `generate`. Rows of either 16-bit
format serve for the other, whose bytes are as many.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..decode.bench_rows import Row
from .times import Measured, Times

BASE, OURS = "hf", ("ours-loop", "ours-generate")
_ALIKE = ("bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Seconds of a step by Hugging Face and by ours."""

    hf_s: float
    ours_s: float

    @property
    def gain(self) -> float:
        return self.hf_s / self.ours_s


def has_decoder(times: Times) -> bool:
    """Whether rows of our decoder are among the times."""
    return isinstance(times, Measured) and bool(times.decoders)


def decoded(times: Times, model: str, *, batch: int, context: int, dtype: str = "fp16") -> Decoded | None:
    """Hugging Face and ours in one cell; None where either was not measured."""
    rows = times.decoders if isinstance(times, Measured) else ()
    own = [row for row in rows if row.status == "ok" and (row.model, row.batch, row.context) == (model, batch, context)]
    for name in [dtype, *(each for each in _ALIKE if dtype in _ALIKE and each != dtype)]:
        base, ours = _least(own, name, (BASE,)), _least(own, name, OURS)
        if base is not None and ours is not None:
            return Decoded(hf_s=base, ours_s=ours)
    return None


def _least(rows: Iterable[Row], dtype: str, engines: tuple[str, ...]) -> float | None:
    """The shortest step of the engines, each by its last row."""
    last = {row.engine: row.time_per_step_s for row in rows if row.dtype == dtype and row.engine in engines and row.time_per_step_s}
    return min((value for value in last.values() if value is not None), default=None)
