"""Why one product takes its time: words that agree with the numbers."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware import gpu_names, load_gpu
from shapewright.predict.gemm import predict_gemm

SIZES = st.one_of(st.integers(1, 300), st.integers(1, 16_384))


def explain(gpu: str, m: int, n: int, k: int, **options):
    return predict_gemm(gpu, m=m, n=n, k=k, **options).explain(0)


@settings(max_examples=150, deadline=None)
@given(gpu=st.sampled_from(gpu_names()), m=SIZES, n=SIZES, k=SIZES, batch=st.sampled_from([1, 1, 7, 128]))
def test_tiles_and_waves_follow_from_the_tile_that_is_named(gpu: str, m: int, n: int, k: int, batch: int) -> None:
    estimate = explain(gpu, m, n, k, batch=batch, dtype="fp16")
    tile = re.fullmatch(r"tile (\d+) x (\d+), (\d+)% used", estimate.reasons[1])
    assert tile, estimate.reasons
    tile_m, tile_n = int(tile[1]), int(tile[2])
    tiles = batch * math.ceil(m / tile_m) * math.ceil(n / tile_n)
    assert int(tile[3]) == pytest.approx(100 * batch * m * n / (tiles * tile_m * tile_n), abs=0.51)
    split = next((found for reason in estimate.reasons if (found := re.fullmatch(r"split-K (\d+)", reason))), None)
    blocks, sms = tiles * (int(split[1]) if split else 1), load_gpu(gpu).num_sms
    if blocks <= sms:
        assert estimate.reasons[2].startswith(f"1 wave, {blocks} blocks on {sms} SMs (")
    else:
        waves, full = math.ceil(blocks / sms), (blocks % sms or sms) / sms
        assert estimate.reasons[2] == f"{waves} waves of {sms}, the last {full:.0%} full"


@pytest.mark.parametrize("gpu", ["h200", "a100-40gb", "v100"])
def test_a_misaligned_product_names_its_cure_and_what_it_brings(gpu: str) -> None:
    estimate = explain(gpu, 8192, 50257, 2560, dtype="fp16")
    found = re.fullmatch(r"misaligned: n = 50257 is not a multiple of 8; n = 50264 would be ([\d.]+)x faster", estimate.reasons[0])
    assert found, estimate.reasons
    cured = predict_gemm(gpu, m=8192, n=50264, k=2560, dtype="fp16").time_s[0]
    assert float(found[1]) == pytest.approx(estimate.time_s / cured, abs=0.006)
    assert float(found[1]) > 1.5


def test_both_faults_are_named_with_the_vector_of_the_dtype() -> None:
    assert (
        explain("h200", 8192, 4097, 4098).reasons[0].startswith("misaligned: k = 4098, n = 4097 is not a multiple of 8; k = 4104, n = 4104")
    )
    assert "is not a multiple of 16; n = 4112 would" in explain("h200", 8192, 4104, 4096, dtype="fp8").reasons[0]
    assert "is not a multiple of 4; n = 4100 would" in explain("h200", 8192, 4097, 4096, dtype="tf32").reasons[0]


def test_dimensions_that_do_not_count_are_not_blamed() -> None:
    assert explain("h200", 4097, 4096, 4096).reasons[0] == "aligned"
    assert explain("h200", 4096, 4096, 4097, layout="TN").reasons[0] == "aligned"
    assert explain("h200", 4097, 4096, 4096, layout="TN").reasons[0].startswith("misaligned: m = 4097 is not a multiple of 8; m = 4104")


def test_a_misalignment_that_costs_nothing_is_said_so() -> None:
    estimate = explain("h200", 8, 63, 64, dtype="fp32")
    assert estimate.reasons[0] == "misaligned: n = 63 is not a multiple of 4 (costs nothing here)"


@settings(max_examples=100, deadline=None)
@given(gpu=st.sampled_from(gpu_names()), m=SIZES, n=SIZES, k=SIZES)
def test_parts_start_from_the_datasheet_and_end_with_the_launch(gpu: str, m: int, n: int, k: int) -> None:
    estimate = explain(gpu, m, n, k, dtype="fp16")
    first, last = estimate.parts[0], estimate.parts[-1]
    assert first.name in ("arithmetic", "bytes") and last.name == "launch"
    assert first.time_s <= estimate.limit_s * (1 + 1e-9)  # one side of the roofline
    assert all(part.reason for part in estimate.parts)
    assert len({part.name for part in estimate.parts}) == len(estimate.parts)
    for name in ("kernel_rate", "partial_tiles", "prologue_epilogue", "split_k", "launch", "bandwidth"):
        assert sum(part.time_s for part in estimate.parts if part.name == name) >= -1e-6 * estimate.time_s, name


def test_parts_say_what_the_parts_cost() -> None:
    big = {part.name: part for part in explain("h200", 8192, 8192, 8192).parts}
    assert big["arithmetic"].time_s == pytest.approx(2 * 8192**3 / 989.4e12)
    assert "partial_tiles" not in big or big["partial_tiles"].time_s < 1e-9
    ragged = {part.name: part for part in explain("h200", 8192, 8200, 8192).parts}
    assert ragged["partial_tiles"].time_s > 0
    flat = {part.name: part for part in explain("h200", 1, 11008, 4096).parts}
    moved = 2 * (4096 + 11008 * 4096 + 11008)
    assert flat["bytes"].time_s == pytest.approx(moved / load_gpu("h200").memory_bytes_per_s)
    assert flat["bandwidth"].reason.endswith("% of the bandwidth is reached")


@pytest.mark.parametrize("gpu", gpu_names())
def test_no_reason_claims_more_than_the_peak(gpu: str) -> None:
    for n, k in ((4096, 4096), (4098, 4096), (4097, 4096), (4096, 4098), (4096, 20), (2048, 76)):
        for batch in (1, 128):
            for part in explain(gpu, 2048, n, k, batch=batch, dtype="fp16").parts:
                share = re.match(r"(\d+)% of the", part.reason)
                assert share is None or int(share[1]) <= 100, part


def test_decode_products_split_k() -> None:
    estimate = explain("h200", 16, 512, 8192)
    assert any(reason.startswith("split-K ") for reason in estimate.reasons)
    assert any(part.name == "split_k" and part.time_s > 0 for part in estimate.parts)
