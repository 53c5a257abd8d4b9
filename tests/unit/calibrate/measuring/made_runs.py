"""Run files of made-up rows, in the form that the store writes: a header, then rows. Times follow a simple rule: answers are known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint, Point, settings_of

ENVIRONMENT = {"gpu": "NVIDIA H200", "torch": "2.11.0+cu130", "cuda": "13.0", "driver": "580.1", "time": "2026-11-22T08:00:00Z"}
KERNELS = {1: "cutlass_75_tensorop_bf16_s1688gemm_bf16_128x128_nn_align1", 2: "cutlass_80_tensorop_bf16_s16816gemm_bf16_nn_align2"}
NVJET = "nvjet_sm90_tst_160x256_64x3_2x1_v_bz_coopA_NTN"
#: Leading dimensions of the operands by layout: those whose alignment the made-up GPU cares for.
LEADING = {"NT": ("k",), "NN": ("k", "n"), "TN": ("m", "n")}
SLOW = {1: 4.0, 2: 2.0, 4: 2.0}


def row_of(point: Point, time_s: float, **columns: Any) -> dict[str, Any]:
    """A measured row."""
    times = {"time_s": time_s, "min_s": 0.98 * time_s, "max_s": 1.02 * time_s, "num_replays": 5}
    return settings_of(point) | {"status": "ok", **times, "at": "2026-11-22T08:00:10Z"} | columns


def write_run(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A run file of one start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"environment": ENVIRONMENT, "schema_version": 1, "protocol": {}}, *rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def gemm_row(point: GemmPoint, *, factor: float = 1.0) -> dict[str, Any]:
    """A product at 500 TFLOP/s where every leading dimension is a multiple of 8, else 2 or 4 times slower."""
    worst = min(8, *((size := getattr(point, name)) & -size for name in LEADING[point.layout]))
    slow = SLOW.get(worst, 1.0) if point.dtype != "fp8" else 1.0
    time_s = factor * slow * 2.0 * point.batch * point.m * point.n * point.k / 5e14
    return row_of(point, time_s, kernel=KERNELS.get(min(worst, 2), NVJET) if worst < 8 else NVJET)


def compiled_row(point: GemmPoint) -> dict[str, Any]:
    """What a compiler would do that pads odd sizes alone, at a cost of a tenth."""
    plain = gemm_row(point)
    if "cutlass_75" not in plain["kernel"]:
        return plain
    return plain | {"time_s": plain["time_s"] / 4 * 1.1, "kernel": f"triton_poi_fused_constant_pad_nd_0 + {NVJET}"}


def attention_row(point: AttentionPoint) -> dict[str, Any]:
    """Time in proportion to the head size rounded up to 16."""
    return row_of(point, 1e-6 * (-(-point.head_dim // 16) * 16) * (2.5 if point.is_backward else 1), kernel="flash_fwd_kernel")


def layer_row(point: LayerPoint, time_s: float, *, is_host_bound: bool = False) -> dict[str, Any]:
    kernel_s = time_s * (0.6 if is_host_bound else 0.99)
    return row_of(point, time_s, kernel_s=kernel_s, is_host_bound=is_host_bound, spread_percent=4.0)
