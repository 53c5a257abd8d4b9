"""The arithmetic of one candidate kernel, on menus small enough to redo on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.hardware.profile import Candidate, KernelMenu
from shapewright.predict.gemm_model import LAYOUT_CODES, Rates, alignment, candidate_times, leading_alignments

#: 100 SMs of 1 TFLOP/s, DRAM of 1 TB/s.
RATES = Rates(num_sms=100, flops_per_s=1e14, bytes_per_s=1e12, size_bytes=2, output_bytes=2)
#: One 128 x 128 tile, nothing else costs anything: the p-norm of 200 is a maximum.
BARE = KernelMenu(
    launch_s=0, prologue_s=0, epilogue_s=0, feed=1e9, bandwidth_share=1, softness=0, sharpness=200, split_s=0, split_share=0, droop=0,
    grain=64, candidates=(Candidate(tile_m=128, tile_n=128, fill=0, efficiency=1),),
)  # fmt: skip
#: One tile over k = 8192: 2 x 128 x 128 x 8192 FLOP at 1 TFLOP/s.
TILE_S = 2 * 128 * 128 * 8192 / 1e12


def times(menu: KernelMenu, m: int, n: int, k: int, batch: int = 1, group: float = 1.0):
    size = tuple(np.array([float(value)]) for value in (batch, m, n, k))
    return candidate_times(size, np.array([group]), menu, RATES)  # type: ignore[arg-type]


def time_s(menu: KernelMenu, m: int, n: int, k: int, **options: float) -> float:
    return float(times(menu, m, n, k, **options).time_s.min())  # type: ignore[arg-type]


@pytest.mark.parametrize(("tiles", "waves"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_whole_waves(tiles: int, waves: int) -> None:
    assert time_s(BARE, 128 * tiles, 128, 8192) == pytest.approx(waves * TILE_S, rel=1e-6)


def test_partial_tiles_cost_whole_ones() -> None:
    assert time_s(BARE, 129, 128, 8192) == time_s(BARE, 256, 128, 8192) == time_s(BARE, 129, 1, 8192)
    assert time_s(BARE, 128 * 100 + 1, 128, 8192) == pytest.approx(2 * TILE_S, rel=1e-6)


def test_batches_count_as_tiles() -> None:
    assert times(BARE, 128, 256, 8192, batch=51).blocks[0, 0] == 102
    assert time_s(BARE, 128, 256, 8192, batch=51) == pytest.approx(2 * TILE_S, rel=1e-6)


def test_a_soft_last_wave_costs_less_than_a_whole_one() -> None:
    soft = replace(BARE, softness=0.5)
    # 150 tiles: 2 waves, of which half the missing half wave is saved.
    assert time_s(soft, 128 * 150, 128, 8192) == pytest.approx(1.75 * TILE_S, rel=1e-6)
    # Within the first wave there is nothing to save: a block takes its time.
    assert time_s(soft, 128 * 50, 128, 8192) == pytest.approx(TILE_S, rel=1e-6)


def test_depth_advances_by_the_grain() -> None:
    assert time_s(BARE, 128, 128, 8129) == time_s(BARE, 128, 128, 8192)
    assert time_s(BARE, 128, 128, 8193) == pytest.approx(TILE_S * 8256 / 8192, rel=1e-6)


def test_dram_bounds_flat_products() -> None:
    flat = replace(BARE, candidates=(Candidate(tile_m=8, tile_n=128, fill=0, efficiency=1),))
    moved = 2 * (8 * 8192 + 8192 * 8192 + 8 * 8192)
    assert time_s(flat, 8, 8192, 8192) == pytest.approx(moved / 1e12, rel=1e-6)
    assert time_s(replace(flat, bandwidth_share=0.5), 8, 8192, 8192) == pytest.approx(2 * moved / 1e12, rel=1e-6)


def test_one_sm_draws_a_share_of_the_bandwidth() -> None:
    """A lone block of 8 x 128 waits for its operands: at twice an SM's even share of 10 GB/s."""
    fed = replace(BARE, feed=2, candidates=(Candidate(tile_m=8, tile_n=128, fill=0, efficiency=1),))
    assert time_s(fed, 8, 128, 8192) == pytest.approx(2 * 8192 * (8 + 128) / 2e10, rel=1e-3)


def test_compute_and_memory_join_in_a_p_norm() -> None:
    both = times(BARE, 128 * 100, 128, 64)
    sm, dram = float(both.sm_s[0, 0]), float(both.dram_s[0, 0])
    joined = time_s(replace(BARE, sharpness=2), 128 * 100, 128, 64)
    assert joined == pytest.approx((sm**2 + dram**2) ** 0.5, rel=1e-6)
    assert joined > max(sm, dram)


def test_prologue_and_epilogue_are_paid_once_a_wave() -> None:
    ends = replace(BARE, prologue_s=1e-6, epilogue_s=2e-6)
    assert time_s(ends, 128 * 250, 128, 8192) == pytest.approx(3 * (TILE_S + 3e-6), rel=1e-6)
    wide = replace(ends, candidates=(Candidate(tile_m=128, tile_n=256, fill=0, efficiency=1),))
    # The epilogue grows with the tile's area.
    assert time_s(wide, 128, 256, 8192) == pytest.approx(2 * TILE_S + 1e-6 + 4e-6, rel=1e-6)


def test_launch_is_added_once() -> None:
    assert time_s(replace(BARE, launch_s=2e-6), 128 * 250, 128, 8192) == pytest.approx(3 * TILE_S + 2e-6, rel=1e-6)


def test_split_k_fills_the_sms_and_pays_for_its_partial_sums() -> None:
    split = replace(BARE, split_s=1e-6, split_share=0.5, candidates=(Candidate(tile_m=128, tile_n=128, fill=1, efficiency=1),))
    both = times(split, 256, 128, 8192)  # 2 tiles on 100 SMs: 50 slices of k each
    assert (both.splits[0, 0], both.blocks[0, 0]) == (50, 100)
    assert float(both.sm_s[0, 0]) == pytest.approx(TILE_S * 192 / 8192, rel=1e-6)  # 8192 / 50 rounded up to 3 x 64
    assert float(both.split_s[0, 0]) == pytest.approx(1e-6 + 0.5 * 4 * 256 * 128 * 50 / 1e12, rel=1e-6)
    assert times(split, 128, 128, 1024).splits[0, 0] == 8  # a slice keeps 128 elements of k
    assert times(split, 128 * 100, 128, 8192).splits[0, 0] == 1
    assert times(split, 128 * 100, 128, 8192).split_s[0, 0] == 0


def test_the_quickest_candidate_wins() -> None:
    small = Candidate(tile_m=64, tile_n=64, fill=0, efficiency=0.5)
    menu = replace(BARE, candidates=(*BARE.candidates, small))
    both = times(menu, 64, 64, 8192)
    assert both.time_s[1, 0] == pytest.approx(TILE_S / 2, rel=1e-6) and both.time_s[0, 0] == pytest.approx(TILE_S, rel=1e-6)
    large = times(menu, 128 * 100, 128, 8192)
    assert large.time_s[0, 0] < large.time_s[1, 0]


def test_a_pattern_factor_scales_the_rate_but_never_above_the_peak() -> None:
    half = replace(BARE, candidates=(Candidate(tile_m=128, tile_n=128, fill=0, efficiency=0.5),))
    assert time_s(half, 128, 128, 8192, group=0.5) == pytest.approx(4 * TILE_S, rel=1e-6)
    assert time_s(half, 128, 128, 8192, group=5.0) == pytest.approx(TILE_S, rel=1e-6)


def test_long_products_droop() -> None:
    drooping = replace(BARE, droop=0.1)
    flops = 2 * 12800 * 12800 * 8192
    assert time_s(drooping, 12800, 12800, 8192) == pytest.approx(100 * TILE_S * (1 + 0.1 * np.log1p(flops / 1e12)), rel=1e-6)


@given(value=st.integers(1, 2**31 - 1), limit=st.sampled_from([4, 8, 16]))
def test_alignment_is_the_largest_power_of_two_that_divides(value: int, limit: int) -> None:
    align = int(alignment(np.array([value]), limit)[0])
    assert value % align == 0 and align & (align - 1) == 0
    assert align == limit or value % (2 * align) != 0


@pytest.mark.parametrize(("layout", "operands", "output"), [("NT", 1, 4), ("NN", 1, 4), ("TN", 2, 4)])
def test_leading_dimensions_of_each_layout(layout: str, operands: int, output: int) -> None:
    """m, n, k aligned to 2, 4, 1: the operands' worse and the output's."""
    m, n, k, code = (np.array([value]) for value in (4098, 4100, 4097, LAYOUT_CODES[layout]))
    found = leading_alignments(m, n, k, code, 8)
    assert (int(found[0][0]), int(found[1][0])) == (operands, output)
