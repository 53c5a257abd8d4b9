"""`Estimate`: a time, its interval, its floor and the parts that add up to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Provenance = Literal["measured", "calibrated", "datasheet"]
#: From the best known to the least.
PROVENANCES: tuple[Provenance, ...] = get_args(Provenance)
BoundBy = Literal["compute", "memory", "latency", "launch", "communication", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePart:
    """A share of an estimate and the reason it is spent; `time_s` may be negative where it corrects another part."""

    name: str
    time_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Predicted GPU time of one call.

    `low_s`, `high_s`: 10th and 90th percentile. `limit_s`: the roofline, max(FLOPs / peak, bytes / bandwidth) of the datasheet.
    """

    time_s: float
    low_s: float
    high_s: float
    limit_s: float
    bound_by: BoundBy
    provenance: Provenance
    parts: tuple[TimePart, ...]
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert abs(sum(part.time_s for part in self.parts) - self.time_s) <= 1e-9 * self.time_s + 1e-15, self

    @property
    def speed_of_light(self) -> float:
        """limit_s / time_s: 1 is the roofline."""
        return self.limit_s / self.time_s

    def with_reasons(self, *reasons: str) -> Estimate:
        """The same estimate with `reasons` behind its own; empty ones are dropped."""
        return replace(self, reasons=self.reasons + tuple(reason for reason in reasons if reason))
