"""Tiles, waves, splits and memory of a fused attention kernel: counted by hand where that is possible, monotonic elsewhere."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware.profile import FlashKernel
from shapewright.operators.types import FlashAttention
from shapewright.predict.attention_model import Chip, calls_of, kernel_times, num_splits

CHIP = Chip(num_sms=100, flops_per_s=1e15, bytes_per_s=3e12, l2_bytes=5e7)
KERNEL = FlashKernel(
    library="flash", use="prefill", head_dim=128, is_windowed=False, tile_q=128, tile_kv=64, packs_heads=False, can_split=False,
    skips_window=True, efficiency=0.5, block_s=0.0, rows_s=0.0, tail=0.0, bandwidth_share=0.9, l2_share=1.5, l2_fill=0.5, l2_sharpness=8.0,
    sharpness=40.0, droop=0.0, append_share=0.0, split_rate=0.9, split_tail=0.0, split_s=1e-6, combine_share=1.0, fixed_s=5e-6,
)  # fmt: skip
WORK = FlashAttention(batch=8, num_heads=32, num_kv_heads=8, query_len=1024, kv_len=1024, qk_head_dim=128, v_head_dim=128)
DECODE = replace(WORK, query_len=1, kv_len=8192)


def seconds(work: FlashAttention, kernel: FlashKernel = KERNEL, chip: Chip = CHIP) -> float:
    return float(kernel_times(calls_of([work]), kernel, chip).time_s[0])


def tiles_by_hand(work: FlashAttention, tile_q: int, tile_kv: int) -> int:
    """Tiles of keys with a visible score, over the blocks of one head."""
    count = 0
    past = work.kv_len - work.query_len
    for first in range(0, work.query_len, tile_q):
        end = min(first + tile_q, work.query_len) + past if work.is_causal else work.kv_len
        start = max(0, past + first - work.window + 1) if work.window else 0
        count += ceil(end / tile_kv) - start // tile_kv
    return count


@pytest.mark.parametrize(
    ("work", "tolerance"),
    [
        (WORK, 0.0),
        (replace(WORK, is_causal=False, kv_len=1000), 0.0),
        (replace(WORK, query_len=512, kv_len=4096), 0.0),
        (replace(WORK, query_len=1000, kv_len=1000), 0.01),
        (replace(WORK, query_len=8192, kv_len=8192, window=256), 0.04),
        (replace(WORK, query_len=2048, kv_len=6144, window=1000), 0.04),
    ],
)
def test_tiles_are_those_with_a_visible_score(work: FlashAttention, tolerance: float) -> None:
    times = kernel_times(calls_of([work]), KERNEL, CHIP)
    one_tile_s = 4 * 128 * 64 * 128 / CHIP.flops_per_s
    expected = work.batch * work.num_heads * tiles_by_hand(work, 128, 64)
    assert times.tiles_s[0] / one_tile_s == pytest.approx(expected, rel=max(tolerance, 1e-9))


def test_a_kernel_that_ignores_windows_computes_them() -> None:
    window = replace(WORK, query_len=8192, kv_len=8192, window=256)
    assert seconds(window, replace(KERNEL, skips_window=False)) > 0.9 * seconds(replace(window, window=None)) > 5 * seconds(window)


def test_packed_heads_share_blocks_in_decoding() -> None:
    """32 heads over 8 pairs of k and v: 8 blocks a sequence instead of 32."""
    apart, packed = (kernel_times(calls_of([DECODE]), replace(KERNEL, packs_heads=packs), CHIP) for packs in (False, True))
    assert apart.waves[0] == pytest.approx(4 * packed.waves[0])
    assert apart.tiles_s[0] == pytest.approx(4 * packed.tiles_s[0])


def test_the_last_wave_costs_what_its_softness_says() -> None:
    """101 blocks on 100 SMs: a hard last wave doubles the time, a soft one adds a hundredth."""
    work = replace(WORK, batch=1, num_heads=101, num_kv_heads=1, query_len=128, kv_len=4096, is_causal=False)
    whole = replace(work, num_heads=100)
    hard, soft = replace(KERNEL, tail=1.0), replace(KERNEL, tail=0.0)
    fixed = KERNEL.fixed_s
    assert (seconds(work, hard) - fixed) / (seconds(whole, hard) - fixed) == pytest.approx(2.0, rel=0.01)
    assert (seconds(work, soft) - fixed) / (seconds(whole, soft) - fixed) == pytest.approx(1.01, rel=0.01)


def test_keys_are_split_over_idle_sms_alone() -> None:
    calls = calls_of([replace(DECODE, batch=1), replace(DECODE, batch=1, kv_len=256), replace(DECODE, batch=64)])
    kernel = replace(KERNEL, can_split=True, packs_heads=True)
    blocks = np.array([8.0, 8.0, 512.0])
    splits, is_split = num_splits(calls, kernel, CHIP, np.full(3, 8.0), blocks)
    # 128 tiles of keys over 100 SMs for 8 blocks: a dozen parts; four tiles are too few; 512 blocks fill the SMs by themselves.
    assert 10 <= splits[0] <= 12
    assert list(splits[1:]) == [1, 1]
    assert list(is_split) == [True, False, True]
    assert seconds(replace(DECODE, batch=1), kernel) < seconds(replace(DECODE, batch=1), replace(kernel, can_split=False))


def test_operands_in_the_l2_come_faster_and_never_beat_the_roofline() -> None:
    small = replace(WORK, batch=1, num_heads=8, query_len=256, kv_len=256)
    bare = replace(KERNEL, fixed_s=1e-7, efficiency=0.98, l2_share=2.0)
    cold = replace(CHIP, l2_bytes=0.0)
    streaming = replace(DECODE, batch=4, kv_len=2048)
    assert kernel_times(calls_of([streaming]), KERNEL, CHIP).memory_s[0] < kernel_times(calls_of([streaming]), KERNEL, cold).memory_s[0]
    for work in (small, DECODE, streaming):
        assert seconds(work, bare) >= work.bytes / CHIP.bytes_per_s


def test_new_keys_are_written_to_the_cache_where_the_kernel_does_so() -> None:
    appending = replace(KERNEL, append_share=1.0)
    new_bytes = 2 * 8 * 8 * 1024 * 256
    assert seconds(WORK, appending) - seconds(WORK) == pytest.approx(2 * new_bytes / CHIP.bytes_per_s)


SHAPES = st.builds(
    lambda batch, groups, kv_heads, query, past, window, causal: FlashAttention(
        batch=batch, num_heads=groups * kv_heads, num_kv_heads=kv_heads, query_len=query, kv_len=query + past, qk_head_dim=128,
        v_head_dim=128, window=window, is_causal=causal,
    ),
    st.integers(1, 64), st.sampled_from([1, 3, 8]), st.integers(1, 16), st.integers(1, 4000), st.integers(0, 4000),
    st.none() | st.integers(1, 4000), st.booleans(),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(work=SHAPES, packs=st.booleans(), splits=st.booleans())
def test_no_call_beats_the_roofline_and_more_sequences_take_longer(work: FlashAttention, packs: bool, splits: bool) -> None:
    kernel = replace(KERNEL, packs_heads=packs, can_split=splits, tail=0.3)
    once = seconds(work, kernel)
    assert once >= work.bytes / CHIP.bytes_per_s
    # Windows are counted by averages over blocks, hence the slack of a few percent.
    assert once >= 0.95 * work.executed_flops / CHIP.flops_per_s
    # A batch of four times as many sequences may fill the last wave, or need no split, but never gets quicker.
    assert seconds(replace(work, batch=4 * work.batch), kernel) >= 0.999 * once - kernel.split_s - 1e-5 * splits


@settings(max_examples=100, deadline=None)
@given(work=SHAPES, slower=st.floats(0.2, 0.99))
def test_lower_rates_take_longer(work: FlashAttention, slower: float) -> None:
    for name in ("efficiency", "bandwidth_share"):
        assert seconds(work, replace(KERNEL, **{name: getattr(KERNEL, name) * slower})) >= seconds(work) * (1 - 1e-12)


@settings(max_examples=50, deadline=None)
@given(works=st.lists(SHAPES, min_size=2, max_size=5))
def test_arrays_and_single_calls_agree(works: list[FlashAttention]) -> None:
    together = kernel_times(calls_of(works), KERNEL, CHIP).time_s
    assert list(together) == pytest.approx([seconds(work) for work in works])
