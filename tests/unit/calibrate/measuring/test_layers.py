"""Made-up layers beside their predictions: errors, host-bound ones, occasions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shapewright.calibrate.compare import Compared, compare_point
from shapewright.calibrate.measuring.layers import label, layer_cells, layer_scores
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import LayerPoint
from unit.calibrate.measuring.made_runs import layer_row

GPU = load_gpu("h200")
LLAMA = LayerPoint(model="llama-2-7b")


def predicted_s(point: LayerPoint) -> float:
    answer = compare_point(point, GPU)
    assert isinstance(answer, Compared)
    return answer.predicted_s


def test_a_cell_is_measured_beside_predicted() -> None:
    (cell,), reasons = layer_cells([layer_row(LLAMA, predicted_s(LLAMA) / 1.1)], GPU)
    assert cell.error_percent == pytest.approx(10) and reasons == []
    assert cell.spread_percent == pytest.approx(4) and cell.kernel_share == pytest.approx(0.99)
    assert (cell.model, cell.phase, cell.is_host_bound, cell.is_said_host_bound) == ("llama-2-7b", "forward", False, False)


def test_occasions_become_one_cell() -> None:
    (cell,), _ = layer_cells([layer_row(LLAMA, time_s) for time_s in (6e-3, 7e-3, 9e-3)], GPU)
    assert (cell.num_occasions, cell.measured_s) == (3, 7e-3)


def test_another_workload_is_another_cell() -> None:
    cells, _ = layer_cells([layer_row(LLAMA, 7e-3), layer_row(replace(LLAMA, sequence=4096), 15e-3)], GPU)
    assert [(cell.num_occasions, cell.measured_s) for cell in cells] == [(1, 7e-3), (1, 15e-3)]


def test_host_bound_layers_are_named_and_not_scored() -> None:
    slow, wide = LayerPoint(model="pythia-410m"), replace(LLAMA, phase="train")
    rows = [layer_row(slow, 1e-2, is_host_bound=True), layer_row(LLAMA, predicted_s(LLAMA)), layer_row(wide, predicted_s(wide) / 1.02)]
    cells, _ = layer_cells(rows, GPU)
    assert [cell.is_host_bound for cell in cells] == [True, False, False]
    forward, train, both = layer_scores(cells)
    assert (forward.phase, forward.num_cells, forward.mape_percent) == ("forward", 1, pytest.approx(0, abs=1e-9))
    assert (train.num_cells, train.mape_percent, train.worst_percent) == (1, pytest.approx(2), pytest.approx(2))
    assert (both.phase, both.num_cells, both.mape_percent) == ("all", 2, pytest.approx(1))


def test_the_prediction_tells_where_no_row_says_so() -> None:
    row = {name: value for name, value in layer_row(LLAMA, 1e-2).items() if name not in ("is_host_bound", "kernel_s")}
    (cell,), _ = layer_cells([row], GPU)
    assert cell.kernel_share is None and cell.is_host_bound == cell.is_said_host_bound


def test_what_has_no_prediction_says_why() -> None:
    cells, reasons = layer_cells([layer_row(replace(LLAMA, model="no-such-model", changes="a=1"), 1e-2)], GPU)
    assert cells == [] and len(reasons) == 1 and reasons[0].startswith("no-such-model, a=1, forward: ")
    assert label("a", "") == "a"
