"""What holds of all claims: each is there once with its words, decides by prediction, and without rows only where it is arithmetic."""

from __future__ import annotations

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.paper.evidence import Evidence, recorded_points
from shapewright.paper.judging import WORDS, all_claims, judge_claims, judged
from shapewright.paper.times import Measured
from unit.paper.claim_times import GPUS, predicted

#: Claims that nothing here can test: versions of software, accuracy, test loss.
UNTESTABLE = {38, 73, 89}


def test_every_claim_is_there_once_with_its_words() -> None:
    claims = all_claims()
    assert [claim.id for claim in claims] == list(range(1, 104))
    assert all(claim.where and claim.text and claim.expected and claim.how for claim in claims)
    assert sum(claim.is_arithmetic for claim in claims) == 41


@pytest.mark.parametrize("gpu", GPUS)
def test_every_claim_is_judged_in_one_sentence(gpu: str) -> None:
    for found in judge_claims(predicted(gpu)):
        verdict = found.verdict
        assert verdict.word in WORDS and verdict.reading and "\n" not in verdict.reading and "nan" not in verdict.reading
        assert (verdict.word == "not testable here") >= (found.claim.id in UNTESTABLE)


@pytest.mark.parametrize("gpu", GPUS)
def test_without_measured_rows_only_arithmetic_is_decided(gpu: str) -> None:
    nothing = Evidence(times=Measured(gpu=load_gpu(gpu), rows={}))
    for claim in all_claims():
        found = judged(claim, nothing)
        if claim.is_arithmetic:
            assert found == judged(claim, predicted(gpu)), claim.id
        else:
            assert found.word == "not testable here", claim.id


def test_arithmetic_asks_for_no_point() -> None:
    assert recorded_points([claim.judge for claim in all_claims() if claim.is_arithmetic], load_gpu("h200")) == []
