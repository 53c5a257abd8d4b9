"""Communication: latency of the hops and bytes over the slowest link of the group."""

from __future__ import annotations

import pytest

from shapewright.errors import InputError
from shapewright.hardware import load_gpu, load_node
from shapewright.operators.types import Collective
from shapewright.predict.collectives import estimate_collective
from shapewright.predict.estimate import Estimate
from shapewright.predict.profiles import load_profile

DGX = load_node("dgx-h100")
PROFILE = load_profile(load_gpu("h100"))


def estimate(name: str = "all_reduce", message: float = 256e6, group: int = 8, stride: int = 1) -> Estimate:
    work = Collective(name=name, message_bytes=message, group_size=group, stride=stride)  # type: ignore[arg-type]
    return estimate_collective(work, DGX, PROFILE)


def latency_s(answer: Estimate) -> float:
    return next(part.time_s for part in answer.parts if part.name == "latency")


def test_without_a_node_it_is_refused() -> None:
    with pytest.raises(InputError) as error:
        estimate_collective(Collective(name="all_reduce", message_bytes=1e6, group_size=2), None, PROFILE)
    assert str(error.value) == "several GPUs need a node; name one with --node, for example dgx-h100"


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"])
def test_time_grows_with_the_message(name: str) -> None:
    group = 2 if name == "send" else 8
    answers = [estimate(name, message, group) for message in (0, 1e3, 1e6, 1e9)]
    times = [answer.time_s for answer in answers]
    assert times == sorted(times) and len(set(times)) == 4
    for answer in answers:
        assert sum(part.time_s for part in answer.parts) == pytest.approx(answer.time_s)
        assert answer.low_s < answer.time_s < answer.high_s and answer.limit_s <= answer.time_s
        assert (answer.bound_by, answer.provenance) == ("communication", "datasheet")


def test_an_all_reduce_sends_twice_what_a_gather_does() -> None:
    assert estimate("all_reduce").limit_s == pytest.approx(2 * estimate("all_gather").limit_s)
    assert estimate("all_gather").limit_s == pytest.approx(estimate("reduce_scatter").limit_s)
    # Ring: 2 x 7/8 of the buffer over NVLink.
    assert estimate("all_reduce").limit_s == pytest.approx(2 * 7 / 8 * 256e6 / DGX.link_bytes_per_s)


def test_large_messages_reach_the_profiles_share_of_the_link() -> None:
    """Published: 0.70 of NVLink on A100, 0.76 on H100 (256 MB or more, 4 GPUs)."""
    large = estimate(message=10e9, group=4)
    assert large.limit_s / (large.time_s - latency_s(large)) == pytest.approx(PROFILE.collectives.link_share)
    assert 0.68 < PROFILE.collectives.link_share < 0.78 and PROFILE.collectives.source


def test_small_messages_are_latency() -> None:
    small = estimate(message=1024)
    assert latency_s(small) == pytest.approx(PROFILE.collectives.base_s + 14 * DGX.link_latency_s)
    assert latency_s(small) > 0.99 * small.time_s
    assert latency_s(estimate(message=1e9)) == latency_s(small)


def test_latency_grows_with_the_group() -> None:
    assert latency_s(estimate(group=8)) - latency_s(estimate(group=2)) == pytest.approx(12 * DGX.link_latency_s)
    assert latency_s(estimate("send", group=2)) < latency_s(estimate("all_reduce", group=2))


@pytest.mark.parametrize("message", [1024, 256e6])
def test_leaving_the_node_is_slower(message: float) -> None:
    inside, across = estimate(message=message, group=8), estimate(message=message, group=16)
    assert across.time_s > inside.time_s
    assert inside.reasons == (f"8 GPUs over {DGX.link}",) and across.reasons == (f"16 GPUs over {DGX.network}",)


def test_the_stride_decides_which_link_a_group_uses() -> None:
    """Two replicas of eight GPUs each are neighbours at distance 8: in different nodes."""
    near, far = estimate(group=2, stride=4), estimate(group=2, stride=8)
    assert near.reasons == (f"2 GPUs over {DGX.link}",) and far.reasons == (f"2 GPUs over {DGX.network}",)
    assert far.limit_s / near.limit_s == pytest.approx(DGX.link_bytes_per_s / DGX.network_bytes_per_s)
