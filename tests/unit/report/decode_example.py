"""Rows of decode as an H200 might leave them: made up, with times that follow from a few factors, for tests alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shapewright.decode.bench_bytes import read_cache_bytes, read_weight_bytes
from shapewright.decode.bench_rows import ENGINES, Check, Row, row_json
from shapewright.measure.store import Run
from shapewright.read.resolve import load_shape

GPU = "NVIDIA H200"
ENVIRONMENT = {"gpu": GPU, "torch": "2.11.0", "triton": "3.6.0", "transformers": "5.17.0", "python": "3.12.3", "commit": "abc"}
#: Bytes a second of the read, and an engine's time over the read's; hf has a host of 20 ms.
READ_BYTES_PER_S = 4.5e12
FACTORS: Mapping[str, float] = {"hf-static-compile": 2.0, "gpt-fast": 1.5, "ours-generate": 1.16, "ours-loop": 1.1, "read": 1.0}
HOST_S = 0.02


def row(model: str, engine: str, batch: int = 1, context: int = 128, **more: Any) -> Row:
    """A good row, of 5 repeats with 1 % between them."""
    shape = load_shape(model)
    weight_bytes, cache_bytes = read_weight_bytes(shape, 2), read_cache_bytes(shape, 2, batch=batch, tokens=context + 80)
    read_s = (weight_bytes + cache_bytes) / READ_BYTES_PER_S
    step_s = more.pop("step_s", None) or (read_s * FACTORS[engine] if engine in FACTORS else max(HOST_S, 2 * read_s))
    base = weight_bytes + cache_bytes
    own = {
        "repeats_s": tuple(128 * step_s * factor for factor in (1.0, 0.99, 1.01, 1.0, 1.0)), "time_per_step_s": step_s,
        "tokens_per_s": batch / step_s, "min_s": 128 * step_s * 0.99, "max_s": 128 * step_s * 1.01, "deviation_s": 128 * step_s * 0.004,
        "weight_bytes": weight_bytes, "cache_bytes": cache_bytes, "speed_of_light": read_s / step_s,
        "ttft_s": None if engine == "read" else 0.025, "warmup_s": 12.5 if "ours" in engine else 30.0,
        "memory_peak_bytes": None if engine == "read" else round(base * (1.02 if "ours" in engine else 1.0)), "together": ENGINES,
    }  # fmt: skip
    versions = {name: value for name, value in ENVIRONMENT.items() if name not in ("gpu", "commit")}
    made = {
        "model": model, "family": model.partition("-")[0], "num_parameters": shape.num_params,
        "engine": engine, "batch": batch, "context": context, "new_tokens": 128, "warmup_tokens": 16, "dtype": "bf16", "gpu": GPU,
        "versions": versions, "commit": "abc", "started_at": "2026-11-22T20:00:00Z",
    }  # fmt: skip
    return Row(**made | own | more)


def failed(model: str, engine: str, batch: int = 1, context: int = 128) -> Row:
    """A row of an engine that ran out of memory."""
    none = dict.fromkeys(
        ("time_per_step_s", "tokens_per_s", "min_s", "max_s", "deviation_s", "speed_of_light", "ttft_s", "memory_peak_bytes")
    )
    more = {"status": "out_of_memory", "error": "OutOfMemoryError: CUDA out of memory", "repeats_s": (), "together": ()}
    return row(model, engine, batch, context, **none | more)


def grid(
    model: str, cells: tuple[tuple[int, int], ...], engines: tuple[str, ...] = tuple(n for n in ENGINES if n != "hf-eager")
) -> list[Row]:
    """Every engine in every cell."""
    return [row(model, engine, batch, context) for batch, context in cells for engine in engines]


def check(model: str = "llama-2-7b", **more: Any) -> Check:
    """An engine that is near Hugging Face."""
    own = {
        "model": model, "engine": "ours-generate", "dtype": "bf16", "batch": 1, "context": 128, "num_tokens": 16, "num_equal_tokens": 15,
        "max_relative_difference": 0.004, "gpu": GPU,
    }  # fmt: skip
    return Check(**own | more)


def write_run(path: Path, rows: list[Row | Check]) -> Path:
    """A run file of them."""
    with Run.open(path) as run:
        run.start(ENVIRONMENT, {"repeats": 5})
        run.append([row_json(each) for each in rows])
    return path
