"""Reports of figures: what is set beside what, at which x, and what is left out and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.measure.points import Point
from shapewright.paper.figure import load_figure
from shapewright.paper.reports import drawn, figure_report, reports, rows_at
from shapewright.paper.rows import Row, figure_rows, published_rows
from shapewright.paper.times import Predicted, Source, Time

A100, H200 = load_gpu("a100-40gb"), load_gpu("h200")


@dataclass(frozen=True, kw_only=True)
class Slower:
    """Measurements that are predictions of a GPU times `factor`; of the points in `missing` there are none."""

    factor: float = 1.25
    missing: frozenset[Point] = field(default_factory=frozenset)
    gpu = A100

    @property
    def source(self) -> Source:
        return "measured"

    def of(self, points: Sequence[Point]) -> list[Time | None]:
        found = Predicted(gpu=self.gpu).of(points)
        return [
            None if each is None or point in self.missing else replace(each, time_s=each.time_s * self.factor)
            for point, each in zip(points, found, strict=True)
        ]


def log_folder(tmp_path: Path, lines: str) -> Path:
    (tmp_path / "gemm.csv").write_text(f"gpu,sweep,op,batch,m,n,k,tflops\n{lines}")
    return tmp_path


def test_predictions_are_compared_at_the_logs_own_x(tmp_path: Path) -> None:
    """67 stands between two x of the figure's grid; no straight line is drawn there."""
    figure = load_figure("5b")
    predicted = Predicted(gpu=A100)
    log = Row(figure="5b", source="log", gpu="a100-40gb", series="", x=67, y=1.0, unit="TFLOP/s")
    (own,) = rows_at(figure, predicted, [log])
    assert own.x == 67 and own.y < min(row.y for row in figure_rows(figure, predicted) if row.x in (66, 68))
    folder = log_folder(tmp_path, f"a100,ksweep_low,gemm,1,27648,67,4096,{own.y:.9f}\n")
    (compared,) = [each for each in reports(figure, [predicted], logs=folder) if each.source == "log"]
    assert (compared.num_points, compared.said) == (1, "predicted") and compared.mean == pytest.approx(0, abs=1e-5)


def test_every_pair_of_sources_is_compared_once(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "a100,ksweep_low,gemm,1,27648,64,4096,60\nv100,ksweep_low,gemm,1,27648,64,4096,60\n")
    found = reports(load_figure("5b"), [Predicted(gpu=A100), Slower(), Predicted(gpu=H200)], logs=folder)
    assert [(each.gpu, each.said, each.source) for each in found] == [
        ("a100-40gb", "predicted", "log"), ("a100-40gb", "predicted", "published"), ("a100-40gb", "predicted", "measured"),
        ("a100-40gb", "measured", "log"), ("a100-40gb", "measured", "published"),
    ]  # fmt: skip
    measured = next(each for each in found if each.source == "measured")
    assert measured.mean == pytest.approx(25) and measured.num_points == 224 and measured.num_drops_found == measured.num_drops > 0


def test_doubtful_points_are_no_target_and_a_notebook_stands_for_the_picture() -> None:
    assert "doubtful" not in {row.quality for row in drawn(load_figure("12"), published_rows(load_figure("12")))}
    assert {row.quality for row in drawn(load_figure("11"), published_rows(load_figure("11")))} == {"notebook"}
    (compared,) = reports(load_figure("11"), [Predicted(gpu=A100)])
    assert (compared.unit, compared.num_points) == ("%", 20)


def test_published_series_take_the_figures_names() -> None:
    assert {row.series for row in drawn(load_figure("16"), published_rows(load_figure("16")))} == {
        f"as printed, t={t}" for t in (1, 2, 4, 8)
    }
    (compared,) = reports(load_figure("14"), [Predicted(gpu=A100)])
    assert {each.series for each in compared.series} == {"(2048, 4, n)", "(4, 2048, n)", "(8192, n)"}


def test_pictures_of_unstated_work_are_compared_with_nothing() -> None:
    report = figure_report(load_figure("13"), [Predicted(gpu=A100)])
    assert report.comparisons == () and report.remarks == ("the picture leaves unsaid what was run: it is compared with nothing",)


def test_other_formats_and_gpus_are_not_compared() -> None:
    figure = load_figure("10a")
    other = figure_report(figure, [Predicted(gpu=A100)], dtype="bf16")
    assert other.comparisons == () and other.remarks == ("picture and log are of fp16: bf16 is not compared with them",)
    far = figure_report(figure, [Predicted(gpu=H200)])
    assert far.comparisons == () and far.remarks == ("published points are of a100-40gb and v100-16gb: name one with --gpu to compare",)
    assert {row.gpu for row in far.rows if row.source == "published"} == {"a100-40gb"}
    assert {row.gpu for row in figure_report(figure, [Predicted(gpu=load_gpu("v100-16gb"))]).rows} == {"v100-16gb"}


def test_what_is_not_measured_is_said() -> None:
    figure = load_figure("5a")
    missing = frozenset(point for curve in figure_points(figure) for point in curve[:4])
    report = figure_report(figure, [Slower(missing=missing)])
    assert report.remarks == ("a100-40gb: 5 of 9 places are measured",)
    assert figure_report(load_figure("3"), [Predicted(gpu=A100)]).remarks == ()


def figure_points(figure) -> list[tuple[Point, ...]]:
    from shapewright.paper.curves import curves

    return [curve.points for curve in curves(figure, is_measured=True)]
