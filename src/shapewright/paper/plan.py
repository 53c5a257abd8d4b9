"""What measuring the paper takes on one GPU: the points of its figures, then those that claims need beside them.

    paper_points(load_gpu("h200"))

Each point once, in the figures' order, so that a run that is cut short has whole figures. Points that the GPU cannot run fail as rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..hardware.gpu import Gpu
from ..measure.points import Point
from .evidence import recorded_points
from .figure import Figure, all_figures
from .judging import Claim, all_claims
from .rows import measured_points

#: Seconds of its own calls before each point is timed: a long run, as the authors ran 50 calls before the 200 that they timed.
WARM_S = 0.05


def paper_points(gpu: Gpu, dtype: str = "fp16") -> list[Point]:
    """Points of all figures, and of the claims."""
    return list(dict.fromkeys([*figure_points(all_figures(), dtype), *claim_points(all_claims(), gpu, dtype)]))


def figure_points(figures: Sequence[Figure], dtype: str = "fp16") -> list[Point]:
    """Points of the figures."""
    return list(dict.fromkeys(point for figure in figures for point in measured_points(figure, dtype)))


def claim_points(claims: Sequence[Claim], gpu: Gpu, dtype: str = "fp16") -> list[Point]:
    """Points that judging the claims asks for on the GPU."""
    return recorded_points([claim.judge for claim in claims if not claim.is_arithmetic], gpu, dtype)
