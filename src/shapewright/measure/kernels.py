"""Names of the kernels that ran: one extra call of each point under torch.profiler, many points at once since a profile has a fixed cost.

On a CPU there are no kernels and every name is "".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .clock import Call

if TYPE_CHECKING:
    from .devices import Device

#: Characters kept of a kernel's name, and of all names of a point.
MAX_NAME, MAX_NAMES = 120, 600
_MARK = "shapewright_point_"


def kernel_names(calls: Sequence[Call], device: Device) -> list[str]:
    """Names of the kernels of each call in launch order, joined by " + ", equal neighbours counted ("3 x name")."""
    if not device.is_gpu or not calls:
        return [""] * len(calls)
    # One profile in some forty came back without any kernel on an H200: such a one is taken again.
    names = _profiled(calls, device)
    return names if any(names) else _profiled(calls, device)


def _profiled(calls: Sequence[Call], device: Device) -> list[str]:
    from torch.profiler import ProfilerActivity, profile, record_function

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as found:
        for index, call in enumerate(calls):
            with record_function(f"{_MARK}{index}"):
                call()
        device.synchronize()
    return _named(found.events(), len(calls))


def _named(events: Any, count: int) -> list[str]:
    """Kernels by the marked span in which they were launched."""
    names: list[list[tuple[float, str]]] = [[] for _ in range(count)]
    spans = sorted((e.time_range.start, e.time_range.end, int(e.name.removeprefix(_MARK))) for e in events if _is_mark(e))
    position = 0
    launchers = [e for e in events if getattr(e, "kernels", None) and _is_launch(e)]
    launched = sorted((e.time_range.start, kernel.name) for e in launchers for kernel in e.kernels)
    for start, name in launched:
        while position < len(spans) and start > spans[position][1]:
            position += 1
        if position < len(spans) and start >= spans[position][0]:
            names[spans[position][2]].append((start, name))
    return [joined([name for _, name in each]) for each in names]


def _is_mark(event: Any) -> bool:
    return event.name.startswith(_MARK) and "CPU" in str(event.device_type)


def _is_launch(event: Any) -> bool:
    """The profiler's own buffer requests list the kernel that was running once more."""
    return not _is_mark(event) and event.name != "Activity Buffer Request"


def joined(names: Sequence[str]) -> str:
    """Names without arguments as one text; what only sets memory before a kernel is left out, unless nothing else ran."""
    only_set = all(name.startswith("Memset") for name in names)
    counted: list[tuple[str, int]] = []
    for name in names:
        short = name.replace("(anonymous namespace)::", "").removeprefix("void ").split("(")[0].strip()[:MAX_NAME]
        if short.startswith("Memset") and not only_set:
            continue
        if counted and counted[-1][0] == short:
            counted[-1] = (short, counted[-1][1] + 1)
        else:
            counted.append((short, 1))
    return " + ".join(name if count == 1 else f"{count} x {name}" for name, count in counted)[:MAX_NAMES]
