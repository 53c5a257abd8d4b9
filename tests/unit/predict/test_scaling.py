"""Constants carried from GPU to GPU: what follows the clock, what the power limit, what stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import gpu_names, load_gpu
from shapewright.hardware.profile import KernelMenu
from shapewright.predict.gemm import predict_gemm
from shapewright.predict.gemm_model import Rates, candidate_times
from shapewright.predict.profiles import generic_profile, load_profile
from shapewright.predict.scaling import scaled_menu


def time_s(menu: KernelMenu, gpu: Gpu, m: int, n: int, k: int) -> float:
    rates = Rates(
        num_sms=gpu.num_sms, flops_per_s=gpu.flops_per_s["fp16"], bytes_per_s=gpu.memory_bytes_per_s, size_bytes=2, output_bytes=2
    )
    size = tuple(np.array([float(each)]) for each in (1, m, n, k))
    return float(candidate_times(size, np.ones(1), menu, rates).time_s.min())  # type: ignore[arg-type]


def test_a_gpu_is_its_own_scale() -> None:
    h100 = load_gpu("h100")
    menu = generic_profile("hopper").menus["aligned_nt"]
    assert scaled_menu(menu, h100, h100) == menu


def test_twice_the_clock_halves_what_an_sm_does_besides() -> None:
    h100 = load_gpu("h100")
    menu = generic_profile("hopper").menus["aligned_nt"]
    fast = scaled_menu(menu, h100, replace(h100, clock_hz=2 * h100.clock_hz))
    assert fast.prologue_s == pytest.approx(menu.prologue_s / 2)
    assert fast.epilogue_s == pytest.approx(menu.epilogue_s / 2)
    assert (fast.launch_s, fast.feed, fast.candidates) == (menu.launch_s, menu.feed, menu.candidates)


def test_twice_the_peak_nearly_halves_large_products_and_leaves_memory_bound_ones() -> None:
    h100 = load_gpu("h100")
    # Twice the power too, so that the peak can be kept as well as before.
    double = replace(h100, flops_per_s={name: 2 * rate for name, rate in h100.flops_per_s.items()}, tdp_w=2 * h100.tdp_w)
    menu = generic_profile("hopper").menus["aligned_nt"]
    twice = scaled_menu(menu, h100, double)
    large = time_s(menu, h100, 16384, 16384, 16384) / time_s(twice, double, 16384, 16384, 16384)
    decode = time_s(menu, h100, 8, 16384, 16384) / time_s(twice, double, 8, 16384, 16384)
    assert 1.85 < large <= 2.0
    assert decode == pytest.approx(1.0, abs=0.03)


def test_half_the_power_slows_large_products() -> None:
    h100 = load_gpu("h100")
    weak = replace(h100, tdp_w=h100.tdp_w / 2)
    menu = generic_profile("hopper").menus["aligned_nt"]
    assert time_s(scaled_menu(menu, h100, weak), weak, 16384, 16384, 16384) > time_s(menu, h100, 16384, 16384, 16384)


@pytest.mark.parametrize("gpu", gpu_names())
def test_every_gpu_of_the_catalogue_predicts_large_products_below_its_peak(gpu: str) -> None:
    found = load_gpu(gpu)
    answer = predict_gemm(found, m=8192, n=8192, k=8192, dtype="fp16")
    rate = 2 * 8192**3 / answer.time_s[0]
    assert 0.2 * found.flops_per_s["fp16"] < rate < found.flops_per_s["fp16"]


def test_an_architecture_without_rows_takes_a_generic_profile() -> None:
    profile = load_profile(load_gpu("b200"))
    assert profile.inherited_from == "h100.generic"
    assert profile.provenance == "datasheet"
    assert all(menu.num_rows == 0 for menu in profile.menus.values())
