"""Products whose k is no multiple of what a profile's aligned kernels want."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shapewright.hardware.load import load_gpu
from shapewright.operators.types import Gemm
from shapewright.predict.gemm import estimate_gemm, predict_gemm
from shapewright.predict.profiles import load_profile

A100 = load_gpu("a100-40gb")


@pytest.mark.parametrize("layout", ["NT", "NN"])
def test_k_at_odd_multiples_of_8_costs_what_the_authors_measured(layout: str) -> None:
    """The authors' log: 1.12 to 1.13 times at k = 8 (2 j + 1) near 51200, 1.01 at odd multiples of 16."""
    k = np.array([51208, 51216, 51264])
    per_k = predict_gemm(A100, m=8192, n=14336, k=k, dtype="fp16", layout=layout).time_s / k
    assert per_k[0] / per_k[2] == pytest.approx(1.126, abs=0.02)
    assert per_k[1] / per_k[2] == pytest.approx(1, abs=0.01)


def test_no_matrix_is_read_along_the_tokens_of_a_weight_gradient() -> None:
    times = predict_gemm(A100, m=4096, n=4096, k=np.array([8184, 8192]), dtype="fp16", layout="TN").time_s
    assert times[0] == pytest.approx(times[1], rel=0.01)


def test_one_product_with_its_reasons_takes_as_long_as_among_many() -> None:
    gemm = Gemm(m=8192, n=4096, k=10920, dtype="fp16")
    profile = load_profile(A100)
    one = estimate_gemm(gemm, A100, profile)
    assert one.time_s == pytest.approx(float(predict_gemm(A100, m=8192, n=4096, k=10920, dtype="fp16").time_s[0]), rel=1e-5)
    assert one.time_s == pytest.approx(sum(part.time_s for part in one.parts))
    plain = replace(profile, menus={name: replace(menu, k_step=1) for name, menu in profile.menus.items()})
    assert one.time_s > 1.08 * estimate_gemm(gemm, A100, plain).time_s


def test_only_what_was_measured_has_a_step() -> None:
    stepped = {name for name, menu in load_profile(A100).menus.items() if menu.k_step > 1}
    assert stepped == {"aligned_nt", "aligned_nn_tn"}
    assert all(menu.k_step == 1 for menu in load_profile(load_gpu("h200")).menus.values())
