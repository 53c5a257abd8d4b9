"""A run that was stopped early: every claim is judged by the times that are there, or is not testable by them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pytest

from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import Point
from shapewright.paper.evidence import Evidence
from shapewright.paper.judging import WORDS, all_claims, judged
from shapewright.paper.times import Predicted, Source, Time


@cache
def inner() -> Predicted:
    return Predicted(gpu=load_gpu("h200"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Predictions of a share of the points, as if they were all that a run had measured; the same points for a seed."""

    gpu: Gpu
    share: float
    seed: int
    source: Source = "measured"

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        return [time if self._is_there(point) else None for point, time in zip(points, inner().of(points), strict=True)]

    def _is_there(self, point: Point) -> bool:
        return random.Random(f"{self.seed} {point}").random() < self.share


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.6, 0.9])
def test_part_of_the_rows_decides_a_claim_or_does_not(share: float) -> None:
    for seed in range(2):
        evidence = Evidence(times=Stopped(gpu=load_gpu("h200"), share=share, seed=seed))
        for claim in all_claims():
            found = judged(claim, evidence)
            assert found.word in WORDS and "nan" not in found.reading, claim.id
            assert (found.value is None) <= (found.word == "not testable here" or claim.id == 52), claim.id
