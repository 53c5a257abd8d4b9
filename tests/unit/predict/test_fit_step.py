"""A correction says nothing of sizes between those that it was fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from shapewright.calibrate.gemm import Rows
from shapewright.calibrate.products import fit_step
from shapewright.hardware.load import load_gpu
from shapewright.predict.gemm import predict_gemm
from shapewright.predict.profiles import load_profile


@pytest.mark.parametrize("gpu", ["a100-80gb", "h100"])
@pytest.mark.parametrize("name", ["n", "k"])
def test_a_width_between_the_measured_ones_is_no_faster(gpu: str, name: str) -> None:
    """Nothing off multiples of 64 was measured there: what a network makes of it is no reason to call it faster."""
    assert load_profile(load_gpu(gpu)).menus["aligned_nt"].fit_step == 64
    rounded = np.arange(1024, 16384, 512)
    sizes = {"m": 8192, "n": 4096, "k": 4096}
    whole = predict_gemm(gpu, **{**sizes, name: rounded}).time_s
    for off in (8, 16, 32):
        between = predict_gemm(gpu, **{**sizes, name: rounded - off}).time_s
        ratio = (between / (rounded - off)) / (whole / rounded)
        assert np.median(ratio) == pytest.approx(1, abs=0.05) and ratio.min() > 0.9


def rows(n: list[int], k: list[int]) -> Rows:
    one = np.ones(len(n), np.int64)
    return Rows(batch=one, m=one, n=np.array(n), k=np.array(k), time_s=one * 1e-6, groups=one)


def test_the_step_is_what_nearly_all_rows_keep_to() -> None:
    assert fit_step(rows([64, 4096], [128, 192])) == 64
    assert fit_step(rows([64, 4096], [128, 200])) == 8
    assert fit_step(rows([32, 4096], [48, 192])) == 64, "smaller sizes than a step say nothing of one"
    assert fit_step(rows([64] * 99 + [72], [64] * 100)) == 64
