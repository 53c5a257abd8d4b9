"""Communication: latency of the hops, protocols by size, bytes over the slowest link of the group."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.hardware import load_gpu, load_node
from shapewright.hardware.profile import Protocol
from shapewright.operators.types import Collective
from shapewright.predict.collectives import Route, communication_times, estimate_collective, gpus_in_node
from shapewright.predict.estimate import Estimate
from shapewright.predict.profiles import load_profile

GPU = load_gpu("h100")
DGX = load_node("dgx-h100")
PROFILE = load_profile(GPU)
NAMES = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]
PROTOCOLS = (
    Protocol(name="LL", up_to_bytes=1e4, base_s=5e-6, hop_s=1e-6, link_share=0.1, passes=0.0),
    Protocol(name="LL128", up_to_bytes=1e6, base_s=6e-6, hop_s=1e-6, link_share=0.5, passes=0.0),
    Protocol(name="Simple", up_to_bytes=None, base_s=2e-5, hop_s=2e-6, link_share=1.0, passes=3.0),
)
ROUTE = Route(hops=6, bus_factor=1.5, rate=300e9, memory=2e12)


def estimate(name: str = "all_reduce", message: float = 256e6, group: int = 8, stride: int = 1) -> Estimate:
    work = Collective(name=name, message_bytes=message, group_size=group, stride=stride)  # type: ignore[arg-type]
    return estimate_collective(work, DGX, GPU, PROFILE)


def part_s(answer: Estimate, name: str) -> float:
    return next(part.time_s for part in answer.parts if part.name == name)


def test_without_a_node_it_is_refused() -> None:
    with pytest.raises(InputError) as error:
        estimate_collective(Collective(name="all_reduce", message_bytes=1e6, group_size=2), None, GPU, PROFILE)
    assert str(error.value) == "several GPUs need a node; name one with --node, for example dgx-h100"


def test_a_message_takes_the_protocol_of_its_size() -> None:
    times = communication_times(PROTOCOLS, np.array([1e3, 1e5, 1e9]), ROUTE)
    assert times.choice.tolist() == [0, 1, 2]
    by_hand = [5e-6 + 6e-6 + 1.5e3 / 3e10, 6e-6 + 6e-6 + 1.5e5 / 1.5e11, 2e-5 + 12e-6 + 1.5e9 / 3e11 + 3e9 / 2e12]
    assert times.time_s == pytest.approx(by_hand)


def test_a_change_of_protocol_makes_no_larger_message_faster() -> None:
    slow_first = (Protocol(name="LL", up_to_bytes=1e6, base_s=1e-5, hop_s=0.0, link_share=0.01, passes=0.0), PROTOCOLS[2])
    times = communication_times(slow_first, np.array([1e6, 1.001e6]), ROUTE)
    assert times.time_s[1] == pytest.approx(times.time_s[0])


@given(st.lists(st.floats(1, 1e11), min_size=2, max_size=20), st.sampled_from(NAMES), st.integers(2, 64))
def test_time_never_falls_with_the_message(messages: list[float], name: str, group: int) -> None:
    answers = [estimate(name, message, group) for message in sorted(messages)]
    for small, large in pairwise(answers):
        assert large.time_s >= small.time_s * (1 - 1e-12)
    for answer in answers:
        assert sum(part.time_s for part in answer.parts) == pytest.approx(answer.time_s)
        assert answer.low_s < answer.time_s < answer.high_s and answer.limit_s <= answer.time_s
        assert answer.bound_by == "communication" and all(part.reason for part in answer.parts)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter"])
@pytest.mark.parametrize("message", [1e3, 1e6, 1e9])
def test_more_gpus_are_not_faster(name: str, message: float) -> None:
    times = [estimate(name, message, group).time_s for group in (2, 4, 8, 16)]
    assert times == sorted(times) and len(set(times)) == 4


def test_an_all_reduce_sends_twice_what_a_gather_does() -> None:
    assert estimate("all_reduce").limit_s == pytest.approx(2 * estimate("all_gather").limit_s)
    assert estimate("all_gather").limit_s == pytest.approx(estimate("reduce_scatter").limit_s)
    # Ring: 2 x 7/8 of the buffer over NVLink.
    assert estimate("all_reduce").limit_s == pytest.approx(2 * 7 / 8 * 256e6 / DGX.link_bytes_per_s)


@pytest.mark.parametrize(("gpu", "node", "low", "high"), [("a100-80gb", "dgx-a100", 200e9, 230e9), ("h100", "dgx-h100", 320e9, 370e9)])
def test_large_messages_reach_the_published_bus_rate(gpu: str, node: str, low: float, high: float) -> None:
    """nccl-tests on 4 GPUs: 217 GB/s on A100 and 349 on H100 at 512 MB."""
    work = Collective(name="all_reduce", message_bytes=2.0**29, group_size=4)
    answer = estimate_collective(work, load_node(node), load_gpu(gpu), load_profile(load_gpu(gpu)))
    assert low < work.bytes / answer.time_s < high
    assert answer.provenance == "calibrated"


def test_pcie_has_protocols_of_its_own() -> None:
    """vidur: 24 GB/s on four A100 whose pairs are joined by PCIe 4.0 x16, for messages of 64 MB and more."""
    gpu, work = load_gpu("a100-80gb-pcie"), Collective(name="all_reduce", message_bytes=2.0**28, group_size=4)
    answer = estimate_collective(work, load_node("pcie4"), gpu, load_profile(gpu))
    assert 22e9 < work.bytes / answer.time_s < 26e9
    assert answer.provenance == "datasheet"


def test_small_messages_are_latency() -> None:
    small = estimate(message=1024)
    assert part_s(small, "latency") > 0.9 * small.time_s and part_s(small, "copy") == 0
    assert 5e-6 < estimate(message=1024, group=4).time_s < 15e-6
    assert part_s(estimate(message=1024, group=8), "latency") > part_s(estimate(message=1024, group=2), "latency")


def test_what_no_row_measured_says_so_and_is_wider() -> None:
    inside, across = estimate(group=8), estimate(group=16)
    assert (inside.provenance, across.provenance) == ("calibrated", "datasheet")
    assert across.high_s / across.low_s > inside.high_s / inside.low_s
    work, gpu = Collective(name="all_reduce", message_bytes=1e8, group_size=8), load_gpu("h200")
    other = estimate_collective(work, load_node("dgx-h200"), gpu, load_profile(gpu))
    assert other.provenance == "datasheet"


@pytest.mark.parametrize("message", [1024, 256e6])
def test_leaving_the_node_is_slower(message: float) -> None:
    inside, across = estimate(message=message, group=8), estimate(message=message, group=16)
    assert across.time_s > inside.time_s
    assert inside.reasons == (f"8 GPUs over {DGX.link}",) and across.reasons == (f"16 GPUs over {DGX.network}",)


def test_the_stride_decides_which_link_a_group_uses_and_how_many_adapters() -> None:
    """Two replicas of eight GPUs each are neighbours at distance 8: in different nodes, one adapter each."""
    assert [gpus_in_node(16, stride, 8) for stride in (1, 2, 4, 8, 16)] == [8, 4, 2, 1, 1]
    assert estimate(group=2, stride=1).reasons[0].endswith(DGX.link) and estimate(group=2, stride=8).reasons[0].endswith(DGX.network)
    # A ring through two whole nodes crosses by all eight adapters, a ring of one GPU a node by one.
    assert estimate(group=16, stride=1).limit_s == pytest.approx(1.875 * 256e6 / (8 * DGX.network_bytes_per_s))
    assert estimate(group=16, stride=8).limit_s == pytest.approx(1.875 * 256e6 / DGX.network_bytes_per_s)
