"""Notes of flags that were given and do not apply, each with its reason: a flag that is ignored in silence misleads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..workload import Workload

#: Flag -> why it does not apply to this workload; empty where it does. Only flags that were given are asked about.
_REASONS: Mapping[str, Callable[[Workload, Mapping[str, Any]], str]] = {
    "global_batch": lambda asked, _: "" if asked.is_training else f"{asked.phase} has no optimizer step, only train has",
    "recompute": lambda asked, _: _recompute(asked),
    "zero": lambda asked, _: _zero(asked),
    "context": lambda asked, _: "" if asked.phase == "decode" else f"{asked.phase} starts without a cache, only decode has one",
    "sequence": lambda asked, given: "decode starts from --context" if asked.phase == "decode" and "context" in given else "",
    "stack": lambda asked, _: "" if asked.is_training else "its whole training steps were measured, nothing else",
    "sequence_parallel": lambda asked, _: "--tensor-parallel is 1" if asked.sequence_parallel and asked.tensor_parallel == 1 else "",
}


def idle_flags(asked: Workload, given: Mapping[str, Any]) -> tuple[str, ...]:
    """A note for each of the workload's flags `given` (field -> value) that does not apply to `asked`."""
    reasons = {name: reason(asked, given) for name, reason in _REASONS.items() if name in given}
    return tuple(f"{_shown(name, given[name])} does not apply: {reason}" for name, reason in reasons.items() if reason)


def idle_choices(asked: Workload, given: Mapping[str, Any], *, node: str | None, largest: int | None) -> tuple[str, ...]:
    """The same for what is no field of the workload: links that nothing crosses, and a micro-batch that --fit replaced."""
    notes = []
    if node is not None and asked.num_gpus == 1:
        notes.append("--node does not apply: one GPU uses no links")
    if largest and given.get("micro_batch", asked.micro_batch) != asked.micro_batch:
        notes.append(f"--micro-batch {given['micro_batch']} does not apply: --fit found {asked.micro_batch}")
    return tuple(notes)


def _shown(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    return flag if value is True else f"{flag} {value}"


def _recompute(asked: Workload) -> str:
    if asked.recompute == "none":
        return ""
    if not asked.is_training:
        return f"{asked.phase} has no backward pass, only train has"
    is_idle = asked.recompute == "selective" and asked.attention == "flash"
    return "flash attention keeps no scores to compute again, only --attention unfused does" if is_idle else ""


def _zero(asked: Workload) -> str:
    if asked.zero == 0:
        return ""
    if not asked.is_training:
        return f"{asked.phase} has no optimizer, only train has"
    return "there is one replica, --data-parallel is 1" if asked.data_parallel == 1 else ""
