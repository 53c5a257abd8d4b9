"""What this project's decoder was measured to gain in a cell of Figure S4, from rows of `shapewright decode`.

    found = decoded(times, "llama-2-7b", batch=1, context=128)       # None where no such rows are among them
    found.hf_s, found.ours_s, found.gain

Seconds of one step, medians. Beside Hugging Face's `generate`, in its fastest run, stands the faster of our loop and our `generate` in that
run. Rows of either 16-bit format serve for the other, whose bytes are as many.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..decode.bench_rows import BASE, fastest_beside, representative
from .times import Measured, Times

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
        alike = [row for row in own if row.dtype == name and row.time_per_step_s]
        shown = representative(alike)
        base, ours = shown.get(BASE), fastest_beside(alike, shown, BASE)
        if base is not None and base.time_per_step_s and ours is not None and ours.time_per_step_s:
            return Decoded(hf_s=base.time_per_step_s, ours_s=ours.time_per_step_s)
    return None
