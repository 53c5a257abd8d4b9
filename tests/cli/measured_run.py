"""A run file as an H200 would leave it: every kind of row, failed ones too, with times near the predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shapewright.calibrate.compare import Compared, compare_points
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint, HostPoint, LayerPoint, MemoryPoint, ModelPoint, Point, settings_of

ENVIRONMENT = {"gpu": "NVIDIA H200", "torch": "2.11.0+cu130", "cuda": "13.0", "time": "2026-11-20T10:00:00Z"}
POINTS: tuple[Point, ...] = (
    *(GemmPoint(m=8192, n=n, k=4096) for n in (10920, 10922, 10923, 11008)),
    GemmPoint(m=2048, n=2048, k=80, batch=32, call="bmm"),
    GemmPoint(m=512, n=512, k=512, layout="TN", runtime="compiled"),
    AttentionPoint(batch=4, num_heads=32, num_kv_heads=8, query_len=2048, kv_len=2048, head_dim=128),
    AttentionPoint(batch=4, num_heads=32, num_kv_heads=32, query_len=512, kv_len=512, head_dim=80, backend="unfused"),
    AttentionPoint(batch=4, num_heads=32, num_kv_heads=8, query_len=2048, kv_len=2048, head_dim=128, backend="efficient"),
    MemoryPoint(op="layer_norm", rows=8192, width=4096),
    HostPoint(what="launch"),
    LayerPoint(model="llama-2-7b"),
    LayerPoint(model="llama-2-7b", changes="intermediate_size=10923", phase="train"),
    ModelPoint(model="gpt2", phase="decode"),
)  # fmt: skip


def ok_row(point: Point, time_s: float, **more: Any) -> dict[str, Any]:
    """A good row; `error` of 1 % between its quantiles."""
    times = {"time_s": time_s, "min_s": 0.99 * time_s, "low_s": 0.995 * time_s, "high_s": 1.005 * time_s, "max_s": 1.01 * time_s}
    counts = {"first_s": 1e-3, "num_replays": 5, "num_calls": 10, "num_copies": 4, "method": "graph"}
    return {**settings_of(point), "status": "ok", **times, **counts, "at": "2026-11-20T10:00:00Z", **more}


def rows(factor: float = 1.1) -> list[dict[str, Any]]:
    """Every point at `factor` times its prediction (1 ms where there is none), and two failed rows."""
    answers = compare_points(POINTS, load_gpu("h200"))
    good = [
        ok_row(point, factor * (answer.predicted_s if isinstance(answer, Compared) else 1e-3))
        for point, answer in zip(POINTS, answers, strict=True)
    ]  # fmt: skip
    good[-1] |= {"kernel_s": good[-1]["time_s"] / 3, "is_host_bound": True}
    lost = {**settings_of(GemmPoint(m=2**20, n=2**20, k=64)), "status": "out_of_memory", "error": "CUDA out of memory", "at": ""}
    late = {**settings_of(GemmPoint(m=1, n=1, k=1)), "status": "timed_out", "error": "no answer for 120 s", "at": ""}
    return [*good, lost, late]


def write_run(path: Path, found: list[dict[str, Any]], environment: dict[str, Any] | None = None) -> Path:
    """A run file of these rows."""
    header = {"environment": environment or ENVIRONMENT, "schema_version": 1, "protocol": {}}
    path.write_text("".join(json.dumps(each) + "\n" for each in (header, *found)))
    return path
