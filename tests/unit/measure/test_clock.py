"""The clock on a CPU: what is counted, in which order, and what errors do. No test looks at how long anything takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest

from shapewright.measure.clock import Clock, Prepared, Protocol, Timing, digits, is_out_of_memory, timing_of
from unit.measure.benches import CPU, SHORT


class Calls:
    """Calls that note their own number."""

    def __init__(self, count: int) -> None:
        self.made: list[int] = []
        self.calls = [self._call(index) for index in range(count)]

    def _call(self, index: int):
        return lambda: self.made.append(index)


def test_quantiles() -> None:
    timing = timing_of([3.0, 1.0, 2.0, 5.0, 4.0], first_s=9.0, num_calls=7, num_copies=2, method="graph")
    assert (timing.min_s, timing.time_s, timing.max_s, timing.first_s) == (1.0, 3.0, 5.0, 9.0)
    assert (timing.low_s, timing.high_s) == (1.4, 4.6)
    assert timing.row() == dataclasses.asdict(timing)


def test_digits() -> None:
    assert digits(1.23456789e-5) == 1.23457e-5


def test_calls_rotate_over_the_copies_and_time_is_that_of_one() -> None:
    noted = Calls(3)
    timing = Clock(CPU, SHORT).time(Prepared(calls=noted.calls))
    # the first call, the two that tell the count, one warm-up replay and three that count
    assert noted.made[:3] == [0, 0, 2]
    replays = noted.made[3:]
    assert len(replays) == 4 * timing.num_calls
    assert replays[: timing.num_calls] == [index % 3 for index in range(timing.num_calls)]
    assert (timing.num_copies, timing.num_replays, timing.method) == (3, 3, "wall")
    assert timing.min_s <= timing.low_s <= timing.time_s <= timing.high_s <= timing.max_s


def test_every_copy_runs_even_where_a_call_is_long() -> None:
    noted = Calls(3)
    slow = [lambda call=call: (time.sleep(1e-3), call()) for call in noted.calls]
    assert Clock(CPU, SHORT).time(Prepared(calls=slow)).num_calls == 3


def test_short_calls_stop_at_the_protocols_most() -> None:
    protocol = Protocol(replay_s=10.0, max_calls=5, num_replays=2)
    assert Clock(CPU, protocol).time(Prepared(calls=Calls(1).calls)).num_calls == 5


def test_wall_times_single_calls() -> None:
    noted = Calls(2)
    timing = Clock(CPU, SHORT).time(Prepared(calls=noted.calls, method="wall"))
    assert noted.made == [0, 0, 1, 0]
    assert (timing.num_calls, timing.method) == (1, "wall")


def test_host_issues_without_waiting() -> None:
    noted = Calls(1)
    timing = Clock(CPU, SHORT).time(Prepared(calls=noted.calls, method="host"))
    assert len(noted.made) == 1 + (SHORT.num_warm_ups + SHORT.num_replays) * SHORT.max_calls
    assert (timing.num_calls, timing.method) == (SHORT.max_calls, "host")


def test_what_is_timed_already_is_passed_on() -> None:
    known = Timing(
        time_s=1.0, min_s=1.0, low_s=1.0, high_s=1.0, max_s=1.0, first_s=1.0, num_replays=1, num_calls=1, num_copies=1, method="events"
    )
    noted = Calls(1)
    assert Clock(CPU, SHORT).time(Prepared(calls=noted.calls, timing=known)) is known
    assert noted.made == []


def test_steps_are_interleaved_round_by_round_and_every_other_round_backwards() -> None:
    noted = Calls(3)
    rounds = Clock(CPU, SHORT).interleaved(noted.calls, num_rounds=3, least_s=0.0)
    assert noted.made == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert [len(each) for each in rounds] == [3, 3, 3]


class Hand:
    """The hand of a stopped clock: steps move it on, whatever else the machine does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr("shapewright.measure.clock.time.perf_counter", lambda: self.now_s)

    def step(self, seconds: float) -> Callable[[], None]:
        def move() -> None:
            self.now_s += seconds

        return move


def test_times_of_a_round_stand_in_the_order_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    rounds = Clock(CPU, SHORT).interleaved([hand.step(1e-4), hand.step(5e-3)], num_rounds=2, least_s=0.0)
    assert all(quick < slow for quick, slow in rounds)


def test_sustained_steps_fill_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, count = Hand(monkeypatch), 0
    move = hand.step(1e-3)

    def step() -> None:
        nonlocal count
        count += 1
        move()

    each = Clock(CPU, SHORT).sustained_s(step, 5e-3)
    assert count > 1
    assert each * count >= 5e-3


def test_an_error_of_a_call_comes_out_as_it_is() -> None:
    def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        Clock(CPU, SHORT).time(Prepared(calls=[fail]))


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert not is_out_of_memory(RuntimeError("operation not permitted when stream is capturing"))


@pytest.mark.parametrize(("warm_s", "warm_ups"), [(0.0, 1), (0.05, 26), (0.001, 1)])
def test_a_point_runs_for_its_warm_up_before_it_is_timed(monkeypatch: pytest.MonkeyPatch, warm_s: float, warm_ups: int) -> None:
    """Replays of 2 ms each: those of the warm-up are not among the five that count."""
    clock, asked = Clock(CPU), []

    def event_times(run: object, repeats: int) -> list[float]:
        asked.append(repeats)
        return [2e-3 * (1 + index) for index in range(repeats)] if repeats > 1 else [2e-3]

    monkeypatch.setattr(clock, "_event_times", event_times)
    monkeypatch.setattr(clock, "_captured", lambda calls, count: None)
    clock.warm_s = warm_s
    times, count, method = clock._replayed(Prepared(calls=[lambda: None]), 7)
    assert asked[-1] == warm_ups + 5 and len(times) == 5 and (count, method) == (7, "events")
    assert times[0] == pytest.approx(2e-3 * (1 + warm_ups))
