"""One process of a collective: `python -m shapewright.measure.runners.ranks RANK SIZE STORE DEVICE`.

It joins the group through the file STORE (no port is opened for it), then reads one point a line from stdin (JSON) and answers one line on
stdout: {"times_s": [...], "first_s": s, "num_calls": n} or {"error": text}. The end of stdin ends it at once, whatever it waits for: it
never outlives who started it. NCCL on GPUs, gloo on the CPU.

The call of a point: `message_bytes` as nccl-tests counts them, that is the buffer of an all-reduce, the gathered result of an all-gather,
the input of a reduce-scatter or all-to-all; send passes the message from every process to the next one at the same time. The result of
the first call is checked.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ..clock import Call, Clock
from ..devices import Device, open_device
from ..operands import torch_dtype
from ..points import CollectivePoint, point_of

#: Seconds that a process waits for the others.
WAIT_S = 60.0
#: Calls that are timed to choose how many a replay holds.
NUM_PROBES = 3


def main(arguments: list[str]) -> None:
    """Serve points until stdin ends."""
    rank, size, store, name = int(arguments[0]), int(arguments[1]), arguments[2], arguments[3]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    device = _joined(rank, size, store, name)
    while True:
        point = point_of(json.loads(lines.get()))
        assert isinstance(point, CollectivePoint)
        try:
            answer = _measured(point, rank, Clock(device))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _joined(rank: int, size: int, store: str, name: str) -> Device:
    """This rank's device, after every process has come to the group."""
    import torch
    from torch import distributed

    device = open_device("cpu" if name == "cpu" else f"cuda:{rank}")
    if not device.is_gpu:
        torch.set_num_threads(1)
    named: dict[str, Any] = {"device_id": torch.device(device.name)} if device.is_gpu else {}
    backend, waited = ("nccl" if device.is_gpu else "gloo"), timedelta(seconds=WAIT_S)
    distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=size, timeout=waited, **named)
    return device


def _measured(point: CollectivePoint, rank: int, clock: Clock) -> dict[str, Any]:
    from torch import distributed

    call, result, expected = _prepared(point, rank, clock.device)
    first_s = clock.wall_s(call)
    _check(point, result, expected)
    distributed.barrier()
    probe_s = clock.wall_s(lambda: [call() for _ in range(NUM_PROBES)]) / NUM_PROBES
    count = _agreed(max(1, min(clock.protocol.max_calls, int(clock.protocol.replay_s / max(probe_s, 1e-9)))), clock.device)
    distributed.barrier()
    clock.device.synchronize()
    return {"times_s": clock.repeated(call, count), "first_s": first_s, "num_calls": count}


def _agreed(count: int, device: Device) -> int:
    """The first process's number of calls: all must make as many."""
    import torch
    from torch import distributed

    held = torch.tensor([count], device=device.name)
    distributed.broadcast(held, src=0)
    return int(held.item())


def _prepared(point: CollectivePoint, rank: int, device: Device) -> tuple[Call, Any, Callable[[], Any]]:
    """The call, the tensor that holds its result, and what that must be after the first call. Every process gives the number rank + 1."""
    import torch
    from torch import distributed

    size, dtype = point.group_size, torch_dtype(point.dtype)
    whole = point.message_bytes // dtype.itemsize
    part = whole // size

    def filled(length: int, value: float) -> Any:
        return torch.full((length,), value, device=device.name, dtype=dtype)

    def by_rank() -> Any:
        return torch.arange(1, size + 1, device=device.name).to(dtype).repeat_interleave(part)

    total, own = size * (size + 1) / 2, rank + 1.0
    if point.name == "all_reduce":
        given = filled(whole, own)
        return (lambda: distributed.all_reduce(given)), given, lambda: filled(whole, total)
    if point.name == "all_gather":
        given, made = filled(part, own), filled(part * size, 0.0)
        return (lambda: distributed.all_gather_into_tensor(made, given)), made, by_rank
    given = filled(whole, own)
    if point.name == "reduce_scatter":
        made = filled(part, 0.0)
        return (lambda: distributed.reduce_scatter_tensor(made, given)), made, lambda: filled(part, total)
    made = filled(whole, 0.0)
    if point.name == "all_to_all":
        return (lambda: distributed.all_to_all_single(made, given)), made, by_rank
    return _passed_on(given, made, rank, size), made, lambda: filled(whole, float((rank - 1) % size + 1))


def _passed_on(given: Any, made: Any, rank: int, size: int) -> Call:
    """Send to the next process and receive from the one before, as nccl-tests' sendrecv."""
    from torch import distributed

    def call() -> None:
        pair = [
            distributed.P2POp(distributed.isend, given, (rank + 1) % size),
            distributed.P2POp(distributed.irecv, made, (rank - 1) % size),
        ]
        for work in distributed.batch_isend_irecv(pair):
            work.wait()

    return call


def _check(point: CollectivePoint, result: Any, expected: Callable[[], Any]) -> None:
    """Refuse a wrong result; sums of many processes round in 8 bits of mantissa."""
    import torch

    if not torch.allclose(result.float(), expected().float(), rtol=0.02):
        raise RuntimeError(f"the {point.name} of {point.group_size} processes gave a wrong result")


if __name__ == "__main__":
    main(sys.argv[1:])
