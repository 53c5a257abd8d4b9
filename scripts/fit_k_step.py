"""What products lose on an A100 (CUDA 11.7) whose k is an odd multiple of 8 elements: `k_step` and `k_share` of its aligned menus.

    python scripts/fit_k_step.py DATA_DIR [--write]

Rows: the paper's authors' logs, the vocabulary sweep (k = v inside, as Table II prints the logits) and the score products of whole heads
(k = h/a). A row counts by measured time over the tile model's, beside the median of its sweep at multiples of 64. The share is that which
takes the median loss of the linear rows at odd multiples of 8 away; --write puts it into the profile. The batched rows show no such
loss.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from shapewright.calibrate.products import Products
from shapewright.calibrate.sets.authors import layer_products
from shapewright.calibrate.sources import authors_rows
from shapewright.calibrate.table import read_table
from shapewright.hardware.load import load_gpu
from shapewright.operators.types import Gemm
from shapewright.predict.gemm import estimate_gemms
from shapewright.predict.profiles import FOLDER, load_profile

GPU, LIBRARY, STEP = "a100-40gb", "cuda11.7", 16
MENUS = ("aligned_nt", "aligned_nn_tn")


def ratios(products: Products, share: float) -> np.ndarray:
    """Measured over predicted time, products off the step at `share` of the efficiency."""
    gpu = load_gpu(GPU)
    profile = load_profile(gpu, LIBRARY)
    stepped = {name: replace(profile.menus[name], k_step=STEP, k_share=share) for name in MENUS}
    columns = (products.batch, products.m, products.n, products.k, products.dtype, products.layout)
    gemms = [
        Gemm(batch=b, m=m, n=n, k=k, dtype=dtype, layout=layout)
        for b, m, n, k, dtype, layout in zip(*(column.tolist() for column in columns), strict=True)
    ]
    estimates = estimate_gemms(gemms, gpu, replace(profile, menus={**profile.menus, **stepped}))
    return products.time_s / np.array([each.time_s for each in estimates])


def print_losses(products: Products, name: str) -> None:
    """The table by the power of two that divides k."""
    power = products.k & -products.k
    found = ratios(products, 1.0)
    base = float(np.median(found[power >= 64]))
    print(f"{name}: time over the tile model's, beside that at multiples of 64 ({(power >= 64).sum()} rows)")
    for each in (8, 16, 32):
        own = found[power == each] / base
        if len(own):
            print(f"  k a multiple of {each:2d} only: {len(own)} rows, median {np.median(own):.3f}, {own.min():.3f} to {own.max():.3f}")


def step_errors(folder: Path, share: float | None = None) -> np.ndarray:
    """ln(measured ratio) - ln(predicted ratio) of products off the step beside the median of those on it (share None: the profile's)."""
    products = linear_rows(folder)
    share = load_profile(load_gpu(GPU), LIBRARY).menus[MENUS[0]].k_share if share is None else share
    found, is_whole = np.log(ratios(products, share)), products.k % STEP == 0
    return found[~is_whole] - np.median(found[is_whole])


def linear_rows(folder: Path) -> Products:
    """The vocabulary sweep: one product at neighbouring k."""
    (logs,) = [each.products for each in authors_rows(folder) if each.gpu.name == GPU]
    return logs.take((logs.batch == 1) & (logs.k > 50000) & (logs.k % 8 == 0) & (logs.n % 64 == 0))


def main() -> None:
    folder = Path(sys.argv[1])
    layers = read_table(folder / "paper/layers.csv")
    batched = layer_products(layers.take(layers.texts("gpu") == "a100"))
    # Scores: NT, as many rows as columns; heads of 64 to 128, as other sizes run on other tiles.
    batched = batched.take((batched.batch > 1) & (batched.layout == "NT") & (batched.k % 8 == 0) & (batched.k >= 64) & (batched.k <= 128))
    print_losses(linear_rows(folder), "linear")
    print_losses(batched, "batched")
    shares = np.linspace(0.7, 1, 301)
    share = round(float(min(shares, key=lambda each: abs(np.median(step_errors(folder, float(each)))))), 3)
    print(f"share of the efficiency: {share}, which leaves {100 * np.abs(step_errors(folder, share)).max():.1f} % at most")
    if "--write" in sys.argv:
        write(share)


def write(share: float) -> None:
    path = FOLDER / f"{GPU}.{LIBRARY}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for menu in MENUS:
        data["menus"][menu] |= {"k_step": STEP, "k_share": share}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
