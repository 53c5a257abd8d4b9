"""Rows of decode as cells: gains, shares, what is not measured, and predictions."""

from __future__ import annotations

from dataclasses import replace

import pytest

import shapewright as sw
from shapewright.decode.bench_rows import Row, latest
from shapewright.report.decode_cells import answers
from unit.report.decode_example import READ_BYTES_PER_S, failed, grid, row

LLAMA = "llama-2-7b"


def test_a_cell_sets_engines_beside_one_another() -> None:
    (answer,) = answers(grid(LLAMA, ((1, 128),)))
    (cell,) = answer.cells
    assert answer.engines == ("hf", "hf-static-compile", "gpt-fast", "ours-generate", "ours-loop", "read")
    assert cell.ours == "ours-loop"
    assert cell.gain("hf-static-compile") == pytest.approx(2.0 / 1.1)
    assert cell.gain("ours-loop", "ours-generate") == pytest.approx(1.1 / 1.16)
    assert cell.share_of_limit("ours-generate") == pytest.approx(1 / 1.16)
    assert cell.memory_ratio("ours-loop") == pytest.approx(1.02)


def test_the_limit_is_the_read_of_the_same_turns_else_of_the_cell() -> None:
    found = [replace(row(LLAMA, "ours-loop"), speed_of_light=0.5), row(LLAMA, "read")]
    assert answers(found)[0].cells[0].share_of_limit("ours-loop") == 0.5
    found = [replace(row(LLAMA, "ours-loop"), speed_of_light=None), row(LLAMA, "read")]
    assert answers(found)[0].cells[0].share_of_limit("ours-loop") == pytest.approx(1 / 1.1)
    assert answers(found[:1])[0].cells[0].share_of_limit("ours-loop") is None
    shown = [*of_run("1", read=0.001, ours_loop=0.004), *of_run("2", ours_loop=0.002)]
    shown = [replace(each, speed_of_light=None) for each in shown]
    assert answers(shown, is_predicted=False)[0].cells[0].share_of_limit("ours-loop") == pytest.approx(0.5)


def test_what_failed_gains_nothing() -> None:
    (answer,) = answers([row(LLAMA, "hf"), failed(LLAMA, "ours-loop")])
    cell = answer.cells[0]
    assert cell.ours is None and cell.gain("hf") is None and cell.tokens_per_s("ours-loop") is None
    assert cell.rows["ours-loop"].status == "out_of_memory" and answer.engines == ("hf", "ours-loop")


def test_a_good_row_outlives_a_failed_one_and_an_earlier_one_does_not_outlive_a_later() -> None:
    slow, fast = row(LLAMA, "hf", step_s=0.03), row(LLAMA, "hf", step_s=0.02)
    assert latest([slow, fast, failed(LLAMA, "hf")]) == [fast]
    assert latest([failed(LLAMA, "hf"), slow]) == [slow]


def of_run(started_at: str, **steps_s: float) -> list[Row]:
    """Rows of one cell that ran in turn."""
    names = {name.replace("_", "-"): step_s for name, step_s in steps_s.items()}
    return [replace(row(LLAMA, name, step_s=step_s), together=tuple(names), started_at=started_at) for name, step_s in names.items()]


@pytest.mark.parametrize("is_backwards", [False, True])
def test_a_gain_is_of_one_run_where_both_are_in_it(is_backwards: bool) -> None:
    """Hosts and cards differ: what ran later does not stand over the compiled cache of an earlier run, whatever the order of the files."""
    compiled = of_run("2026-11-01T10:00:00Z", hf_static_compile=0.006, ours_loop=0.003)
    again = of_run("2026-11-01T11:00:00Z", hf_static_compile=0.005, ours_loop=0.001)
    wrong = replace(failed(LLAMA, "hf-static-compile"), started_at="2026-11-01T12:00:00Z")
    later = of_run("2026-11-01T13:00:00Z", hf=0.02, ours_generate=0.002, ours_loop=0.0025)
    rows = [*compiled, *again, wrong, *later]
    (cell,) = answers(rows[::-1] if is_backwards else rows, is_predicted=False)[0].cells
    assert (cell.tokens_per_s("ours-loop"), cell.tokens_per_s("hf-static-compile")) == (pytest.approx(400), pytest.approx(200))
    assert cell.gain("hf-static-compile") == pytest.approx(5)
    assert cell.gain("hf") == pytest.approx(10) and cell.gain("hf", "ours-loop") == pytest.approx(8)


def test_without_a_run_in_common_a_gain_is_of_the_last_rows() -> None:
    rows = [*of_run("1", hf_static_compile=0.006), *of_run("2", ours_loop=0.003, ours_generate=0.002)]
    assert answers(rows, is_predicted=False)[0].cells[0].gain("hf-static-compile") == pytest.approx(3)


def test_of_an_engine_that_was_timed_over_more_steps_later_the_later_row_stands() -> None:
    """How many steps are timed at once is no other measurement."""
    first, later = of_run("1", hf=0.02, ours_loop=0.003), of_run("2", ours_loop=0.002)
    rows = [*first, *(replace(each, new_tokens=48) for each in later), replace(failed(LLAMA, "ours-loop"), new_tokens=64, started_at="3")]
    (answer,) = answers(rows, is_predicted=False)
    assert answer.num_steps == (48, 128) and answer.cells[0].tokens_per_s("ours-loop") == pytest.approx(500)


def test_others_stand_as_they_ran_fastest() -> None:
    """A slow host takes nothing from ours, and makes no gain larger."""
    rows = [*of_run("1", hf=0.02, ours_loop=0.004, read=0.002), *of_run("2", hf=0.04, ours_loop=0.003, read=0.001)]
    (cell,) = answers(rows, is_predicted=False)[0].cells
    assert (cell.tokens_per_s("hf"), cell.tokens_per_s("ours-loop"), cell.tokens_per_s("read")) == tuple(
        map(pytest.approx, (50, 1000 / 3, 1000))
    )
    assert cell.gain("hf") == pytest.approx(5)


def test_models_number_formats_and_gpus_stand_apart() -> None:
    first = row(LLAMA, "hf")
    others = [
        replace(first, dtype="fp16"),
        replace(first, gpu="NVIDIA A100-SXM4-40GB"),
        row("opt-6.7b", "hf"),
    ]
    assert len(answers([first, *others], is_predicted=False)) == 4


def test_predictions_are_those_of_explain_in_the_middle_of_the_steps() -> None:
    cell = answers([row(LLAMA, "ours-loop", 4, 1024)])[0].cells[0]
    asked = {"phase": "decode", "micro_batch": 4, "context": 1024 + 16 + 64, "dtype": "bf16"}
    assert cell.predicted is not None
    assert cell.predicted.eager_s == sw.explain(LLAMA, "h200", **asked, runtime="eager").step.time_s
    assert cell.predicted.compiled_s == sw.explain(LLAMA, "h200", **asked, runtime="compiled").step.time_s
    read = row(LLAMA, "read", 4, 1024)
    assert read.time_per_step_s is not None
    bandwidth = sw.load_gpu("h200").memory_bytes_per_s
    assert cell.predicted.bytes_s == pytest.approx(read.time_per_step_s * READ_BYTES_PER_S / bandwidth)


def test_nothing_is_predicted_of_unknown_models_and_gpus() -> None:
    known = row(LLAMA, "hf")
    assert answers([replace(known, model="/nowhere/config.json")])[0].cells[0].predicted is None
    assert answers([replace(known, gpu="cpu")])[0].cells[0].predicted is None
