"""How much slower a kernel runs in a long run than in a burst: power and heat lower the clock of products that keep the tensor cores busy.

    python scripts/measure_sustained.py OUT_DIR

Needs torch and a GPU. Products of several alignment classes: CUDA-graph replays of 2 ms after half a second of rest (burst), against the
same replays back to back for two seconds (sustained), with the SM clock and power read in between. One JSON line a row in
OUT_DIR/sustained.jsonl. Whole layers are measured by `shapewright bench`; those in benchmarks/h200/layers/sustained.jsonl were made by an
earlier script (commit eb6df91).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

PRODUCTS = [
    (8192, 4096, 4096), (8192, 11008, 4096), (8192, 4096, 11008), (8192, 12288, 4096), (8192, 10240, 2560), (8192, 8192, 8192),
    (16384, 16384, 16384), (8192, 10922, 4096), (8192, 4096, 10922), (8192, 10923, 4096), (8192, 4096, 10923), (2048, 2048, 2048),
]  # fmt: skip


def card() -> dict:
    """Clock, power and temperature now; empty where the driver's tool does not say."""
    out = subprocess.run(
        ["nvidia-smi", "--query-gpu=clocks.sm,power.draw,temperature.gpu", "--format=csv,noheader,nounits"], capture_output=True, text=True
    )  # fmt: skip
    try:
        clock, power, temperature = (float(v) for v in out.stdout.strip().split(","))
    except ValueError:
        return {}
    return {"sm_clock_mhz": clock, "power_w": power, "temperature_c": temperature}


def graph_of(m: int, n: int, k: int) -> tuple[torch.cuda.CUDAGraph, int]:
    """A graph of about 2 ms of products over operand copies that exceed twice the L2, and the number of products in it."""
    copies = max(1, min(64, int(2 * 60e6 / (2 * (m * k + n * k)) + 1)))
    xs = [torch.randn(m, k, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
    ws = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
    torch.nn.functional.linear(xs[0], ws[0])
    torch.cuda.synchronize()
    start = time.perf_counter()
    torch.nn.functional.linear(xs[0], ws[0])
    torch.cuda.synchronize()
    calls = max(copies, min(200, int(2e-3 / (time.perf_counter() - start))))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            torch.nn.functional.linear(xs[i % copies], ws[i % copies])
    graph.keep = (xs, ws)  # type: ignore[attr-defined]
    return graph, calls


def replay_us(graph, calls: int) -> float:
    """Microseconds a call of one replay."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e3 / calls


def products(out) -> None:
    """Rows of the products: microseconds a call in bursts and back to back."""
    for m, n, k in PRODUCTS:
        graph, calls = graph_of(m, n, k)
        burst = []
        for _ in range(5):
            time.sleep(0.4)
            replay_us(graph, calls)
            burst.append(statistics.median(replay_us(graph, calls) for _ in range(3)))
        start, times = time.time(), []
        while time.time() - start < 2.0:
            times.append(replay_us(graph, calls))
        state = card()
        times += [replay_us(graph, calls) for _ in range(20)]
        row = {
            "kind": "product",
            "m": m,
            "n": n,
            "k": k,
            "burst_us": statistics.median(burst),
            "sustained_us": statistics.median(times[-100:]),
            **state,
        }
        out.write(json.dumps(row) + "\n")
        out.flush()
        tflops = 2 * m * n * k / row["burst_us"] / 1e6
        print(m, n, k, f"burst {tflops:.0f} TFLOP/s, sustained x{row['sustained_us'] / row['burst_us']:.3f}", state, flush=True)
        del graph  # its operands go with it
        torch.cuda.empty_cache()


def main() -> None:
    with (Path(sys.argv[1]) / "sustained.jsonl").open("w") as out:
        out.write(
            json.dumps(
                {
                    "environment": {
                        "gpu": torch.cuda.get_device_name(),
                        "torch": torch.__version__,
                        "cuda": torch.version.cuda,
                        **card(),
                    }
                }
            )
            + "\n"
        )
        products(out)


if __name__ == "__main__":
    main()
