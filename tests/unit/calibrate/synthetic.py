"""Products of a GPU that does not exist: an H200 whose library is slower than ours knows, so that a calibration has something to find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shapewright.calibrate.gemm import Rows, predicted_s
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Candidate, KernelMenu
from shapewright.predict.gemm import product_rates

RATES = product_rates(load_gpu("h200"), "bf16")
TRUTH = KernelMenu(
    launch_s=5e-6, prologue_s=1.2e-6, epilogue_s=1e-6, feed=1.4, bandwidth_share=0.6, softness=0.5, sharpness=3.0, split_s=4e-6,
    split_share=0.8, droop=0.03, grain=64,
    candidates=(
        Candidate(tile_m=128, tile_n=256, fill=0, efficiency=0.6), Candidate(tile_m=128, tile_n=128, fill=0, efficiency=0.5),
        Candidate(tile_m=64, tile_n=64, fill=0, efficiency=0.3), Candidate(tile_m=64, tile_n=64, fill=1, efficiency=0.3),
    ),
)  # fmt: skip


def products(count: int, seed: int) -> Rows:
    """Aligned products (NT) timed by the truth with 1 % of noise."""
    random = np.random.default_rng(seed)
    m, n, k = (np.exp(random.uniform(np.log(low), np.log(16384), count)).astype(int) // 8 * 8 for low in (8, 64, 64))
    rows = Rows(batch=np.ones(count, int), m=m, n=n, k=k, time_s=np.ones(count), groups=np.full(count, ""))
    noise = np.exp(0.01 * random.standard_normal(count))
    return Rows(batch=rows.batch, m=m, n=n, k=k, time_s=predicted_s(TRUTH, rows, RATES) * noise, groups=rows.groups)


def write_rows(path: Path, rows: Rows, *extra: dict[str, object], gpu: str = "NVIDIA H200") -> Path:
    """The rows as a measurement leaves them: the environment first, then one product a line; `extra` rows follow."""
    head = {"environment": {"gpu": gpu, "torch": "2.11.0+cu130", "cuda": "13.0"}}
    columns = zip(rows.m.tolist(), rows.n.tolist(), rows.k.tolist(), (1e6 * rows.time_s).tolist(), strict=True)
    each = [{"dtype": "bf16", "layout": "NT", "batch": 1, "m": m, "n": n, "k": k, "us": us} for m, n, k, us in columns]
    path.write_text("".join(json.dumps(row) + "\n" for row in (head, *each, *extra)))
    return path
