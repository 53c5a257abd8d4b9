"""How many kernels a step launches and how long they run: the GPU's share of a step whose wall time the clock took.

Steps run back to back under torch.profiler until the card has the clock and heat of a long run (a kernel in a burst is up to a fifth
faster), and the later half of them counts. Times in seconds a step. On a CPU there are no kernels and the answer is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .clock import Call

if TYPE_CHECKING:
    from .devices import Device

#: Seconds of steps in one profile, and the least and most steps.
SPAN_S, MIN_STEPS, MAX_STEPS = 0.3, 2, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """Kernels and copies of one step, and the sum of their durations in seconds."""

    num_launches: float
    kernel_s: float


def launches_of(step: Call, device: Device, *, step_s: float) -> Launches | None:
    """What one `step` of about `step_s` seconds launches."""
    if not device.is_gpu:
        return None
    num_steps = max(MIN_STEPS, min(MAX_STEPS, int(SPAN_S / max(step_s, 1e-6))))
    # A profile now and then comes back without any kernel: such a one is taken again.
    return _profiled(step, device, num_steps) or _profiled(step, device, num_steps)


def _profiled(step: Call, device: Device, num_steps: int) -> Launches | None:
    from torch.profiler import ProfilerActivity, profile

    device.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as found:
        for _ in range(num_steps):
            step()
        device.synchronize()
    return counted(found.events() or (), num_steps)


def counted(events: Sequence[Any], num_steps: int) -> Launches | None:
    """Mean of the later half of `num_steps` equal steps; None if the profiler saw no kernel."""
    spans = sorted((e.time_range.start, e.time_range.end) for e in events if _runs_on_gpu(e))
    if not spans:
        return None
    later = num_steps - num_steps // 2
    kept = spans[len(spans) - len(spans) * later // num_steps :]
    return Launches(num_launches=len(spans) / num_steps, kernel_s=sum(end - start for start, end in kept) * 1e-6 / later)


def _runs_on_gpu(event: Any) -> bool:
    """Kernels and copies: not what the host did, a user's mark or the profiler's own work."""
    is_device = str(event.device_type).rpartition(".")[2] in ("CUDA", "PrivateUse1")
    return is_device and not getattr(event, "is_user_annotation", False) and not event.name.startswith(("Activity", "##", "ProfilerStep"))
