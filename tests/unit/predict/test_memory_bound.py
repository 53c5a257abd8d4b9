"""Kernels bound by the bytes they move."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.hardware import gpu_names, load_gpu
from shapewright.operators.types import MemoryChain, MemoryPass, Pattern
from shapewright.predict.memory_bound import estimate_memory
from shapewright.predict.profiles import load_profile

H200 = load_gpu("h200")
PROFILE = load_profile(H200)
PATTERNS = get_args(Pattern)


def on_h200(work: MemoryPass | MemoryChain):
    return estimate_memory(work, H200, PROFILE)


def copy(read: float, written: float = 0.0, pattern: str = "copy", num_kernels: int = 1) -> MemoryPass:
    return MemoryPass(pattern=pattern, read_bytes=read, written_bytes=written, num_kernels=num_kernels)  # type: ignore[arg-type]


@pytest.mark.parametrize("gpu", gpu_names())
def test_every_pattern_has_a_rate_on_every_gpu(gpu: str) -> None:
    for pattern in PATTERNS:
        estimate = estimate_memory(copy(1e9, 1e9, pattern), load_gpu(gpu), load_profile(load_gpu(gpu)))
        assert estimate.limit_s == pytest.approx(2e9 / load_gpu(gpu).memory_bytes_per_s)
        assert 0.03 < estimate.speed_of_light <= 0.95
        assert estimate.bound_by == "memory"


def test_a_contiguous_pass_streams_at_its_share_of_the_bandwidth() -> None:
    """4.1 to 4.4 TB/s of 4.8 on the H200."""
    estimate = on_h200(copy(2e9, 2e9, "elementwise"))
    assert 4.1e12 < 4e9 / estimate.time_s < 4.45e12
    assert estimate.reasons == ("elementwise at 92% of the bandwidth",)


@pytest.mark.parametrize(
    ("pattern", "low", "high"),
    [("strided", 1.5e12, 1.8e12), ("broadcast", 2.4e12, 2.9e12), ("upcast", 1.9e12, 2.3e12), ("concat", 0.65e12, 1.1e12)],
)
def test_the_way_it_walks_memory_holds_a_kernel_back(pattern: str, low: float, high: float) -> None:
    """Rates measured on the H200 (docs/log.md), bytes per second."""
    estimate = on_h200(copy(2e9, 2e9, pattern))
    assert low < 4e9 / estimate.time_s < high
    share = 4e9 / H200.memory_bytes_per_s / (estimate.time_s - PROFILE.memory[pattern].fixed_s)
    assert estimate.reasons == (f"{pattern} access reaches {share:.0%} of the bandwidth",)


@given(read=st.floats(0, 1e12), written=st.floats(0, 1e12), kernels=st.integers(1, 20), pattern=st.sampled_from(PATTERNS))
def test_parts_intervals_and_the_floor(read: float, written: float, kernels: int, pattern: str) -> None:
    estimate = on_h200(copy(read, written, pattern, kernels))
    assert sum(part.time_s for part in estimate.parts) == pytest.approx(estimate.time_s, rel=1e-9)
    assert estimate.low_s < estimate.time_s < estimate.high_s
    assert estimate.limit_s <= estimate.time_s
    assert estimate.bound_by == ("launch" if estimate.parts[-1].time_s > estimate.time_s / 2 else "memory")


def test_time_grows_by_bytes_and_by_kernels() -> None:
    fixed = PROFILE.memory["norm"].fixed_s
    one, two = on_h200(copy(1e8, 1e8, "norm")), on_h200(copy(2e8, 2e8, "norm"))
    assert two.time_s - fixed == pytest.approx(2 * (one.time_s - fixed))
    split = on_h200(copy(1e8, 1e8, "norm", num_kernels=4))
    assert split.time_s - one.time_s == pytest.approx(3 * fixed)
    assert split.parts[-1].reason == "fixed time of 4 kernels" and one.parts[-1].reason == "fixed time of 1 kernel"


def test_reads_and_writes_cost_the_same() -> None:
    assert on_h200(copy(3e8, 0)).time_s == on_h200(copy(0, 3e8)).time_s == on_h200(copy(1e8, 2e8)).time_s


def test_a_tiny_pass_is_its_launch() -> None:
    estimate = on_h200(copy(1024, 1024))
    assert estimate.bound_by == "launch"
    assert estimate.time_s == pytest.approx(PROFILE.memory["copy"].fixed_s, rel=0.01)
    empty = on_h200(copy(0, 0))
    assert (empty.time_s, empty.limit_s) == (PROFILE.memory["copy"].fixed_s, 0)


def test_a_chain_takes_the_sum_of_its_passes() -> None:
    passes = (copy(1e9, 1e9, "upcast"), copy(1e9, 1e6, "reduction"), copy(2e9, 1e9, "broadcast", num_kernels=2))
    chain = on_h200(MemoryChain(passes=passes))
    assert chain.time_s == pytest.approx(sum(on_h200(each).time_s for each in passes))
    assert chain.limit_s == pytest.approx(sum(on_h200(each).limit_s for each in passes))
    assert chain.parts[-1].reason == "fixed time of 4 kernels"
    # The slowest of the three speaks for the chain.
    slowest = max(passes, key=lambda each: on_h200(each).time_s)
    assert chain.reasons[0].startswith(slowest.pattern)
