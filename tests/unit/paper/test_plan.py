"""benchmarks/plans/paper.toml is every point of the figures and claims, and its rows are found again."""

from __future__ import annotations

from pathlib import Path

from shapewright.hardware.load import load_gpu
from shapewright.measure.plan import load_plan
from shapewright.measure.points import key_of
from shapewright.paper.figure import load_figure
from shapewright.paper.plan import figure_points, paper_points
from shapewright.paper.times import measured_times

REPOSITORY = Path(__file__).parents[3]


def test_the_plan_holds_every_point() -> None:
    plan = load_plan(REPOSITORY / "benchmarks/plans/paper.toml")
    assert set(plan.points) == set(paper_points(load_gpu("h200")))


def test_nearly_every_point_was_measured() -> None:
    times = measured_times(sorted((REPOSITORY / "benchmarks/h200/paper").glob("*.jsonl.gz")), load_gpu("h200"))
    wanted = paper_points(load_gpu("h200"))
    found = [point for point in wanted if times.rows.get(key_of(point), {}).get("status") == "ok"]
    assert len(found) > 0.99 * len(wanted)


def test_some_figures_alone_ask_for_no_more_than_their_own() -> None:
    own = figure_points([load_figure("5b"), load_figure("5b")])
    assert len(own) == 224 and all(point.kind == "gemm" for point in own)
