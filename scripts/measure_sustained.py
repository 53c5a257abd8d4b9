"""How much slower a kernel runs in a long run than in a burst: power and heat lower the clock of products that keep the tensor cores busy.

    python scripts/measure_sustained.py OUT_DIR

Needs torch, transformers and a GPU. (1) Products of several alignment classes: CUDA-graph replays of 2 ms after half a second of rest
(burst), against the same replays back to back for two seconds (sustained), with the SM clock and power read in between. (2) Layers of
Llama-2-7B with MLP widths 11008, 10922, 10923 and of other models, forward and forward + backward in eager mode without a cache: wall time
a layer by the difference of 6 and 2 layers, interleaved over 7 rounds. One JSON line a row in OUT_DIR/sustained.jsonl.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import torch
import transformers

PRODUCTS = [
    (8192, 4096, 4096), (8192, 11008, 4096), (8192, 4096, 11008), (8192, 12288, 4096), (8192, 10240, 2560), (8192, 8192, 8192),
    (16384, 16384, 16384), (8192, 10922, 4096), (8192, 4096, 10922), (8192, 10923, 4096), (8192, 4096, 10923), (2048, 2048, 2048),
]  # fmt: skip
LLAMA = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32}
LAYERS = {
    "llama-2-7b": ("llama", {**LLAMA, "intermediate_size": 11008}),
    "llama-2-7b-10922": ("llama", {**LLAMA, "intermediate_size": 10922}),
    "llama-2-7b-10923": ("llama", {**LLAMA, "intermediate_size": 10923}),
    "llama-3-8b": ("llama", {**LLAMA, "num_key_value_heads": 8, "intermediate_size": 14336}),
    "gpt3-2.7b": ("gpt_neox", {"hidden_size": 2560, "num_attention_heads": 32, "intermediate_size": 10240, "use_parallel_residual": False}),
    "pythia-1b": ("gpt_neox", {"hidden_size": 2048, "num_attention_heads": 8, "intermediate_size": 8192}),
    "phi-2": ("phi", {"hidden_size": 2560, "num_attention_heads": 32, "intermediate_size": 10240, "partial_rotary_factor": 0.4}),
}


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


def layer_step(kind: str, options: dict, depth: int):
    """A model of `depth` layers as a function that runs it forward, and backward if asked."""
    config = transformers.AutoConfig.for_model(kind, **options, num_hidden_layers=depth, vocab_size=256, use_cache=False)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    ids = torch.randint(0, 256, (4, 2048), device="cuda")

    def step(backward: bool):
        if not backward:
            with torch.no_grad():
                model(input_ids=ids, use_cache=False)
            return
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    return step


def wall_ms(step, backward: bool, seconds: float) -> float:
    """Mean wall time of steps issued back to back for `seconds`."""
    torch.cuda.synchronize()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(3):
            step(backward)
        torch.cuda.synchronize()
        count += 3
    return (time.perf_counter() - start) / count * 1e3


def layers(out) -> None:
    """Rows of the layers: wall milliseconds of one layer, forward and forward + backward, models and depths interleaved."""
    steps = {(name, depth): layer_step(kind, options, depth) for name, (kind, options) in LAYERS.items() for depth in (2, 6)}
    times: dict = {}
    for backward in (False, True):
        for step in steps.values():
            wall_ms(step, backward, 0.15)
        for round_, ((name, depth), step) in product(range(7), steps.items()):
            times.setdefault((name, depth, backward), []).append(wall_ms(step, backward, 0.25))
            state = card() if round_ == 3 else {}
            if state:
                out.write(json.dumps({"kind": "state", "model": name, "depth": depth, "backward": backward, **state}) + "\n")
    for name in LAYERS:
        row: dict = {"kind": "layer", "model": name}
        for backward, label in ((False, "forward_ms"), (True, "forward_backward_ms")):
            deltas = [(b - a) / 4 for a, b in zip(times[name, 2, backward], times[name, 6, backward], strict=True)]
            row[label] = statistics.median(deltas)
            row[label.replace("_ms", "_rounds_ms")] = deltas
        out.write(json.dumps(row) + "\n")
        print(name, {k: round(v, 2) for k, v in row.items() if k.endswith("d_ms")}, flush=True)


def main() -> None:
    with (Path(sys.argv[1]) / "sustained.jsonl").open("w") as out:
        out.write(
            json.dumps(
                {
                    "environment": {
                        "gpu": torch.cuda.get_device_name(),
                        "torch": torch.__version__,
                        "cuda": torch.version.cuda,
                        "transformers": transformers.__version__,
                        **card(),
                    }
                }
            )
            + "\n"
        )
        products(out)
        layers(out)


if __name__ == "__main__":
    main()
