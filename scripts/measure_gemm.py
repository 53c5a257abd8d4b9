"""Times random matrix products on a GPU and notes which kernel ran: rows to fit and to test the GEMM model on.

    python scripts/measure_gemm.py OUT_DIR SECONDS [SEED]

Needs torch and a GPU. Protocol: per-call time in CUDA-graph replay; operands are views of one buffer of normal random numbers, rotated over
as many places as exceed twice the L2 (at most 64); 2 ms of calls a replay, at most 200; the median of 5 replays after one warm-up, with
the fastest and slowest kept. The kernel's name comes from torch.profiler, one more call a product. Products are drawn from a seeded
mixture: linear products in three layouts over decode and training sizes with dimensions in multiples of 1 to 128, batched products as
attention makes them, and runs of four near neighbours. One JSON line a product in OUT_DIR/gemm.jsonl, after a line with the environment.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_OF_SHAPES = 400
MAX_FLOPS, MAX_ELEMENTS = 1.2e13, 2**30


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def dimension(rng: np.random.Generator, low: int, high: int) -> int:
    """A log-uniform size in multiples of a random power of two; a third of all sizes leave the 8-element grid."""
    step = int(rng.choice([1, 2, 4, 8, 16, 64, 128], p=[0.08, 0.08, 0.08, 0.26, 0.08, 0.20, 0.22]))
    return int(min(high, max(step, round(log_uniform(rng, max(low, step), high) / step) * step)))


def linear(rng: np.random.Generator) -> dict:
    layout = str(rng.choice(["NT", "NN", "TN"], p=[0.6, 0.2, 0.2]))
    if layout == "TN":  # wgrad: m and n are widths, k the tokens
        m, n, k = dimension(rng, 64, 32768), dimension(rng, 64, 32768), int(log_uniform(rng, 128, 16384)) // 64 * 64 + 64
    else:
        m = int(log_uniform(rng, 1, 64)) if rng.random() < 0.3 else dimension(rng, 64, 16384)
        n, k = dimension(rng, 64, 65536), dimension(rng, 64, 32768)
    return {"op": "linear", "dtype": "fp16" if rng.random() < 0.12 else "bf16", "layout": layout, "batch": 1, "m": m, "n": n, "k": k}


def batched(rng: np.random.Generator) -> dict:
    batch = int(rng.choice([8, 12, 16, 24, 32, 40, 64, 80, 96, 128, 160, 256]))
    sequence, head = int(rng.choice([128, 256, 512, 1024, 2048, 4096])), dimension(rng, 8, 256)
    score = rng.random() < 0.5
    m, n, k = (sequence, sequence, head) if score else (sequence, head, sequence)
    return {"op": "bmm", "dtype": "bf16", "layout": "NT" if score else "NN", "batch": batch, "m": m, "n": n, "k": k}


def neighbours(rng: np.random.Generator) -> list[dict]:
    """Four products that differ by small steps in one dimension."""
    base = linear(rng)
    axis, step = str(rng.choice(["m", "n", "k"])), int(rng.choice([1, 2, 4, 8, 16, 32, 64, 128]))
    start = max(step, base[axis] // step * step)
    return [{**base, axis: start + i * step} for i in range(4)]


def shapes(rng: np.random.Generator) -> Iterator[dict]:
    while True:
        draw = rng.random()
        for shape in [linear(rng)] if draw < 0.60 else [batched(rng)] if draw < 0.85 else neighbours(rng):
            b, m, n, k = (shape[name] for name in ("batch", "m", "n", "k"))
            if 2 * b * m * n * k <= MAX_FLOPS and b * max(m * k, k * n, m * n) <= MAX_ELEMENTS:
                yield shape


def _rounded(elements: int) -> int:
    return (elements + 127) // 128 * 128


class Bench:
    """Random operands and outputs as views of two buffers, so that no product waits for its numbers to be drawn."""

    def __init__(self, l2_bytes: int) -> None:
        self.operands = {name: torch.randn(3 * 2**30, device="cuda", dtype=dtype) for name, dtype in DTYPES.items()}
        self.outputs = {name: torch.empty(2**30 + 2**20, device="cuda", dtype=dtype) for name, dtype in DTYPES.items()}
        self.cold_elements = l2_bytes  # twice the L2 in elements of two bytes

    def call(self, shape: dict, copy: int):
        """The operands of one place in the buffer, as a function that multiplies them."""
        b, m, n, k = (shape[name] for name in ("batch", "m", "n", "k"))
        # Both operands start on a multiple of 256 bytes, as fresh tensors do: an odd offset would choose another kernel.
        start = _rounded(b * m * k)
        each = start + _rounded(b * k * n)
        flat = self.operands[shape["dtype"]][copy * each : (copy + 1) * each]
        y = self.outputs[shape["dtype"]][: b * m * n].view(b, m, n)
        x, w = flat[: b * m * k], flat[start : start + b * k * n]
        left = x.view(b, k, m).transpose(1, 2) if shape["layout"] == "TN" else x.view(b, m, k)
        right = w.view(b, n, k).transpose(1, 2) if shape["layout"] == "NT" else w.view(b, k, n)
        if shape["op"] == "linear":
            left, right, y = left[0], right[0], y[0]
            return lambda: torch.mm(left, right, out=y)
        return lambda: torch.bmm(left, right, out=y)

    def num_copies(self, shape: dict) -> int:
        each = _rounded(shape["batch"] * shape["m"] * shape["k"]) + _rounded(shape["batch"] * shape["k"] * shape["n"])
        return int(max(1, min(64, -(-self.cold_elements // each), 3 * 2**30 // each)))

    def time(self, shape: dict) -> dict:
        copies = self.num_copies(shape)
        calls = [self.call(shape, copy) for copy in range(copies)]
        calls[0]()
        trial = self._graph(calls, copies)
        trial.replay()
        # A replay costs some 20 us of its own: only the time of many calls tells how many fill 2 ms.
        count = int(max(copies, min(200, 2e3 * copies / self._events(trial.replay))))
        graph = self._graph(calls, count) if count > copies else trial
        graph.replay()
        times = [self._events(graph.replay) / count for _ in range(5)]
        return {"us": round(statistics.median(times), 3), "min_us": round(min(times), 3), "max_us": round(max(times), 3), "calls": count}

    @staticmethod
    def _graph(calls: list, count: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(count):
                calls[i % len(calls)]()
        return graph

    @staticmethod
    def _events(run) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3

    def kernels(self, batch: list[dict]) -> list[str]:
        """Names of the kernels of each product, joined by ' + '."""
        calls = [self.call(shape, 0) for shape in batch]
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
            for call in calls:
                call()
            torch.cuda.synchronize()
        events = [e for e in prof.events() if e.name in ("aten::mm", "aten::bmm") and getattr(e, "kernels", None)]
        events.sort(key=lambda e: e.time_range.start)
        names = [" + ".join(k.name.split("(")[0] for k in e.kernels if not k.name.startswith(("Memset", "Activity"))) for e in events]
        return names if len(names) == len(batch) else [""] * len(batch)


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 2026)
    properties = torch.cuda.get_device_properties(0)
    bench, source, started, total = Bench(properties.L2_cache_size), shapes(rng), time.time(), 0
    with (folder / "gemm.jsonl").open("w") as out:
        environment = {"gpu": properties.name, "torch": torch.__version__, "cuda": torch.version.cuda, "l2_bytes": properties.L2_cache_size,
                       "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # fmt: skip
        out.write(json.dumps({"environment": environment}) + "\n")
        while time.time() - started < seconds:
            batch = [next(source) for _ in range(BATCH_OF_SHAPES)]
            rows = [{**shape, **bench.time(shape)} for shape in batch]
            for row, kernel in zip(rows, bench.kernels(batch), strict=True):
                out.write(json.dumps({**row, "kernel": kernel}) + "\n")
            out.flush()
            total += len(batch)
            print(total, f"{total / (time.time() - started):.1f} products/s", rows[-1], flush=True)


if __name__ == "__main__":
    main()
