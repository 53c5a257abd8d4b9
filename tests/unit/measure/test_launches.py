"""Kernels of equal steps, counted and summed from a profile's events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shapewright.measure import launches
from shapewright.measure.devices import Device
from shapewright.measure.launches import Launches, counted, launches_of


def event(start: float, length: float, name: str = "kernel", device: str = "DeviceType.CUDA", is_mark: bool = False) -> Any:
    span = SimpleNamespace(start=start, end=start + length)
    return SimpleNamespace(time_range=span, name=name, device_type=device, is_user_annotation=is_mark)


def test_the_later_half_of_the_steps_counts() -> None:
    steps = [event(100 * step + 10 * i, 5.0 if step < 2 else 8.0) for step in range(4) for i in range(3)]

    found = counted(steps, 4)

    assert found is not None
    assert found.num_launches == 3
    assert found.kernel_s == pytest.approx(3 * 8e-6)


def test_the_hosts_calls_and_marks_are_no_kernels() -> None:
    steps = [
        event(0, 5),
        event(1, 9, device="DeviceType.CPU"),
        event(0, 30, is_mark=True),
        event(0, 50, name="Activity Buffer Request"),
        event(9, 5),
    ]

    found = counted(steps, 2)

    assert found is not None
    assert (found.num_launches, found.kernel_s) == (1, pytest.approx(5e-6))


def test_no_kernels_no_answer() -> None:
    assert counted([event(0, 5, device="DeviceType.CPU")], 2) is None
    assert launches_of(lambda: None, Device(name="cpu", gpu="cpu", l2_bytes=1, memory_bytes=1), step_s=1e-3) is None


def test_a_profile_without_kernels_is_taken_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, seen = Device(name="cuda:0", gpu="some", l2_bytes=1, memory_bytes=1), Launches(num_launches=3, kernel_s=1e-3)
    answers = [None, seen]
    monkeypatch.setattr(launches, "_profiled", lambda step, device, num_steps: answers.pop(0))

    assert launches_of(lambda: None, gpu, step_s=1e-3) == seen
    answers = [None, None, seen]
    assert launches_of(lambda: None, gpu, step_s=1e-3) is None
    assert answers == [seen]
