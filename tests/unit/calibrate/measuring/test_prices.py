"""What faults cost: made-up pairs, and the pairs that were measured on an H200."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shapewright.calibrate.measuring.prices import price_scores, priced_pairs
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import LayerPoint
from shapewright.measure.store import read_run
from unit.calibrate.measuring.made_runs import layer_row

GPU = load_gpu("h200")
RUN = Path(__file__).parents[4] / "benchmarks/h200/prices-1.jsonl.gz"
ODD = LayerPoint(model="llama-2-7b", changes="intermediate_size=10923", phase="train")
ROUND = replace(ODD, changes="intermediate_size=11008")


def test_a_cost_is_the_share_that_the_better_shape_saves() -> None:
    (pair,) = priced_pairs([layer_row(ODD, 0.060), layer_row(ROUND, 0.020)], GPU)
    assert pair.cost_percent == pytest.approx(100 * 2 / 3)
    assert (pair.fault, pair.fix) == ("intermediate_size=10923", "intermediate_size=11008")
    assert 0 < pair.spread_percent < 3


def test_only_rows_that_ran_alike_are_a_pair() -> None:
    assert priced_pairs([layer_row(ODD, 0.060), layer_row(replace(ROUND, phase="forward"), 0.007)], GPU) == []


def test_a_shorter_sequence_is_compared_by_the_token() -> None:
    short, long = LayerPoint(model="pythia-1b", sequence=2047), LayerPoint(model="pythia-1b", sequence=2048)
    (pair,) = priced_pairs([layer_row(short, 2047e-6), layer_row(long, 2048e-6)], GPU)
    assert pair.cost_percent == pytest.approx(0) and (pair.fault, pair.fix) == ("sequence=2047", "sequence=2048")


def test_predicted_costs_of_fused_layers_lie_near_the_measured_ones() -> None:
    """No time of the run was fitted: 31 pairs, from an MLP of 10923 (66 % of a layer) to heads that cost nothing."""
    pairs = priced_pairs([row for row in read_run(RUN).latest() if row["status"] == "ok"], GPU)
    scores = {(score.attention, score.runtime): score for score in price_scores(pairs)}
    fused, compiled = scores["sdpa", "eager"], scores["sdpa", "compiled"]
    assert fused.num_pairs >= 30 and fused.mean_points < 1.5 and abs(fused.worst_points) < 5
    assert compiled.num_pairs == 3 and abs(compiled.worst_points) < 5
