"""Micro-batches larger than the one there is that still fit the memory: 2 times, 4 times, and as many doublings as go in. Sequences.

Where a global batch is set, the multiples are those that make it up: the next two and the largest that fits. A larger micro-batch is
compared per token; in training at an equal global batch, so that both sides count the optimizer alike.
"""

from __future__ import annotations

from dataclasses import replace

from ..operators.memory import memory_use
from ..workload import MAX_BATCH, Workload
from .case import Case
from .change import Change

MAX_DOUBLINGS = 10


def larger_batches(case: Case, caution: str = "") -> tuple[Change, ...]:
    """Larger micro-batches that fit, smallest first; none where nobody chose the one there is, or where it does not fit itself."""
    if "micro_batch" not in case.given:
        return ()
    fitting = _multiples(case)
    return tuple(_change(case, times, caution) for times in sorted({*fitting[:2], *fitting[-1:]}))


def _change(case: Case, times: int, caution: str) -> Change:
    workload = case.workload
    micro_batch = times * workload.micro_batch
    if not workload.is_training or workload.global_batch is not None:
        return Change(workload=(("micro_batch", micro_batch),), caution=caution)
    whole = ("global_batch", micro_batch * workload.data_parallel)
    return Change(workload=(("micro_batch", micro_batch), whole), against=(whole,), caution=caution)


def _multiples(case: Case) -> list[int]:
    """How many times the micro-batch fits: memory grows by the same bytes for each sequence, so that two sizes tell the rest."""
    possible = _possible(case.workload)
    if not possible:
        return []
    memory, least = case.machine.gpu.memory_bytes, possible[0]
    one, more = _bytes(case, 1), _bytes(case, least)
    if more > memory:
        return []
    most = 1 + (memory - one) * (least - 1) / max(more - one, 1.0)
    fitting = [times for times in possible if times <= most]
    while len(fitting) > 1 and _bytes(case, fitting[-1]) > memory:
        fitting.pop()
    return fitting


def _possible(workload: Workload) -> list[int]:
    """Multiples of the micro-batch that the workload allows: of a global batch, those that divide its passes; else powers of two."""
    if workload.global_batch is not None:
        passes = workload.num_micro_batches
        return [times for times in range(2, min(passes, 2**MAX_DOUBLINGS) + 1) if passes % times == 0]
    largest = MAX_BATCH // (workload.micro_batch * workload.data_parallel)
    return [2**doubling for doubling in range(1, MAX_DOUBLINGS + 1) if 2**doubling <= largest]


def _bytes(case: Case, times: int) -> float:
    """Memory of the fullest GPU with a micro-batch `times` as large, the global batch as it is."""
    return memory_use(case.shape, replace(case.workload, micro_batch=times * case.workload.micro_batch)).total
