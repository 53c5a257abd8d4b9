"""Names of kernels: shortened, counted, and given to the call in whose span they were launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from shapewright.measure.kernels import MAX_NAMES, _named, joined, kernel_names
from unit.measure.benches import CPU

ELEMENTWISE = "void at::native::vectorized_elementwise_kernel<8, at::native::CUDAFunctor_add<c10::BFloat16> >(int, float)"


@dataclass
class Event:
    """What the profiler gives of one call on the host."""

    name: str
    start: float
    end: float
    kernels: list[SimpleNamespace] = field(default_factory=list)
    device_type: str = "DeviceType.CPU"

    @property
    def time_range(self) -> SimpleNamespace:
        return SimpleNamespace(start=self.start, end=self.end)


def launch(start: float, *names: str, op: str = "aten::mm") -> Event:
    return Event(op, start, start + 1, [SimpleNamespace(name=name) for name in names])


def span(number: int, start: float, end: float) -> Event:
    return Event(f"shapewright_point_{number}", start, end)


def test_a_cpu_has_no_kernels() -> None:
    assert kernel_names([lambda: None, lambda: None], CPU) == ["", ""]


def test_names_lose_arguments_and_namespaces_without_names() -> None:
    assert joined([ELEMENTWISE]) == "at::native::vectorized_elementwise_kernel<8, at::native::CUDAFunctor_add<c10::BFloat16> >"
    assert joined(["void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float>(float*)"]) == (
        "at::native::cunn_SoftMaxForward<4, float>"
    )


def test_neighbours_are_counted_and_memory_setting_left_out() -> None:
    assert joined(["a", "a", "Memset (Device)", "b", "a"]) == "2 x a + b + a"
    assert joined(["Memset (Device)"]) == "Memset"
    assert joined(["Memcpy DtoD (Device -> Device)"]) == "Memcpy DtoD"
    assert len(joined([f"kernel{number}" * 9 for number in range(40)])) == MAX_NAMES


def test_kernels_belong_to_the_span_that_launched_them() -> None:
    events = [
        launch(1, "first"), span(0, 0, 10), launch(5, "second"), span(1, 10, 20), launch(25, "third"), span(2, 20, 30),
        launch(12, "other"), launch(15, "between"), launch(40, "after all"),
    ]  # fmt: skip
    assert _named(events, 3) == ["first + second", "other + between", "third"]


def test_a_span_without_kernels_and_a_launch_before_all() -> None:
    assert _named([launch(0, "early"), span(0, 5, 6), span(1, 7, 9), launch(8, "own")], 2) == ["", "own"]


def test_the_profilers_own_requests_do_not_count() -> None:
    events = [span(0, 0, 10), launch(1, "one"), launch(2, "one", op="Activity Buffer Request")]
    assert _named(events, 1) == ["one"]
