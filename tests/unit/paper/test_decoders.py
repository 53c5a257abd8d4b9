"""Figure S4 and its claims by rows of this project's decoder, and by transformers' kernels alone where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shapewright.hardware.load import load_gpu
from shapewright.paper.decoders import decoded
from shapewright.paper.evidence import Evidence
from shapewright.paper.figure import load_figure
from shapewright.paper.judging import Verdict, all_claims, judged
from shapewright.paper.reports import figure_report
from shapewright.paper.rows import figure_rows
from shapewright.paper.times import Measured, Predicted, measured_times
from unit.report.decode_example import failed, grid, row, write_run

LLAMA, OPT = "llama-2-7b", "opt-6.7b"
H200 = load_gpu("h200")
CELLS = ((1, 128), (4, 1024))


def measured(*rows) -> Measured:
    return Measured(gpu=H200, rows={}, decoders=tuple(rows))


def verdict(number: int, times: Measured) -> Verdict:
    return judged(next(claim for claim in all_claims() if claim.id == number), Evidence(times=times))


def test_the_faster_of_ours_stands_beside_hugging_face() -> None:
    times = measured(row(LLAMA, "hf", step_s=0.02), row(LLAMA, "ours-loop", step_s=0.005), row(LLAMA, "ours-generate", step_s=0.004))
    found = decoded(times, LLAMA, batch=1, context=128)
    assert found is not None and (found.hf_s, found.ours_s, found.gain) == (0.02, 0.004, 5.0)
    assert decoded(times, LLAMA, batch=2, context=128) is None and decoded(times, OPT, batch=1, context=128) is None
    assert decoded(Predicted(gpu=H200), LLAMA, batch=1, context=128) is None


def test_only_good_rows_count_and_the_last_of_them() -> None:
    times = measured(
        row(LLAMA, "hf", step_s=0.03), row(LLAMA, "hf", step_s=0.02), row(LLAMA, "ours-loop", step_s=0.01), failed(LLAMA, "hf")
    )
    found = decoded(times, LLAMA, batch=1, context=128)
    assert found is not None and found.gain == 2.0
    assert decoded(measured(row(LLAMA, "hf"), failed(LLAMA, "ours-loop")), LLAMA, batch=1, context=128) is None


def test_of_two_runs_the_one_counts_in_which_hugging_face_was_faster() -> None:
    """Ours gains on a slow host without being any faster."""
    fast = [replace(row(LLAMA, engine, step_s=step_s), started_at="1") for engine, step_s in (("hf", 0.01), ("ours-loop", 0.004))]
    slow = [replace(row(LLAMA, engine, step_s=step_s), started_at="2") for engine, step_s in (("hf", 0.03), ("ours-loop", 0.003))]
    found = decoded(measured(*fast, *slow), LLAMA, batch=1, context=128)
    assert found is not None and (found.hf_s, found.ours_s) == (0.01, 0.004)


def test_16_bit_rows_serve_for_one_another_and_no_others() -> None:
    rows = [row(LLAMA, "hf", step_s=0.02), row(LLAMA, "ours-loop", step_s=0.01)]
    own = [replace(each, dtype="fp16", time_per_step_s=(each.time_per_step_s or 0) / (1 + (each.engine != "hf"))) for each in rows]
    times = measured(*rows, *own)
    gains = {dtype: decoded(times, LLAMA, batch=1, context=128, dtype=dtype) for dtype in ("bf16", "fp16", "fp32")}
    assert [each and each.gain for each in gains.values()] == [2.0, 4.0, None]
    assert decoded(measured(*rows), LLAMA, batch=1, context=128, dtype="fp16") is not None


def test_runs_of_the_decoder_are_read_with_the_others(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.jsonl", [*grid(LLAMA, CELLS)])
    times = measured_times([path], H200)
    assert not times.is_empty and not times.rows and len(times.decoders) == 12
    assert measured_times([path], load_gpu("a100-40gb")).is_empty


def test_figure_s4_shows_the_decoder_where_its_rows_are() -> None:
    rows = figure_rows(load_figure("S4"), measured(*grid(LLAMA, CELLS)))
    values = {(each.series, each.x): each.y for each in rows}
    assert len(rows) == 6 and {each.source for each in rows} == {"measured"}
    assert values["Llama2-7B | Ours speedup | group1", 128] == pytest.approx(6.142, rel=1e-3)
    assert values["Llama2-7B | Ours (token/s) | group3", 1024] == pytest.approx(1054, rel=1e-3)
    assert values["Llama2-7B | HuggingFace (PyTorch) speedup | group1", 128] == 1.0


def test_our_decoder_is_not_compared_with_predictions_of_other_kernels() -> None:
    report = figure_report(load_figure("S4"), [Predicted(gpu=H200), measured(*grid(LLAMA, CELLS))])
    assert report.comparisons == ()
    assert "h200: measured is this project's decoder, predicted are transformers' kernels alone: not compared" in report.remarks


def test_claims_are_judged_by_the_decoder() -> None:
    found = verdict(101, measured(*grid(LLAMA, CELLS), *grid(OPT, CELLS)))
    assert (
        found.word == "agrees"
        and "this project's decoder is 5.24 to 6.14 times as fast as transformers' generate on h200 in 4 cells" in found.reading
    )
    slow = [row(LLAMA, "hf"), row(LLAMA, "ours-loop", step_s=0.019)]
    assert verdict(101, measured(*slow)).word == "disagrees"
    assert verdict(101, measured(*slow, *grid(OPT, CELLS))).word == "depends"


def test_who_is_faster_is_judged_in_cells_that_both_models_have() -> None:
    llama = [row(LLAMA, "hf", step_s=0.02), row(LLAMA, "ours-loop", step_s=0.004)]
    opt = [row(OPT, "hf", step_s=0.03), row(OPT, "ours-loop", step_s=0.005)]
    found = verdict(103, measured(*llama, *opt, *grid(LLAMA, ((4, 1024),))))
    assert found.word == "agrees" and "in 1 of 1 cells and OPT the larger gain in 1" in found.reading
    assert verdict(103, measured(*llama)).word == "not testable here"
