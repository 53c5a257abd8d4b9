"""Collectives of two processes through gloo: results are checked by the processes themselves, failures leave none behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from shapewright.errors import InputError, MissingError
from shapewright.measure.devices import Device
from shapewright.measure.points import CollectivePoint, point_of, settings_of
from shapewright.measure.runners import collectives, prepare
from shapewright.measure.runners.ranks import _check
from unit.measure.benches_of_steps import step_bench

NAMES: tuple[Any, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
GPU = Device(name="cuda:0", gpu="a GPU", l2_bytes=1, memory_bytes=1)


@pytest.fixture(autouse=True, scope="module")
def ended() -> Iterator[None]:
    yield
    collectives._GROUP.end()


def point(name: Any = "all_reduce", **more: Any) -> CollectivePoint:
    return CollectivePoint(name=name, **{"message_bytes": 4096, "group_size": 2, "dtype": "fp32", **more})


def test_the_names_are_those_of_the_point() -> None:
    from shapewright.operators.types import CollectiveName

    assert set(NAMES) == set(get_args(CollectiveName))


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_and_a_right_result(name: Any) -> None:
    bench = step_bench()

    prepared = prepare(point(name), bench)
    timing = bench.clock.time(prepared)

    assert timing is prepared.timing
    assert 0 < timing.min_s <= timing.time_s <= timing.max_s
    assert (timing.num_replays, timing.method, prepared.facts["backend"]) == (bench.clock.protocol.num_replays, "wall", "gloo")
    assert prepared.calls[0]() is None


def pids() -> list[int]:
    return [process.pid for process in collectives._GROUP._processes]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_serve_the_next_point_and_leave_when_the_size_changes() -> None:
    bench = step_bench()
    prepare(point(), bench)
    first = pids()
    prepare(point("send", message_bytes=64), bench)
    assert pids() == first

    prepare(point(group_size=3), bench)

    assert len(pids()) == 3
    assert not any(is_alive(pid) for pid in first)


def test_a_process_that_dies_is_an_error_and_the_next_point_has_new_ones() -> None:
    bench = step_bench()
    prepare(point(), bench)
    first = pids()
    group = collectives._GROUP
    group._processes[1].kill()
    real = group._processes[1].poll
    group._processes[1].poll = lambda: None  # type: ignore[method-assign]

    with pytest.raises(RuntimeError, match=r"process 1 of the group ended|closed|reset"):
        prepare(point(), bench)

    assert real() is not None
    assert not any(is_alive(pid) for pid in first)
    assert prepare(point(), bench).timing is not None


def test_an_error_of_the_call_is_told_and_ends_the_group() -> None:
    bench = step_bench()
    with pytest.raises(RuntimeError, match="Error"):
        prepare(point(dtype="fp8"), bench)
    assert pids() == []


def test_processes_end_with_who_started_them() -> None:
    prepare(point(), step_bench())
    processes = list(collectives._GROUP._processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    until = time.monotonic() + 20
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        time.sleep(0.02)
    assert [process.poll() for process in processes] == [0, 0]
    collectives._GROUP.end()


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingError, match="2 GPUs are asked for; torch sees 1"):
        collectives.require(point(), GPU)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"group_size": 1}, "at least 2 processes"),
        ({"group_size": 65}, "at most 64"),
        ({"message_bytes": 4098}, "a multiple of 4"),
        ({"name": "all_gather", "message_bytes": 4}, "a multiple of 8"),
    ],
)
def test_what_a_group_cannot_do_is_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(replace(point(), **bad), step_bench())


def test_a_wrong_result_is_refused() -> None:
    with pytest.raises(RuntimeError, match="wrong result"):
        _check(point(), torch.tensor([3.0, 2.0]), lambda: torch.tensor([3.0, 3.0]))


def test_a_point_survives_the_pipe() -> None:
    assert point_of(settings_of(point("send"))) == point("send")
