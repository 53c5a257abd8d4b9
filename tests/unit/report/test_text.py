"""The page for people: everything that `explain` promises is on it, at 80 columns and at 200."""

import re
from dataclasses import replace

import pytest

from shapewright.report.cost import token_cost
from shapewright.report.text import explain_text
from shapewright.workload import Workload


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_page(make_explanation, width: int) -> None:
    lines = explain_text(make_explanation(), width=width).splitlines()
    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("width", [80, 200])
def test_every_operator_shows_all_that_is_promised(make_explanation, width: int) -> None:
    flat = " ".join(explain_text(make_explanation(), width=width).split())
    for text in (
        "qkv 4 8192 x 1536 x 512 NT", "32 x 2048 x 2048 x 64 NN", "12.9 GFLOP", "35.1 MB", "100 us", "16.7 %", "90 %", "compute",
        "aligned to 64 elements; tile 128 x 256; 7.7 waves, the last 70 % full", "rows over 8.00 of 8 experts", "all_reduce of 100 MB",
        "2048 queries x 2048 keys",
    ):  # fmt: skip
        assert text in flat, text


def test_a_wide_page_has_flops_bytes_and_bound_as_columns(make_explanation) -> None:
    wide = next(line for line in explain_text(make_explanation(), width=200).splitlines() if line.startswith("  qkv"))
    assert re.search(r"12\.9 GFLOP +35\.1 MB +100 us +16\.7 % +90 % +compute$", wide)
    narrow = explain_text(make_explanation(), width=80).splitlines()
    row = next(i for i, line in enumerate(narrow) if line.startswith("  qkv"))
    assert "GFLOP" not in narrow[row]
    assert "12.9 GFLOP, 35.1 MB" in narrow[row + 1]


def test_sections_carry_their_total(make_explanation) -> None:
    text = explain_text(make_explanation())
    assert "layer full+dense (x 4), forward: 1.60 ms, 66.7 %" in text
    assert "layer full+dense (x 4), backward: 800 us, 33.3 %" in text


def test_summary_of_a_training_step(make_explanation) -> None:
    flat = " ".join(explain_text(make_explanation()).split())
    assert "forward 400 us, 50.0 TFLOP/s; backward 800 us, 50.0 TFLOP/s; 4 of them" in flat
    assert "20.0 ms, 19.0 ms to 22.0 ms (10th to 90th percentile); GPU 20.0 ms; 24 launches" in flat
    assert "409,600 tokens/s, 50.0 TFLOP/s, MFU 50.0 %" in flat
    assert "10.0 GB of 16.0 GB a GPU, fits: parameters 1.00 GB, gradients 1.00 GB" in flat
    assert "datasheet: the analytic model on datasheet numbers" in flat
    assert "TTFT" not in flat and "TPOT" not in flat


def test_phases_name_their_own_latency(make_explanation) -> None:
    prefill = explain_text(make_explanation(workload=Workload(phase="prefill", dtype="bf16")))
    decode = explain_text(make_explanation(workload=Workload(phase="decode", dtype="bf16", context=300)))
    assert re.search(r"^TTFT +20\.0 ms", prefill, re.MULTILINE)
    assert "backward 800" not in prefill
    assert re.search(r"^TPOT +20\.0 ms", decode, re.MULTILINE)
    assert "context 300" in decode


def test_a_model_that_does_not_fit_says_so(make_explanation) -> None:
    assert "16.0 GB a GPU, does not fit" in " ".join(explain_text(make_explanation(memory_bytes=9e9)).split())


def test_the_workload_is_told_in_words(make_explanation) -> None:
    workload = Workload(dtype="bf16", tensor_parallel=2, data_parallel=4, zero=1, sequence_parallel=True, recompute="full", global_batch=32)
    flat = " ".join(explain_text(make_explanation(workload=workload)).split())
    assert "tensor_parallel 2, data_parallel 4, sequence_parallel, zero 1, recompute full, global batch 32" in flat
    assert "on 8 GPUs" in flat


def test_cost_counts_every_gpu(make_explanation) -> None:
    answer = make_explanation(workload=Workload(dtype="bf16", data_parallel=2))
    cost = token_cost(answer, 1e12, 2.5)
    assert cost.wall_s == pytest.approx(1e12 / 409_600)
    assert cost.gpu_hours == pytest.approx(2 * cost.wall_s / 3600)
    assert cost.price == pytest.approx(2.5 * cost.gpu_hours)
    flat = " ".join(explain_text(answer, cost=cost).split())
    assert "1e+12 tokens take 1,356.3 GPU-hours, 678.2 h on 2 GPUs; 3,390.84 at 2.5 a GPU-hour" in flat


def test_host_time_and_bubbles_are_shown_where_there_are_any(make_explanation) -> None:
    answer = make_explanation()
    waiting = replace(answer, step=replace(answer.step, host_s=0.05, bubble_s=0.001))
    assert "GPU 20.0 ms, host 50.0 ms, pipeline bubble 1.00 ms" in " ".join(explain_text(waiting).split())


def test_the_fitted_micro_batch_is_named(make_explanation) -> None:
    assert "largest micro-batch that fits: 7" in " ".join(explain_text(make_explanation(), largest_micro_batch=7).split())
    assert "not even one sequence fits" in explain_text(make_explanation(), largest_micro_batch=0)
