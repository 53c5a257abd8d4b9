"""Fused attention: what causality, windows, padded heads, few blocks and dropout do to its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware import gpu_names, load_gpu
from shapewright.hardware.profile import HeadRate
from shapewright.operators.types import FlashAttention
from shapewright.predict.attention import estimate_attention, head_rate
from shapewright.predict.estimate import Estimate
from shapewright.predict.profiles import load_profile

LLAMA = FlashAttention(batch=4, num_heads=32, num_kv_heads=32, query_len=2048, kv_len=2048, qk_head_dim=128, v_head_dim=128)
LONG = replace(LLAMA, batch=1, query_len=16384, kv_len=16384)
DECODE = replace(LLAMA, batch=8, num_kv_heads=8, query_len=1, kv_len=8192)


def estimate(work: FlashAttention, gpu: str = "h200") -> Estimate:
    return estimate_attention(work, load_gpu(gpu), load_profile(load_gpu(gpu)))


def test_a_causal_kernel_skips_half() -> None:
    full, causal = estimate(replace(LONG, is_causal=False)), estimate(LONG)
    assert causal.time_s / full.time_s == pytest.approx(0.5, abs=0.01)
    assert causal.limit_s / full.limit_s == pytest.approx(0.5, abs=0.01)
    assert causal.reasons == ("50% of the scores are visible, the rest skipped",)
    assert full.reasons == ()


def test_a_window_limits_the_scores() -> None:
    windowed = estimate(replace(LONG, window=1024))
    # Each query sees 1024 keys instead of 8192 on average.
    assert windowed.time_s / estimate(LONG).time_s == pytest.approx(1024 / 8192, rel=0.08)
    assert "window 1024" in windowed.reasons
    # A window that holds the whole context changes nothing.
    assert estimate(replace(LONG, window=16384)) == estimate(LONG)


def test_head_80_takes_the_time_of_128_on_h200() -> None:
    narrow, wide = estimate(replace(LLAMA, qk_head_dim=80, v_head_dim=80)), estimate(LLAMA)
    assert narrow.time_s == pytest.approx(wide.time_s)
    assert narrow.limit_s == pytest.approx(wide.limit_s * 80 / 128)
    assert "head size 80 runs as 128" in narrow.reasons
    padding = next(part for part in narrow.parts if part.name == "head_padding")
    assert padding.time_s == pytest.approx(narrow.limit_s * (128 / 80 - 1))


def test_head_80_takes_the_time_of_96_on_a100() -> None:
    narrow, wide = (estimate(replace(LLAMA, qk_head_dim=d, v_head_dim=d, dtype="fp16"), "a100-40gb") for d in (80, 96))
    assert narrow.time_s == pytest.approx(wide.time_s)
    assert "head size 80 runs as 96" in narrow.reasons
    assert wide.reasons == ("50% of the scores are visible, the rest skipped",)


@pytest.mark.parametrize(("head_dim", "runs_as"), [(1, 64), (64, 64), (65, 128), (128, 128), (192, 256), (512, 256)])
def test_heads_run_on_the_smallest_kernel_that_holds_them(head_dim: int, runs_as: int) -> None:
    heads = tuple(HeadRate(head_dim=d, forward_efficiency=0.5, backward_efficiency=0.4) for d in (64, 128, 256))
    assert head_rate(head_dim, heads).head_dim == runs_as


def test_backward_executes_five_products_for_two() -> None:
    """Scores are made again: 2.5 times the forward FLOPs, at the rate of the backward kernel."""
    forward, backward = estimate(LONG), estimate(replace(LONG, is_backward=True))
    assert backward.limit_s == pytest.approx(2.5 * forward.limit_s)
    head = head_rate(128, load_profile(load_gpu("h200")).attention.heads)
    expected = 2.5 * head.forward_efficiency / head.backward_efficiency
    assert backward.time_s / forward.time_s == pytest.approx(expected, rel=0.01)


def test_dropout_costs_time_but_no_bytes() -> None:
    """2.2 times as long forward on the H200 (cuDNN, PyTorch 2.11)."""
    dropped = estimate(replace(LLAMA, has_dropout=True))
    assert dropped.time_s / estimate(LLAMA).time_s == pytest.approx(2.2, abs=0.1)
    assert dropped.limit_s == estimate(LLAMA).limit_s
    assert "dropout inside the kernel" in dropped.reasons


def test_decode_reads_the_cache_once() -> None:
    for gpu in ("h200", "a100-80gb"):
        short, long = estimate(DECODE, gpu), estimate(replace(DECODE, kv_len=32768), gpu)
        assert (short.bound_by, long.bound_by) == ("memory", "memory")
        assert long.limit_s == pytest.approx(replace(DECODE, kv_len=32768).bytes / load_gpu(gpu).memory_bytes_per_s)
        fixed = load_profile(load_gpu(gpu)).attention.fixed_s
        assert (long.time_s - fixed) / (short.time_s - fixed) == pytest.approx(4, rel=0.01)


def test_shared_key_value_heads_make_decode_faster() -> None:
    assert estimate(replace(DECODE, num_kv_heads=32)).time_s > 2.5 * estimate(DECODE).time_s


def test_few_blocks_leave_sms_idle() -> None:
    few = replace(LLAMA, num_heads=1, num_kv_heads=1, kv_len=256, is_causal=False)
    one, full = (estimate(replace(few, batch=batch)) for batch in (1, 8))
    # 16 and 128 query blocks on 132 SMs: both one wave, and too few keys to split.
    assert one.time_s == pytest.approx(full.time_s, rel=1e-6)
    assert next(part for part in one.parts if part.name == "waves").time_s > next(p for p in full.parts if p.name == "waves").time_s


def test_short_queries_split_a_long_context() -> None:
    """One block of one head would leave 131 SMs idle; the keys are split over them."""
    work = replace(DECODE, batch=1, num_heads=1, num_kv_heads=1, query_len=64, kv_len=131072)
    on_one_sm = work.executed_flops / (989.4e12 / 132)
    assert estimate(work).time_s < on_one_sm / 20


def test_an_own_size_of_values_counts() -> None:
    """Latent attention: queries and keys of 192, values of 128."""
    latent = estimate(replace(LLAMA, qk_head_dim=192))
    assert latent.limit_s == pytest.approx(estimate(LLAMA).limit_s * (192 + 128) / 256)
    assert latent.time_s > estimate(LLAMA).time_s


@settings(max_examples=150, deadline=None)
@given(
    gpu=st.sampled_from(gpu_names()), batch=st.integers(1, 64), groups=st.sampled_from([1, 4, 8]), kv_heads=st.integers(1, 16),
    query=st.integers(1, 5000), past=st.integers(0, 5000), head=st.integers(1, 300), window=st.none() | st.integers(1, 4096),
    is_causal=st.booleans(), is_backward=st.booleans(), has_dropout=st.booleans(),
)  # fmt: skip
def test_any_attention_keeps_the_contract(
    gpu: str, batch: int, groups: int, kv_heads: int, query: int, past: int, head: int, window: int | None, **options: bool
) -> None:
    work = FlashAttention(
        batch=batch, num_heads=groups * kv_heads, num_kv_heads=kv_heads, query_len=query, kv_len=query + past, qk_head_dim=head,
        v_head_dim=head, window=window, dtype="fp16", **options,
    )  # fmt: skip
    answer = estimate(work, gpu)
    assert sum(part.time_s for part in answer.parts) == pytest.approx(answer.time_s, rel=1e-9)
    assert answer.low_s < answer.time_s < answer.high_s
    assert 0 < answer.limit_s <= answer.time_s * (1 + 1e-9)
    assert all(part.reason for part in answer.parts)
