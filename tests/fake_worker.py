"""A worker without torch that speaks the protocol of `shapewright.measure.worker`, and misbehaves where a point's `m` asks for it.

python fake_worker.py [SECONDS_A_POINT]        the GPU is called FAKE_GPU, or "fake"
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

EXITS, SEGFAULTS, HANGS, POISONS, FAILS, NO_MEMORY, DIES_IN_PROFILE, CHATTERS = 7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008


def command(seconds_a_point: float = 0.0) -> list[str]:
    """The command line for `execute(worker_command=...)`."""
    return [sys.executable, "-S", "-E", str(Path(__file__).resolve()), str(seconds_a_point)]


def send(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def result(point: dict[str, Any]) -> dict[str, Any]:
    """Result columns, or the misdeed."""
    match point.get("m"):
        case 7001:
            print("the library said no", file=sys.stderr, flush=True)
            os._exit(7)
        case 7002:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 7003:
            time.sleep(600)
        case 7004:
            send({"poisoned": "CUDA error: an illegal memory access was encountered"})
            os._exit(1)
        case 7005:
            return {"status": "failed", "error": "ValueError: no such kernel", "at": "2026-01-01T00:00:00Z"}
        case 7006:
            return {"status": "out_of_memory", "error": "OutOfMemoryError: 80 GiB", "at": "2026-01-01T00:00:00Z"}
        case 7008:
            os.write(1, b"a library's greeting\n[1, 2]\n")
    return {"status": "ok", "time_s": 1e-5, "m": -1, "at": "2026-01-01T00:00:00Z"}


def group(message: dict[str, Any], seconds: float) -> None:
    points, left_s = message["points"], message["time_left_s"]
    deadline = None if left_s is None else time.monotonic() + left_s
    if points[0]["kind"] in ("layer", "model"):
        send({"started": 0, "together": len(points)})
        if any(point["micro_batch"] == EXITS for point in points):
            os._exit(9)
        for index, point in enumerate(points):
            send({"row": result(point) | {"num_interleaved": len(points)}, "index": index})
    else:
        for index, point in enumerate(points):
            if deadline is not None and time.monotonic() >= deadline:
                send({"kernels": {}})
                send({"finished": message["group"], "stopped": True})
                return
            send({"started": index})
            time.sleep(seconds)
            send({"row": result(point), "index": index})
        if any(point.get("m") == DIES_IN_PROFILE for point in points):
            os._exit(5)
        send({"kernels": {str(index): f"kernel_{point.get('m')}" for index, point in enumerate(points)}})
    send({"finished": message["group"], "stopped": False})


def main() -> None:
    seconds = float(sys.argv[1])
    if os.environ.get("FAKE_FATAL"):
        send({"fatal": {"what": "torch finds no GPU", "hint": "install its driver", "exit_code": 3}})
        return
    if os.environ.get("FAKE_STILLBORN"):
        print("ImportError: libcuda.so is missing", file=sys.stderr)
        sys.exit(4)
    send({"environment": {"gpu": os.environ.get("FAKE_GPU", "fake")}, "protocol": {"replay_s": 0.002}, "has_kernels": True})
    for line in sys.stdin.buffer:
        group(json.loads(line), seconds)


if __name__ == "__main__":
    main()
