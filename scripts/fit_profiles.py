"""Fits the shipped profiles to measured data and writes them to src/shapewright/hardware/profiles.

    python scripts/fit_profiles.py DATA_DIR

DATA_DIR holds h200/gemm.csv, gpu/gemm.parquet and paper/{gemm,layers}.csv (see its README for their origin). Needs numpy, scipy, pandas and
pyarrow. For each GPU the products of each alignment class are split by (n, k): 70 % are fitted, 30 % give the held-out error and the
intervals. What is not fitted here (memory-bound kernels, attention, collectives, launches) stands in `scripts/profile_constants.toml` with
its origin.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from shapewright.calibrate.gemm import Rows, fit_menu, held_out_spreads, is_held_out, predicted_s
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import KernelMenu, Spread
from shapewright.predict.gemm_classes import classify_products
from shapewright.predict.gemm_model import LAYOUT_CODES, Rates

HERE = Path(__file__).parent
OUT = HERE.parent / "src/shapewright/hardware/profiles"
BASE_EFFICIENCY = {"half": 0.28, "odd": 0.14}


def h200(folder: Path) -> pd.DataFrame:
    """Random products of one H200, misaligned ones included."""
    data = pd.read_csv(folder / "h200/gemm.csv")
    return data.assign(time_s=data.us * 1e-6)


def aiconfigurator(folder: Path, gpu: str) -> pd.DataFrame:
    """Published bf16 products (NT) of the GPUs whose name begins with `gpu`; rows marked suspect are left out."""
    data = pd.read_parquet(folder / "gpu/gemm.parquet")
    for name in ("source", "gpu", "op", "dtype", "suspect"):
        data[name] = data[name].astype(str)
    keep = (
        (data.source == "aiconfigurator")
        & data.gpu.str.startswith(gpu)
        & (data.dtype == "bf16")
        & (data.op == "linear")
        & (data.suspect == "")
    )
    data = data[keep].reset_index(drop=True)
    return data.assign(layout="NT", time_s=data.latency_us.astype(float) * 1e-6)


def published(folder: Path, source: str, gpu: str) -> pd.DataFrame:
    """Rows of another published set: DeepBench (V100, cuBLAS 10) or hipBLASLt's own tuning results (CDNA), both 16-bit."""
    data = pd.read_parquet(folder / "gpu/gemm.parquet")
    for name in ("source", "gpu", "op", "dtype", "layout", "suspect"):
        data[name] = data[name].astype(str)
    keep = (data.source == source) & (data.gpu == gpu) & data.dtype.isin(["fp16", "bf16"]) & (data.suspect == "")
    # Their layouts are named for column-major matrices; aligned products of NN and TN share a class, so that the name does not matter.
    keep &= (data.m % 8 == 0) & (data.n % 8 == 0) & (data.k % 8 == 0)
    data = data[keep].reset_index(drop=True)
    return data.assign(layout="NN", time_s=data.latency_us.astype(float) * 1e-6)


def authors(folder: Path, gpu: str) -> pd.DataFrame:
    """The authors' logs: torch.mm sweeps (NN), and for the A100 the operators of a layer by hidden size."""
    gemm = pd.read_csv(folder / "paper/gemm.csv")
    gemm = gemm[gemm.gpu == gpu].assign(layout="NN")
    gemm["op"] = gemm.op.replace({"gemm": "linear"})
    frames = [gemm[["op", "layout", "batch", "m", "n", "k", "tflops"]]]
    layers = pd.read_csv(folder / "paper/layers.csv")
    layers = layers[(layers.gpu == gpu) & layers.component.str.startswith("estimate_") & (layers.tensor_parallel == 1)]
    if len(layers):
        frames.append(layer_operators(layers))
    data = pd.concat(frames, ignore_index=True)
    flops = 2.0 * data.batch * data.m * data.n * data.k
    return data.assign(time_s=flops / (data.tflops * 1e12), dtype="fp16")


def layer_operators(layers: pd.DataFrame) -> pd.DataFrame:
    """Shapes of the logged operators (Table II of the paper)."""
    rows = []
    for row in layers.itertuples():
        h, s, tokens = row.hidden_size, row.sequence, row.micro_batch * row.sequence
        heads, head = row.micro_batch * row.heads, row.hidden_size // row.heads
        op, layout, batch, m, n, k = {
            "estimate_attention_key_value_query_transform": ("linear", "NT", 1, tokens, 3 * h, h),
            "estimate_attention_key_query_prob": ("bmm", "NT", heads, s, s, head),
            "estimate_attention_prob_times_values": ("bmm", "NN", heads, s, head, s),
            "estimate_attention_linear_projection": ("linear", "NT", 1, tokens, h, h),
            "estimate_mlp_h_to_4h": ("linear", "NT", 1, tokens, 4 * h, h),
            "estimate_mlp_4h_to_h": ("linear", "NT", 1, tokens, h, 4 * h),
        }[row.component]
        rows.append({"op": op, "layout": layout, "batch": batch, "m": m, "n": n, "k": k, "tflops": row.value})
    return pd.DataFrame(rows)


def fit_classes(data: pd.DataFrame, rates: Rates, pool: dict[str, str]) -> tuple[dict[str, KernelMenu], dict[str, dict]]:
    """A menu for every alignment class with at least 40 rows, and its held-out error. `pool` fits several classes as one."""
    layout = data.layout.map(LAYOUT_CODES).to_numpy()
    size = [data[name].to_numpy(np.int64) for name in ("batch", "m", "n", "k")]
    names, groups = classify_products(*size, layout, rates.size_bytes)
    menus, errors = {}, {}
    merged = np.array([pool.get(name, name) for name in names])
    for name in sorted(set(merged)):
        inside = np.flatnonzero(merged == name)
        if len(inside) < 40:
            continue
        rows = Rows(batch=size[0], m=size[1], n=size[2], k=size[3], time_s=data.time_s.to_numpy(), groups=groups).take(inside)
        out = is_held_out(rows.n, rows.k)
        fitted, held = rows.take(np.flatnonzero(~out)), rows.take(np.flatnonzero(out))
        if len(fitted) > 6000:
            fitted = fitted.take(np.random.default_rng(0).choice(len(fitted), 6000, replace=False))
        menu = fit_menu(fitted, rates, base_efficiency=BASE_EFFICIENCY.get(name, 0.85), grain=16 if name in BASE_EFFICIENCY else 64)
        menus[name] = replace(menu, spreads=held_out_spreads(menu, held, rates))
        error = 100 * np.abs(predicted_s(menu, held, rates) / held.time_s - 1)
        errors[name] = {
            "rows_fitted": len(fitted),
            "rows_held_out": len(held),
            "mape_percent": round(float(error.mean()), 2),
            "median_percent": round(float(np.median(error)), 2),
            "p90_percent": round(float(np.quantile(error, 0.9)), 2),
        }
        print(name, errors[name], flush=True)
    return menus, errors


def carried(menu: KernelMenu, origin: str, own: KernelMenu) -> KernelMenu:
    """The menu of another GPU or library: no fitted row, wider intervals; the fixed times are those of `own` protocol and library."""
    spreads = tuple(Spread(low=round(each.low * 0.8, 3), high=round(each.high * 1.25, 3)) for each in menu.spreads)
    return replace(menu, num_rows=0, origin=origin, spreads=spreads, launch_s=own.launch_s, split_s=own.split_s)


def menu_json(menu: KernelMenu) -> dict:
    """A menu as `hardware.profile` reads it, constants to four digits."""
    data = {key: (float(f"{value:.4g}") if isinstance(value, float) else value) for key, value in asdict(menu).items()}
    data["candidates"] = [[c.tile_m, c.tile_n, c.fill, round(c.efficiency, 4)] for c in menu.candidates]
    data["groups"] = {name: round(value, 4) for name, value in menu.groups.items()}
    data["spreads"] = [[each.low, each.high] for each in menu.spreads]
    return data


def write(profile: dict, constants: dict, menus: dict[str, KernelMenu], errors: dict) -> None:
    """The profile's file: fitted menus, and what `constants` say of everything else."""
    gpu, library = profile["name"].split(".", 1)
    memory = {
        pattern: {
            "bandwidth_share": share,
            "bytes_per_clock": per_clock,
            "fixed_s": fixed_s,
            "is_measured": pattern in profile["measured_patterns"],
        }
        for pattern, (share, per_clock, fixed_s) in constants[profile["memory"]]["memory"].items()
    }
    data = {
        "schema_version": 1,
        "gpu": gpu,
        "library": library,
        "provenance": "calibrated",
        "sources": profile["sources"],
        "notes": profile.get("notes", []),
        "fitted_dtypes": profile["fitted_dtypes"],
        "launch_host_s": constants["launch_host_s"],
        "power": constants["power"][profile["power"]],
        "accuracy": errors,
        "memory": memory,
        "attention": constants[profile["attention"]]["attention"],
        "collectives": constants["collectives"],
        "spreads": constants["spreads"],
        "menus": {name: menu_json(menu) for name, menu in sorted(menus.items())},
    }
    (OUT / f"{profile['name']}.json").write_text(json.dumps(data, indent=1) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    constants = tomllib.loads((HERE / "profile_constants.toml").read_text())
    fitted: dict[str, dict[str, KernelMenu]] = {}
    frames = {
        "h200.cuda13": (h200(folder), {}),
        "a100-40gb.cuda11.7": (authors(folder, "a100"), {"aligned_nn_tn": "aligned_nt"}),
        "a100-80gb.cuda13": (aiconfigurator(folder, "A100"), {}),
        "h100.cuda13": (aiconfigurator(folder, "H100"), {}),
        "v100-16gb.cuda11.3": (
            pd.concat([authors(folder, "v100"), published(folder, "deepbench", "V100-SXM2-16GB")]),
            {"aligned_nt": "aligned_nn_tn"},
        ),
        "mi250x.rocm5.6": (
            pd.concat([authors(folder, "mi250x"), published(folder, "hipblaslt_logic", "MI250X-GCD")]),
            {"aligned_nt": "aligned_nn_tn"},
        ),
    }
    OUT.mkdir(exist_ok=True)
    for profile in constants["profile"]:
        key = profile["name"]
        data, pool = frames[key]
        gpu = load_gpu(key.split(".")[0])
        dtype = data.dtype.iloc[0]
        rates = Rates(
            num_sms=gpu.num_sms, flops_per_s=gpu.flops_per_s[dtype], bytes_per_s=gpu.memory_bytes_per_s, size_bytes=2, output_bytes=2
        )
        print("==", key, len(data), flush=True)
        menus, errors = fit_classes(data, rates, pool)
        own = menus.get("aligned_nt") or menus["aligned_nn_tn"]
        for name in ("aligned_nt", "aligned_nn_tn"):
            menus.setdefault(name, carried(own, f"{key} (other layout)", own) if name not in pool else own)
        fitted[key] = menus
        for parent in profile["inherits"]:
            for name, menu in fitted[parent].items():
                menus.setdefault(name, carried(menu, parent, own))
        write(profile, constants, menus, errors)


if __name__ == "__main__":
    main()
