"""Fits the products of the GPUs with many measured rows and writes their shipped profiles to src/shapewright/hardware/profiles.

    python scripts/fit_profiles.py DATA_DIR [PROFILE ...]

DATA_DIR holds h200/{gemm,local}.csv, gpu/gemm.parquet and paper/{gemm,layers}.csv (its README tells their origin); the rows of our own H200
lie in benchmarks/h200. Products are split by (n, k): what `is_held_out` names is never fitted and gives errors and intervals. A
profile's attention, memory and collectives stay as they are in its file (scripts/fit_attention_memory.py and fit_collectives.py write
them); GPUs with few rows follow in scripts/fit_thin_profiles.py, and whole steps, last, in scripts/fit_steps.py. What is fitted nowhere
stands in `scripts/profile_constants.toml` with its origin. The H200 takes a quarter of an hour on two cores, the others two minutes each.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shapewright.calibrate.calibration import menu_document
from shapewright.calibrate.fit import fit_classes
from shapewright.calibrate.gemm import is_held_out
from shapewright.calibrate.products import Products, read_products
from shapewright.calibrate.scored import Array
from shapewright.calibrate.sources import ATTENTION_FILES, OWN_HELD_OUT, TERA, authors_rows, joined, own_rows, run_rows, source_rows
from shapewright.calibrate.table import read_table
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Candidate, KernelMenu, Spread
from shapewright.measure.plan import load_plan
from shapewright.measure.points import GemmPoint
from shapewright.predict.gemm import PLAIN, product_rates

HERE = Path(__file__).parent
PAPER_PLAN = HERE.parent / "benchmarks/plans/paper.toml"
OUT = HERE.parent / "src/shapewright/hardware/profiles"
#: Products, which of them are held out, and how often each counts in a correction.
Split = tuple[Products, Array, Array]
#: Cards of one kind differ (products split along k by up to 9 %, docs/log.md): rows of the published draw's card, and of the two cards of
#: our runs, count as often as brings them nearer the share of our older draws.
PUBLISHED_REPEATS, RUN_REPEATS = 4, 2
#: Batched products with many heads or large ones are few beside the others of their class.
ATTENTION_REPEATS = 5


def pairs(products: Products) -> Array:
    """One number a (n, k)."""
    return products.n.astype(np.int64) << 32 | products.k.astype(np.int64)


def sizes(products: Products) -> Array:
    """One number a shape, whatever its dtype and layout."""
    return pairs(products) * 4097 + products.batch * 131 + products.m


def figures() -> Products:
    """The products of the paper's figures, without times."""
    points = [point for point in load_plan(PAPER_PLAN).points if isinstance(point, GemmPoint)]
    columns = {name: np.array([getattr(point, name) for point in points]) for name in ("batch", "m", "n", "k", "dtype", "layout")}
    return Products(**columns, time_s=np.full(len(points), np.nan))


def h200(folder: Path) -> Split:
    """Products of H200s: the published draw, the repository's and its runs, each with its split.

    Nothing is fitted of the sweeps in local.csv, nor any product with an (n, k) of theirs or of the rows held out, nor a product of the
    paper's figures (benchmarks/plans/paper.toml).
    """
    gpu = load_gpu("h200")
    first, sweeps = (read_products(read_table(folder / f"h200/{name}.csv"), gpu) for name in ("gemm", "local"))
    own, runs, attention = own_rows(), run_rows(), run_rows(ATTENTION_FILES)
    assert own is not None and runs is not None and attention is not None
    attention = attention.take(~np.isin(sizes(attention), sizes(figures())))
    products = joined([first, own, runs, attention])
    held = np.concatenate([is_held_out(first.n, first.k), *(is_held_out(each.n, each.k, OWN_HELD_OUT) for each in (own, runs, attention))])
    repeats = np.repeat([PUBLISHED_REPEATS, 1, RUN_REPEATS, ATTENTION_REPEATS], [len(first), len(own), len(runs), len(attention)])
    is_free = ~np.isin(pairs(products), np.concatenate([pairs(products.take(held)), pairs(sweeps)]))
    kept = held | is_free
    return products.take(kept), held[kept], repeats[kept]


def published(folder: Path, gpu: str) -> Split:
    """aiconfigurator's bf16 products, and on the A100 vidur's fp16 ones: kernel durations, which a flag of the dtype tells apart."""
    parts = [each.products for each in source_rows(folder, {gpu})]
    table = read_table(folder / "gpu/gemm.parquet")
    keep = (table.texts("source") == "vidur") & (table.texts("op") == "linear") & (table.texts("suspect") == "")
    keep &= table.texts("gpu") == {"a100-80gb": "A100-SXM4-80GB"}.get(gpu, "")
    if keep.any():
        rows = table.take(keep)
        sizes = {name: rows.integers(name) for name in ("batch", "m", "n", "k")}
        count = len(rows)
        parts.append(
            Products(**sizes, dtype=np.full(count, "fp16"), layout=np.full(count, "NT"), time_s=rows.positive("latency_us") * 1e-6)
        )
    return evenly(joined(parts))


def evenly(products: Products) -> Split:
    """The usual split by (n, k), every row alike."""
    return products, is_held_out(products.n, products.k), np.ones(len(products), np.int64)


def authors(folder: Path) -> Split:
    """The authors' logs of the A100: torch.mm sweeps (NN), and the operators of a layer by hidden size."""
    sweeps = [each.products for each in authors_rows(folder) if each.gpu.name == "a100-40gb"]
    return evenly(joined([*sweeps, layer_operators(folder)]))


def layer_operators(folder: Path) -> Products:
    """The logged operators of layers without tensor parallelism, as Table II of the paper names their shapes."""
    table = read_table(folder / "paper/layers.csv")
    component = table.texts("component")
    keep = (table.texts("gpu") == "a100") & (np.char.find(component, "estimate_") == 0) & (table.integers("tensor_parallel") == 1)
    rows, component = table.take(keep), component[keep]
    hidden, heads, sequence = (rows.integers(name) for name in ("hidden_size", "heads", "sequence"))
    micro = rows.integers("micro_batch")
    tokens, batch, head = micro * sequence, micro * heads, hidden // heads
    one, names = np.ones_like(tokens), np.array([name.removeprefix("estimate_") for name in component.tolist()])
    shapes = {
        "attention_key_value_query_transform": ("NT", one, tokens, 3 * hidden, hidden),
        "attention_key_query_prob": ("NT", batch, sequence, sequence, head),
        "attention_prob_times_values": ("NN", batch, sequence, head, sequence),
        "attention_linear_projection": ("NT", one, tokens, hidden, hidden),
        "mlp_h_to_4h": ("NT", one, tokens, 4 * hidden, hidden),
        "mlp_4h_to_h": ("NT", one, tokens, hidden, 4 * hidden),
    }
    tflops = rows.positive("value")
    parts = []
    for name, (layout, *sizes) in shapes.items():
        own = names == name
        b, m, n, k = (size[own] for size in sizes)
        time_s = 2.0 * b * m * n * k / (tflops[own] * TERA)
        parts.append(Products(batch=b, m=m, n=n, k=k, dtype=np.full(len(b), "fp16"), layout=np.full(len(b), layout), time_s=time_s))
    return joined(parts)


def carried(menu: KernelMenu, origin: str, own: KernelMenu, *, is_same_chip: bool) -> KernelMenu:
    """The menu of another GPU or library: no fitted row, wider intervals; the fixed times are those of `own` protocol and library.

    What a correction says of the library's kernels holds for the same chip alone.
    """
    spreads = tuple(Spread(low=round(each.low * 0.8, 3), high=round(each.high * 1.25, 3)) for each in menu.spreads)
    correction, span = (menu.correction, menu.fit_range) if is_same_chip else (None, ())
    return replace(
        menu, num_rows=0, origin=origin, spreads=spreads, launch_s=own.launch_s, split_s=own.split_s, correction=correction, fit_range=span
    )


def plain_menu(constants: dict[str, Any], own: KernelMenu, wide: dict[str, float]) -> KernelMenu:
    """The menu of plain-core products: their tiles and epilogue, beside the launch and the bandwidth of `own` products."""
    candidates = tuple(Candidate(tile_m=m, tile_n=n, fill=0, efficiency=share) for m, n, share in constants["tiles"])
    return replace(
        own, candidates=candidates, epilogue_s=constants["epilogue_s"], grain=constants["grain"], num_rows=constants["num_rows"],
        prologue_s=0.0, droop=0.0, groups={}, spreads=(Spread(**wide),) * len(own.spreads), fit_range=(), correction=None,
    )  # fmt: skip


def write(profile: dict[str, Any], constants: dict[str, Any], menus: dict[str, KernelMenu], errors: dict[str, Any]) -> None:
    """The profile's file: its products anew, everything else as it stands."""
    gpu, library = profile["name"].split(".", 1)
    path = OUT / f"{profile['name']}.json"
    own = {
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
        "spreads": constants["spreads"],
        "menus": {name: menu_document(menu) for name, menu in sorted(menus.items())},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | own, indent=1) + "\n")


def fitted_before(name: str) -> dict[str, KernelMenu]:
    """The menus of a profile that this run does not fit."""
    from shapewright.hardware.profile import profile_from_json

    return dict(profile_from_json(json.loads((OUT / f"{name}.json").read_text())).menus)


def main() -> None:
    folder, chosen = Path(sys.argv[1]), sys.argv[2:]
    constants = tomllib.loads((HERE / "profile_constants.toml").read_text())
    loaders = {
        "h200.cuda13": (lambda: h200(folder), {}),
        "a100-40gb.cuda11.7": (lambda: authors(folder), {"aligned_nn_tn": "aligned_nt"}),
        "a100-80gb.cuda13": (lambda: published(folder, "a100-80gb"), {}),
        "h100.cuda13": (lambda: published(folder, "h100"), {}),
    }
    for profile in constants["profile"]:
        key = profile["name"]
        if key not in loaders or (chosen and key not in chosen):
            continue
        load, pool = loaders[key]
        products, held, repeats = load()
        gpu = load_gpu(key.split(".")[0])
        print("==", key, int((~held).sum()), "fitted", int(held.sum()), "held out", flush=True)
        menus, errors = fit_classes(
            products, product_rates(gpu, "fp16"), pool, held_out=held, repeats=repeats, progress=lambda text: print(text, flush=True)
        )
        print(json.dumps(errors, indent=1), flush=True)
        own = menus.get("aligned_nt") or menus["aligned_nn_tn"]
        for name in ("aligned_nt", "aligned_nn_tn"):
            menus.setdefault(name, carried(own, f"{key} (other layout)", own, is_same_chip=False) if name not in pool else own)
        for parent in profile["inherits"]:
            same = load_gpu(parent.split(".")[0]).num_sms == gpu.num_sms and load_gpu(parent.split(".")[0]).architecture == gpu.architecture
            for name, menu in fitted_before(parent).items():
                if name != PLAIN:  # another GPU's plain cores are fed otherwise
                    menus.setdefault(name, carried(menu, parent, own, is_same_chip=same))
        if "plain" in profile:
            menus[PLAIN] = plain_menu(constants["plain"][profile["plain"]], own, constants["spreads"]["datasheet"])
        write(profile, constants, menus, errors)


if __name__ == "__main__":
    main()
