"""Times random matrix products on a GPU and notes which kernel ran: rows to fit and to test the GEMM model on.

    python scripts/measure_gemm.py OUT_DIR SECONDS [SEED] [--names]

Needs torch and a GPU. Protocol: per-call time in CUDA-graph replay; operands are views of one buffer of normal random numbers, rotated over
as many places as exceed twice the L2 (at most 64); 2 ms of calls a replay, at most 200; the median of 3 replays (a slow first
one falls out of it). With --names the kernel's name comes from torch.profiler, one more call a product. Products
are drawn from a seeded mixture: linear products in three layouts, every dimension log-uniform in multiples of 1 to 256, batched products
as attention makes them, and runs of four near neighbours. One JSON line a product in OUT_DIR/gemm.jsonl, after a line with the environment.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_OF_SHAPES = 400
MAX_FLOPS, MAX_ELEMENTS = 1.5e13, 2**30
#: Timed replays of a product, calls in one, and the seconds of calls it holds.
REPLAYS, MAX_CALLS, REPLAY_US = 3, 200, 2e3
#: Multiples that dimensions come in, and how often: two in five sizes leave the grid of 8 elements, where times vary most.
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEP_SHARES = (0.12, 0.15, 0.15, 0.13, 0.09, 0.08, 0.13, 0.08, 0.07)
BATCHES = (8, 12, 16, 24, 32, 40, 64, 80, 96, 128, 160, 256)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def dimension(rng: np.random.Generator, low: int, high: int) -> int:
    """A log-uniform size in multiples of a random power of two."""
    step = int(rng.choice(STEPS, p=STEP_SHARES))
    return int(min(high, max(step, low, round(log_uniform(rng, low, high) / step) * step)))


def linear(rng: np.random.Generator) -> dict:
    layout = str(rng.choice(["NT", "NN", "TN"], p=[0.6, 0.2, 0.2]))
    m, n, k = dimension(rng, 1, 16384), dimension(rng, 64, 65536), dimension(rng, 64, 32768)
    return {"op": "linear", "dtype": "fp16" if rng.random() < 0.1 else "bf16", "layout": layout, "batch": 1, "m": m, "n": n, "k": k}


def batched(rng: np.random.Generator) -> dict:
    batch, sequence = int(rng.choice(BATCHES)), int(rng.choice([128, 256, 512, 1024, 2048, 4096]))
    head, score = dimension(rng, 8, 256), rng.random() < 0.5
    m, n, k = (sequence, sequence, head) if score else (sequence, head, sequence)
    return {"op": "bmm", "dtype": "bf16", "layout": "NT" if score else "NN", "batch": batch, "m": m, "n": n, "k": k}


def neighbours(rng: np.random.Generator) -> list[dict]:
    """Four products that differ by small steps in one dimension."""
    base = batched(rng) if rng.random() < 0.15 else linear(rng)
    axis, step = str(rng.choice(["m", "n", "k"])), int(rng.choice([1, 2, 4, 8, 16, 32, 64, 128]))
    start = max(step, base[axis] // step * step)
    return [{**base, axis: start + i * step} for i in range(4)]


def shapes(rng: np.random.Generator) -> Iterator[dict]:
    while True:
        draw = rng.random()
        drawn = [linear(rng)] if draw < 0.76 else [batched(rng)] if draw < 0.92 else neighbours(rng)
        for shape in drawn:
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
        self.stream = torch.cuda.Stream()
        with torch.cuda.stream(self.stream):  # the library's workspace of this stream is allocated outside every graph
            torch.mm(*(torch.ones(256, 256, device="cuda", dtype=torch.bfloat16) for _ in range(2)))
        torch.cuda.synchronize()

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
        calls[0]()  # chooses the kernel and loads it
        about_us = self._events(lambda: (calls[0](), calls[-1]())) / 2
        count = int(max(copies, min(MAX_CALLS, REPLAY_US / about_us)))
        graph = self._graph(calls, count)
        times = [self._events(graph.replay) / count for _ in range(REPLAYS)]
        return {"us": round(statistics.median(times), 3), "min_us": round(min(times), 3), "max_us": round(max(times), 3), "calls": count}

    def _graph(self, calls: list, count: int) -> torch.cuda.CUDAGraph:
        # Not `torch.cuda.graph`: it collects garbage and empties the cache at every capture, which takes longer than the product.
        graph = torch.cuda.CUDAGraph()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            graph.capture_begin()
            for i in range(count):
                calls[i % len(calls)]()
            graph.capture_end()
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


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 2026
    rng = np.random.default_rng(seed)
    properties = torch.cuda.get_device_properties(0)
    bench, source, started, total = Bench(properties.L2_cache_size), shapes(rng), time.time(), 0
    with (folder / "gemm.jsonl").open("w") as out:
        environment = {"gpu": properties.name, "torch": torch.__version__, "cuda": torch.version.cuda, "l2_bytes": properties.L2_cache_size,
                       "seed": seed, "replays": REPLAYS, "driver": driver(),
                       "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # fmt: skip
        out.write(json.dumps({"environment": environment}) + "\n")
        while time.time() - started < seconds:
            batch = [next(source) for _ in range(BATCH_OF_SHAPES)]
            rows = [{**shape, **bench.time(shape)} for shape in batch]
            names = [{"kernel": name} for name in bench.kernels(batch)] if "--names" in sys.argv else [{}] * len(batch)
            for row, name in zip(rows, names, strict=True):
                out.write(json.dumps({**row, **name}) + "\n")
            out.flush()
            total += len(batch)
            print(total, f"{total / (time.time() - started):.1f} products/s", rows[-1], flush=True)


if __name__ == "__main__":
    main()
