"""Fused attention: what causality, windows, padded heads, few blocks and dropout do to its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.hardware import gpu_names, load_gpu
from shapewright.hardware.profile import HeadRate
from shapewright.operators.types import FlashAttention
from shapewright.predict.attention import CARRIED, estimate_attention, flash_kernel, head_rate
from shapewright.predict.estimate import Estimate
from shapewright.predict.profiles import load_profile

LLAMA = FlashAttention(batch=4, num_heads=32, num_kv_heads=32, query_len=2048, kv_len=2048, qk_head_dim=128, v_head_dim=128)
LONG = replace(LLAMA, batch=1, query_len=16384, kv_len=16384)
DECODE = replace(LLAMA, batch=8, num_kv_heads=8, query_len=1, kv_len=8192)


def estimate(work: FlashAttention, gpu: str = "h200", *, is_replayed: bool = True) -> Estimate:
    return estimate_attention(work, load_gpu(gpu), load_profile(load_gpu(gpu)), is_replayed=is_replayed)


def part_s(answer: Estimate, name: str) -> float:
    return sum(part.time_s for part in answer.parts if part.name == name)


def test_a_causal_kernel_skips_half() -> None:
    full, causal = estimate(replace(LONG, is_causal=False)), estimate(LONG)
    assert causal.time_s / full.time_s == pytest.approx(0.5, abs=0.05)
    assert causal.limit_s / full.limit_s == pytest.approx(0.5, abs=0.01)
    assert causal.reasons == ("50% of the scores are visible, the rest skipped",)
    assert full.reasons == ()


def test_a_window_limits_the_scores() -> None:
    windowed = estimate(replace(LONG, window=1024))
    # Each query sees 1024 keys instead of 8192 on average.
    assert windowed.limit_s / estimate(LONG).limit_s == pytest.approx(1024 / 8192, rel=0.05)
    # Tiles at both edges run whole, and q, k, v are read all the same.
    assert 1024 / 8192 < windowed.time_s / estimate(LONG).time_s < 2 * 1024 / 8192
    assert "window 1024" in windowed.reasons
    # A window that holds the whole context changes nothing.
    assert estimate(replace(LONG, window=16384)) == estimate(LONG)


def test_head_80_takes_the_time_of_128_on_h200() -> None:
    narrow, wide = estimate(replace(LLAMA, qk_head_dim=80, v_head_dim=80)), estimate(LLAMA)
    # Its tiles cost the same; only fewer bytes are moved.
    assert part_s(narrow, "blocks") == part_s(wide, "blocks")
    assert 0.85 * wide.time_s < narrow.time_s < wide.time_s
    assert narrow.limit_s == pytest.approx(wide.limit_s * 80 / 128)
    assert "head size 80 runs as 128" in narrow.reasons
    padding = next(part for part in narrow.parts if part.name == "head_padding")
    assert padding.time_s == pytest.approx(narrow.limit_s * (128 / 80 - 1))


def test_head_80_takes_the_time_of_96_on_a100() -> None:
    narrow, wide = (estimate(replace(LLAMA, qk_head_dim=d, v_head_dim=d, dtype="fp16"), "a100-40gb") for d in (80, 96))
    assert 0.9 * wide.time_s < narrow.time_s < wide.time_s
    assert "head size 80 runs as 96" in narrow.reasons
    assert wide.reasons == ("50% of the scores are visible, the rest skipped",)


@pytest.mark.parametrize(("head_dim", "runs_as"), [(1, 64), (64, 64), (65, 128), (128, 128), (192, 256), (512, 256)])
def test_heads_run_on_the_smallest_kernel_that_holds_them(head_dim: int, runs_as: int) -> None:
    heads = tuple(HeadRate(head_dim=d, forward_efficiency=0.5, backward_efficiency=0.4) for d in (64, 128, 256))
    assert head_rate(head_dim, heads).head_dim == runs_as


def test_backward_executes_five_products_for_two() -> None:
    """Scores are made again: 2.5 times the forward FLOPs, at the rate of the backward kernel."""
    forward, backward = estimate(LONG, "h100"), estimate(replace(LONG, is_backward=True), "h100")
    assert backward.limit_s == pytest.approx(2.5 * forward.limit_s)
    head = head_rate(128, load_profile(load_gpu("h100")).attention.heads)
    executed_s = backward.limit_s / head.backward_efficiency
    assert backward.time_s == pytest.approx(executed_s, rel=0.03)


def test_a_backward_kernel_takes_what_it_took() -> None:
    """cuDNN on the H200, 4 x 32 heads over 2,048 tokens: 826 us of 128, 2,043 of 256, 865 of 8 key heads (benchmarks/h200)."""
    work = FlashAttention(
        batch=4, num_heads=32, num_kv_heads=32, query_len=2048, kv_len=2048, qk_head_dim=128, v_head_dim=128, is_backward=True
    )
    shared = replace(work, num_kv_heads=8)
    for each, time_s in ((work, 826e-6), (replace(work, qk_head_dim=256, v_head_dim=256), 2043e-6), (shared, 865e-6)):
        assert estimate(each, is_replayed=False).time_s == pytest.approx(time_s, rel=0.09)
    assert part_s(estimate(shared), "shared_heads") > 0 == part_s(estimate(work), "shared_heads")


@pytest.mark.parametrize(("head", "forward_us", "backward_us"), [(100, 814, 1902), (33, 456, 1001), (129, 1210, 3015)])
def test_a_head_off_the_grid_is_padded_by_kernels_of_their_own(head: int, forward_us: float, backward_us: float) -> None:
    """4 x 32 heads over 2,048 tokens on the H200 (benchmarks/h200/heads.jsonl.gz), where a multiple of 8 takes cuDNN's kernel."""
    work = FlashAttention(batch=4, num_heads=32, num_kv_heads=32, query_len=2048, kv_len=2048, qk_head_dim=head, v_head_dim=head)
    answer = estimate(work, is_replayed=False)
    assert answer.time_s == pytest.approx(forward_us * 1e-6, rel=0.12)
    assert estimate(replace(work, is_backward=True), is_replayed=False).time_s == pytest.approx(backward_us * 1e-6, rel=0.12)
    assert part_s(answer, "padding") > 0 and "no multiple of 8" in answer.reasons[0]
    aligned = replace(work, qk_head_dim=head // 8 * 8, v_head_dim=head // 8 * 8)
    assert part_s(estimate(aligned, is_replayed=False), "padding") == 0


def test_dropout_costs_time_but_no_bytes() -> None:
    """2.2 times as long forward on the H200 (cuDNN, PyTorch 2.11)."""
    plain = estimate(LLAMA, is_replayed=False)
    dropped = estimate(replace(LLAMA, has_dropout=True), is_replayed=False)
    assert dropped.time_s / plain.time_s == pytest.approx(2.2, abs=0.1)
    assert dropped.provenance == "datasheet"
    assert dropped.limit_s == estimate(LLAMA).limit_s
    assert "dropout inside the kernel" in dropped.reasons


def test_decode_reads_the_cache_once() -> None:
    for gpu, lowest, highest in (("h200", 0.8, 0.95), ("a100-80gb", 0.35, 0.65)):
        short, long = estimate(DECODE, gpu), estimate(replace(DECODE, kv_len=32768), gpu)
        assert (short.bound_by, long.bound_by) == ("memory", "memory")
        assert long.limit_s == pytest.approx(replace(DECODE, kv_len=32768).bytes / load_gpu(gpu).memory_bytes_per_s)
        # Four times the keys, at what the kernel reaches of the bandwidth: 0.36 to 0.61 on an A100, 0.87 to 0.9 on Hopper.
        reached = (long.limit_s - short.limit_s) / (long.time_s - short.time_s)
        assert lowest < reached < highest


def test_shared_key_value_heads_make_decode_faster() -> None:
    assert estimate(replace(DECODE, num_kv_heads=32)).time_s > 2.5 * estimate(DECODE).time_s


def test_few_blocks_leave_sms_idle() -> None:
    few = replace(LLAMA, num_heads=1, num_kv_heads=1, kv_len=256, is_causal=False)
    one, full = (estimate(replace(few, batch=batch)) for batch in (1, 8))
    # 16 and 128 query blocks on 132 SMs: both one wave, and too few keys to split.
    assert one.time_s == pytest.approx(full.time_s, rel=0.15)
    assert part_s(one, "waves") > part_s(full, "waves")


def test_short_queries_split_a_long_context() -> None:
    """One block of one head would leave 131 SMs idle; the keys are split over them."""
    work = replace(DECODE, batch=1, num_heads=1, num_kv_heads=1, query_len=64, kv_len=131072)
    on_one_sm = work.executed_flops / (989.4e12 / 132)
    assert estimate(work).time_s < on_one_sm / 14
    assert any("over idle SMs" in reason for reason in estimate(work).reasons)


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


def test_a_replayed_call_finds_its_operands_in_the_l2_and_writes_the_cache() -> None:
    """The published rows repeat one call; amid a step operands come from DRAM, and the cache has an operator of its own."""
    small = replace(DECODE, kv_len=1024)
    assert estimate(small, "h100").time_s < estimate(replace(small), "h100", is_replayed=False).time_s
    prefill = estimate(LLAMA, "h100", is_replayed=False)
    assert part_s(prefill, "cache") == 0 < part_s(estimate(LLAMA, "h100"), "cache")


def test_decoding_on_the_h200_takes_what_its_kernel_took() -> None:
    """cuDNN, 32 heads of 128 over 134 keys: 5.7 us (benchmarks/h200/layers), to which a call adds the gap before the next kernel."""
    work = replace(DECODE, batch=1, num_kv_heads=32, kv_len=134)
    assert 5.7e-6 < estimate(work, is_replayed=False).time_s < 7.5e-6


def test_an_own_head_size_is_calibrated_and_another_is_not() -> None:
    own, other = estimate(LLAMA, "h100"), estimate(replace(LLAMA, qk_head_dim=100, v_head_dim=100), "h100")
    assert (own.provenance, other.provenance) == ("calibrated", "datasheet")
    assert other.high_s / other.time_s > 1.1 * own.high_s / own.time_s
    # Ten times the longest call that was fitted.
    assert estimate(replace(LLAMA, batch=2048, query_len=16384, kv_len=16384), "h100").provenance == "datasheet"


def test_intervals_of_carried_kernels_are_wider() -> None:
    fitted, carried_over = estimate(LLAMA, "a100-80gb"), estimate(LLAMA, "a100-40gb")
    assert carried_over.provenance == "datasheet"
    assert carried_over.low_s / carried_over.time_s == pytest.approx(CARRIED.low * fitted.low_s / fitted.time_s, rel=0.1)


def test_a_library_is_chosen_by_name() -> None:
    rates = load_profile(load_gpu("h100")).attention
    gemma = replace(LONG, qk_head_dim=256, v_head_dim=256, window=1024)
    assert flash_kernel(gemma, rates).library == "flash"
    assert flash_kernel(gemma, rates, "triton").library == "triton"
    # FlashAttention-3 has no head of 512.
    assert flash_kernel(replace(LONG, qk_head_dim=512, v_head_dim=512), rates).library == "triton"
    with pytest.raises(InputError, match="attention library"):
        flash_kernel(LONG, rates, "tritn")
