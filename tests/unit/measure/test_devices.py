"""The device, its environment and the state of its card, where there is no GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from shapewright.errors import InputError, MissingError
from shapewright.measure import devices
from shapewright.measure.devices import Card, Device, commit, environment, open_device, require_torch, state_row
from unit.measure.benches import CPU


def test_the_cpu() -> None:
    found = open_device("cpu")
    assert (found.name, found.gpu, found.is_gpu) == ("cpu", "cpu", False)
    assert found.memory_bytes > 2**27
    found.synchronize()
    found.empty_cache()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "CPU"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="known: cuda, cuda:N, cpu"):
        open_device(name)


def test_no_gpu_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match="--device cpu") as caught:
        open_device("cuda")
    assert caught.value.exit_code == 3
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(MissingError, match="driver"):
        open_device("cuda")


def test_no_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingError, match=r"shapewright\[gpu\]"):
        require_torch()


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingError, match="there is no GPU 3"):
        open_device("cuda:3")


def test_the_environment_names_versions_and_leaves_out_what_is_absent() -> None:
    found = environment(CPU)
    assert found["gpu"] == "cpu"
    assert found["torch"] == torch.__version__
    assert "driver" not in found
    assert None not in found.values()


def test_the_commit_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPEWRIGHT_COMMIT", "a" * 50)
    assert commit() == "a" * 40


def test_a_card_without_nvml_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Card(CPU).state() == {}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpu = Device(name="cuda:0", gpu="some", l2_bytes=1, memory_bytes=1)
    assert Card(gpu).state() == {}
    assert Card(gpu).driver() is None


class Nvml:
    """A driver with four cards."""

    NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0
    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self) -> None:
        self.has_failed = False

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"card {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid == "GPU-unknown":
            raise self.NVMLError
        return f"card {uuid}"

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        if self.has_failed:
            raise self.NVMLError
        return 0x4 | 0x40 | 0x1

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:  # noqa: N802
        return 1980

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 698_500

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 61


@pytest.mark.parametrize(
    ("visible", "card"),
    [("", "card 1"), ("2,3", "card 3"), ("GPU-aa,GPU-bb", "card GPU-bb"), ("MIG-aa, MIG-bb", "card MIG-bb"), ("3", "card 1")],
)
def test_the_card_is_the_one_that_torch_sees(monkeypatch: pytest.MonkeyPatch, visible: str, card: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(devices, "_uuid", lambda index: "")
    assert Card(Device(name="cuda:1", gpu="some", l2_bytes=1, memory_bytes=1))._handle == card


@pytest.mark.parametrize(("uuid", "card"), [("cc", "card GPU-cc"), ("unknown", "card 3")])
def test_the_uuid_that_torch_tells_comes_before_the_number(monkeypatch: pytest.MonkeyPatch, uuid: str, card: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuid if index == 1 else "other"))
    assert Card(Device(name="cuda:1", gpu="some", l2_bytes=1, memory_bytes=1))._handle == card


def test_the_state_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setattr(devices, "_uuid", lambda index: "")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    card = Card(Device(name="cuda:0", gpu="some", l2_bytes=1, memory_bytes=1))
    assert card.state() == {"sm_clock_hz": 1_980_000_000, "power_w": 698.5, "temperature_c": 61, "throttle": "power_cap+hw_thermal"}
    nvml.has_failed = True
    assert card.state() == {}


def test_state_columns() -> None:
    before = {"sm_clock_hz": 1, "power_w": 2.0, "temperature_c": 3, "throttle": "power_cap"}
    after = {"sm_clock_hz": 4, "power_w": 5.0, "temperature_c": 6, "throttle": "power_cap+hw_thermal"}
    assert state_row(before, after) == {
        "sm_clock_before_hz": 1, "power_before_w": 2.0, "temperature_before_c": 3, "sm_clock_after_hz": 4, "power_after_w": 5.0,
        "temperature_after_c": 6, "throttle": "power_cap+hw_thermal",
    }  # fmt: skip
    assert state_row({}, {}) == {}
