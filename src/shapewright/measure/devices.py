"""The device that measures, what it is, and the state of its card.

`open_device("cuda")` needs torch and a GPU that it sees; without one it fails with `MissingError` (exit code 3) that names the extra or
the driver. `environment` is what every run keeps: names, versions, commit, time. `Card.state` reads clock (Hz), power (W), temperature (C)
and the reasons for a lowered clock, before and after each point; it is empty where nvidia-ml-py is missing or the card is no NVIDIA one.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingError, shown
from ..version import __version__
from .points import Value

#: NVML's reasons for a clock below the highest that make a time unlike another: bit -> name (nvml.h, nvmlClocksEventReasons).
THROTTLE_REASONS = {0x4: "power_cap", 0x8: "hw_slowdown", 0x20: "sw_thermal", 0x40: "hw_thermal", 0x80: "hw_power_brake"}
#: Bytes that a CPU's last-level cache is taken for: operands rotate over twice as much.
CPU_CACHE_BYTES = 2**25


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU (`cuda:0`; AMD's too, which torch calls cuda) or the CPU. Sizes in bytes."""

    name: str
    gpu: str
    """Marketing name as the driver tells it; "cpu" for the CPU."""
    l2_bytes: int
    memory_bytes: int

    @property
    def is_gpu(self) -> bool:
        return self.name != "cpu"

    def synchronize(self) -> None:
        """Wait until the device has done everything that was issued."""
        if self.is_gpu:
            import torch

            torch.cuda.synchronize()

    def empty_cache(self) -> None:
        """Give memory that no tensor uses back to the device."""
        if self.is_gpu:
            import torch

            torch.cuda.empty_cache()


def open_device(name: str = "cuda", *, can_be_cpu: bool = True) -> Device:
    """The device called `name`: cuda, cuda:N or cpu. `can_be_cpu`: whether a CPU would do, which is then said where there is no GPU."""
    if name != "cpu" and not (name == "cuda" or (name.startswith("cuda:") and name[5:].isdigit())):
        raise InputError(f"device is {shown(name)}", hint="known: cuda, cuda:N, cpu")
    torch = require_torch()
    if name == "cpu":
        return Device(name="cpu", gpu="cpu", l2_bytes=CPU_CACHE_BYTES, memory_bytes=_host_memory_bytes())
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        hint = "install its driver (nvidia-smi or rocm-smi shows it)" if built else "this torch is built for the CPU: install a GPU build"
        raise MissingError("torch finds no GPU", hint=f"{hint}, or measure on the CPU with --device cpu" if can_be_cpu else hint)
    index = int(name[5:]) if ":" in name else 0
    if index >= torch.cuda.device_count():
        raise MissingError(f"there is no GPU {index}", hint=f"torch sees {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    found = torch.cuda.get_device_properties(index)
    return Device(name=f"cuda:{index}", gpu=found.name, l2_bytes=int(found.L2_cache_size), memory_bytes=int(found.total_memory))


def require_torch() -> Any:
    """torch, or the error that names the extra."""
    try:
        import torch
    except ImportError:
        raise MissingError("measuring needs torch", hint="pip install 'shapewright[gpu]', or a torch build for your GPU") from None
    return torch


def environment(device: Device) -> dict[str, Value]:
    """What a run was made with; a version that is not there is left out."""
    torch = require_torch()
    cudnn, card = torch.backends.cudnn.version() if device.is_gpu else None, Card(device)
    found = {
        "gpu": device.gpu,
        "l2_bytes": device.l2_bytes,
        "memory_bytes": device.memory_bytes,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "cudnn": None if cudnn is None else str(cudnn),
        "driver": card.driver(),
        "card": card.mark(),
        **{name: _version(name) for name in ("triton", "transformers", "numpy")},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "shapewright": __version__,
        "commit": commit(),
        "time": now(),
    }
    return {name: value for name, value in found.items() if value is not None}


def now() -> str:
    """UTC to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit() -> str | None:
    """The commit of the checkout that this package runs from (SHAPEWRIGHT_COMMIT where the copy has lost it), " with changes" where its
    sources differ from it; None of an installed one."""
    named = os.environ.get("SHAPEWRIGHT_COMMIT")
    if named:
        return named[:40]
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    return f"{head} with changes" if head and _git(root, "status", "--porcelain", "--", "src") else head


def _git(root: Path, *arguments: str) -> str | None:
    """What git answers, or None where it does not."""
    try:
        found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _host_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Card:
    """Clock, power and temperature of the card, by NVML; every reading is empty where there is none."""

    def __init__(self, device: Device) -> None:
        self._handle: Any = None
        self._nvml: Any = None
        if device.is_gpu:
            self._open(int(device.name.partition(":")[2]))

    def _open(self, index: int) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle, self._nvml = _card_handle(pynvml, index), pynvml
        except Exception:  # no library, no driver, another maker's card: a measurement goes on without the card's state
            self._handle = None

    def driver(self) -> str | None:
        """Version of the driver."""
        return None if self._handle is None else str(self._nvml.nvmlSystemGetDriverVersion())

    def mark(self) -> str | None:
        """Eight hexadecimal digits that tell one card from another of its kind: cards of one kind differ by several percent."""
        return None if self._handle is None else hashlib.sha256(str(self._nvml.nvmlDeviceGetUUID(self._handle)).encode()).hexdigest()[:8]

    def state(self) -> dict[str, Value]:
        """sm_clock_hz, power_w, temperature_c and throttle (reasons joined by +, "" for none)."""
        nvml, handle = self._nvml, self._handle
        if handle is None:
            return {}
        try:
            reasons = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
            return {
                "sm_clock_hz": int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)) * 10**6,
                "power_w": int(nvml.nvmlDeviceGetPowerUsage(handle)) / 1e3,
                "temperature_c": int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
                "throttle": "+".join(name for bit, name in THROTTLE_REASONS.items() if reasons & bit),
            }
        except nvml.NVMLError:
            return {}


def _card_handle(nvml: Any, index: int) -> Any:
    """NVML counts all cards in the order of their slots, torch those of CUDA_VISIBLE_DEVICES (numbers, or UUIDs of cards or of MIG parts of
    them) with the fastest first: only the UUID that torch tells is the same for both."""
    visible = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    named = visible[index] if index < len(visible) else str(index)
    if not named.isdigit():
        return nvml.nvmlDeviceGetHandleByUUID(named)
    uuid = _uuid(index)
    if uuid:
        with contextlib.suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    return nvml.nvmlDeviceGetHandleByIndex(int(named))


def _uuid(index: int) -> str:
    """UUID of torch's GPU `index`; "" where torch does not tell."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))


def state_row(before: dict[str, Value], after: dict[str, Value]) -> dict[str, Value]:
    """A row's columns of the card's state: sm_clock_before_hz, ..., power_after_w, and `throttle`, reasons seen before or after."""
    row: dict[str, Value] = {}
    for moment, state in (("before", before), ("after", after)):
        row |= {f"{name.rpartition('_')[0]}_{moment}_{name.rpartition('_')[2]}": state[name] for name in state if name != "throttle"}
    reasons = [part for state in (before, after) for part in str(state.get("throttle", "")).split("+") if part]
    return row | ({"throttle": "+".join(dict.fromkeys(reasons))} if before or after else {})
