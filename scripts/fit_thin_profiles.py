"""Fits the products of GPUs with thin data, and the constants shared by all GPUs for those known by a datasheet alone.

    python scripts/fit_thin_profiles.py DATA_DIR [--shared]

Writes the menus, their intervals, errors and sources of v100-16gb, mi210, mi250x, mi300x and of the generic profiles (one a family of
architectures) in src/shapewright/hardware/profiles. Attention and memory of a profile that has rows of them stay as they are; the others
take them anew from the profile that lends them, so that this script runs last. `--shared` also repeats the fits that GPUs share, with
none and with each GPU left out in turn (src/shapewright/calibrate/left_out.json; minutes instead of seconds): the generic menus, their
proof, and the priors of the thin fits. Intervals come from five folds by (n, k) of the fitted rows; errors from the (n, k) held out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shapewright.calibrate.calibration import menu_document
from shapewright.calibrate.gemm import is_held_out
from shapewright.calibrate.products import fit_range
from shapewright.calibrate.protocols import CLASSES
from shapewright.calibrate.sources import SourceRows, source_rows
from shapewright.calibrate.spreads import spreads_by_time
from shapewright.calibrate.thin import JOINED, LEFT_OUT, class_samples, fit_own, fit_shared, map_protocol, thinned
from shapewright.calibrate.transfer import Sample, SharedFit, fit_from_json, fit_json
from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import KernelMenu, Spread
from shapewright.predict.scaling import scaled_menu

ROOT = Path(__file__).parents[1] / "src/shapewright"
OUT, LEFT_OUT_FILE = ROOT / "hardware/profiles", ROOT / "calibrate/left_out.json"
#: Profiles of thin GPUs, the profile that lends them what has no row, and their generic one.
THIN = {
    "v100-16gb.cuda11.3": ("v100-16gb.cuda11.3", "a100-80gb.generic"),
    "mi250x.rocm5.6": ("mi250x.rocm5.6", "mi250x.generic"),
    "mi210.rocm6": ("mi250x.rocm5.6", "mi250x.generic"),
    "mi300x.rocm6": ("mi250x.rocm5.6", "mi250x.generic"),
}
#: Generic profiles, named for the GPU that they are stated for, and the profile that lends them what is no product.
GENERIC = {"a100-80gb.generic": "a100-80gb.cuda13", "h100.generic": "h200.cuda13", "mi250x.generic": "mi250x.rocm5.6"}
#: What a profile takes from the one that lends it; memory-bound kernels only where its file is new, since rows of them may exist.
LENT = ("launch_host_s", "power", "attention", "collectives", "spreads")
LEAST_ROWS, NUM_FOLDS = 20, 5
#: Held-out rows below which a class of a joint fit reports the errors of all its classes (the MI300X's only one has fewer).
LEAST_SCORED = 10
SOURCES = {
    "authors": "the paper's authors' logs (EleutherAI/cookbook history, Apache-2.0): fp16, the slowest of 200 calls",
    "deepbench": "DeepBench (Apache-2.0): fp16, cuBLAS 10.1, times rounded to 1 us",
    "hipblaslt_logic": "hipBLASLt tuning results (MIT): best kernel of each product",
    "aiter_tuned": "aiter (MIT): best of many kernels, bf16 and block-scaled fp8",
    "aiconfigurator": "aiconfigurator (NVIDIA, Apache-2.0): A100 and H100, bf16",
    "graph replay": "14,336 random products measured on one H200",
}


def held_out(sample: Sample) -> Any:
    """Which rows no fit has seen."""
    return is_held_out(sample.rows.n, sample.rows.k)


def fitted_part(samples: Sequence[Sample], out: bool = False) -> list[Sample]:
    """The rows that may be fitted, or with `out` those that may not."""
    parts = [each.take(held_out(each) == out) for each in samples]
    return [each for each in parts if len(each.rows)]


def fold_of(sample: Sample) -> Any:
    """Fold of each row, by (n, k)."""
    folds = np.zeros(len(sample.rows), int)
    for fold in range(1, NUM_FOLDS):
        folds[is_held_out(sample.rows.n, sample.rows.k, 1 - fold / NUM_FOLDS, salt="fold")] = fold
    return folds


def cross_validated(samples: Sequence[Sample], prior: SharedFit, gpu: Gpu) -> tuple[Any, Any, Any]:
    """Kernel time, predicted and measured time of every row, each by a fit that did not see its (n, k)."""
    kernel, predicted, measured = [], [], []
    for fold in range(NUM_FOLDS):
        rest = [part for part in (each.take(fold_of(each) != fold) for each in samples) if len(part.rows)]
        fit = fit_own(rest, prior, gpu) if rest else prior
        for each in (each.take(fold_of(each) == fold) for each in samples):
            if len(each.rows) and each.rates.size_bytes == 2:
                kernel.append(fit.kernel_s(each))
                predicted.append(fit.predicted_s(each))
                measured.append(each.rows.time_s)
    return np.concatenate(kernel), np.concatenate(predicted), np.concatenate(measured)


def spreads_of(kernel_s: Any, predicted_s: Any, measured_s: Any) -> tuple[Spread, ...]:
    """Intervals by the kernel's time, from errors of the time as its source took it."""
    return spreads_by_time(kernel_s, measured_s / predicted_s * kernel_s)


def error_json(fit: SharedFit, samples: Sequence[Sample], num_fitted: int) -> dict[str, Any]:
    """Errors on 16-bit rows, percent."""
    samples = [each for each in samples if each.rates.size_bytes == 2]
    if not samples:
        return {"rows_fitted": num_fitted, "rows_held_out": 0}
    error = np.concatenate([100 * np.abs(fit.predicted_s(each) / each.rows.time_s - 1) for each in samples])
    shares = {"mape_percent": error.mean(), "median_percent": np.median(error), "p90_percent": np.quantile(error, 0.9)}
    return {"rows_fitted": num_fitted, "rows_held_out": len(error)} | {name: round(float(value), 2) for name, value in shares.items()}


Fitted = tuple[KernelMenu, dict[str, Any]]


def fit_gpu(parts: Mapping[str, Sequence[Sample]], prior: SharedFit, gpu: Gpu) -> dict[str, Fitted]:
    """The menu of each class of `parts`, fitted as one, and its report: errors, protocols, range."""
    fitted = thinned(fitted_part([each for samples in parts.values() for each in samples]))
    fit = fit_own(fitted, prior, gpu)
    num_fitted = sum(len(each.rows) for each in fitted)
    protocols = {key: float(f"{value:.4g}") for key, value in fit.values.items() if key.startswith(("offset:", "pace:"))}
    spreads = spreads_of(*cross_validated(fitted, prior, gpu))
    ranges = [fit_range(each.rows) for each in fitted]
    span = {key: [min(each[key][0] for each in ranges), max(each[key][1] for each in ranges)] for key in ranges[0]}
    found: dict[str, Fitted] = {}
    unseen = {name: fitted_part(samples, out=True) for name, samples in parts.items()}
    for name, samples in parts.items():
        scored = (
            unseen[name]
            if sum(len(each.rows) for each in unseen[name]) >= LEAST_SCORED
            else [each for own in unseen.values() for each in own]
        )
        report = error_json(fit, scored, num_fitted)
        print(gpu.name, name, report, protocols, flush=True)
        menu = replace(typical_groups(fit.menu(gpu), fitted_part(samples)), num_rows=num_fitted, spreads=spreads)
        found[name] = menu, report | {"protocols": protocols, "fit_range": span}
    return found


def own_fits(sources: Sequence[SourceRows], priors: Mapping[str, SharedFit], gpu: Gpu) -> dict[str, Fitted]:
    """The classes that the GPU has rows of: as one fit where they are alike (`JOINED`), by themselves where they have rows enough."""
    samples = {name: [each for each in class_samples(sources, name) if each.gpu.name == gpu.name] for name in CLASSES}
    rows = {name: sum(len(each.rows) for each in fitted_part(own) if each.rates.size_bytes == 2) for name, own in samples.items()}
    joined = {name: samples[name] for name in JOINED[gpu.vendor] if rows[name]}
    found = fit_gpu(joined, priors["aligned"], gpu) if sum(rows[name] for name in joined) >= LEAST_ROWS else {}
    for name in CLASSES:
        if name != "aligned" and rows[name] >= LEAST_ROWS and name in priors:
            found |= fit_gpu({name: samples[name]}, priors[name], gpu)
    return found


def typical_groups(menu: KernelMenu, samples: Sequence[Sample]) -> KernelMenu:
    """The same menu with factors of the patterns that were measured, stated against their mean: a pattern that was not takes the mean."""
    seen = sorted({group for each in samples for group in np.unique(each.rows.groups).tolist() if group})
    if not seen:
        return replace(menu, groups={})
    mean = float(np.exp(np.mean([np.log(menu.groups[name]) for name in seen])))
    return replace(lifted(menu, mean), groups={name: menu.groups[name] / mean for name in seen})


def lifted(menu: KernelMenu, factor: float) -> KernelMenu:
    """The menu with every tile's efficiency times `factor`, at most the peak."""
    return replace(menu, candidates=tuple(replace(each, efficiency=min(each.efficiency * factor, 1.0)) for each in menu.candidates))


def best_efficiency(menu: KernelMenu) -> float:
    """Share of the peak that the menu's best tile reaches, misalignment of the usual pattern included."""
    usual = float(np.exp(np.mean(np.log(list(menu.groups.values()))))) if menu.groups else 1.0
    return max(each.efficiency for each in menu.candidates) * usual


def carried(name: str, menus: Mapping[str, KernelMenu], generic: Mapping[str, KernelMenu], gpu: Gpu, parent: str) -> KernelMenu:
    """The generic menu of a class without rows, by the ratio of the GPU's `half` (else aligned) class to the generic one."""
    near = "half" if name == "odd" and "half" in menus else "aligned_nt"
    menu = scaled_menu(generic[name], load_gpu(parent.split(".")[0]), gpu)
    factor = best_efficiency(menus[near]) / best_efficiency(generic[near]) if near in menus else 1.0
    return replace(lifted(menu, factor), origin=parent)


def left_out_fits(sources: Sequence[SourceRows]) -> dict[str, dict[str, SharedFit]]:
    """Shared constants without each GPU, and how its rows were timed."""
    fits: dict[str, dict[str, SharedFit]] = {}
    for left, chips in LEFT_OUT.items():
        fits[left] = {}
        for name in CLASSES:
            samples = class_samples(sources, name)
            own = [each for each in samples if each.gpu.name in chips]
            if not own:
                continue
            shared = fit_shared([each for each in samples if each.gpu.name not in chips], name, load_gpu(left).vendor)
            fits[left][name] = map_protocol(fitted_part(own), shared)
            print("without", left, name, error_json(fits[left][name], thinned(own, 1500), 0), flush=True)
    return fits


def left_out_spreads(
    sources: Sequence[SourceRows], fits: Mapping[str, Mapping[str, SharedFit]], vendor: str
) -> dict[str, tuple[Spread, ...]]:
    """Intervals of a GPU that no row is known of: the errors on each left out, GPUs alike."""
    spreads = {}
    for name in CLASSES:
        columns: list[tuple[Any, Any, Any]] = []
        for left, found in fits.items():
            own = [each for each in class_samples(sources, name) if each.gpu.name in LEFT_OUT[left] and each.rates.size_bytes == 2]
            if name in found and load_gpu(left).vendor == vendor:
                columns += [(found[name].kernel_s(each), found[name].predicted_s(each), each.rows.time_s) for each in thinned(own)]
        spreads[name] = spreads_of(*(np.concatenate(each) for each in zip(*columns, strict=True)))
    return spreads


def write_profile(name: str, lender: str, own: Mapping[str, Any], wide: Spread) -> None:
    """Change the keys `own` of a profile's file; what no row of the GPU gives comes from `lender`, as carried over.

    `wide` is the interval where nothing was measured; it covers those of aligned products at least.
    """
    path = OUT / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"schema_version": 1}
    if lender != name:
        lent = json.loads((OUT / f"{lender}.json").read_text())
        if not path.is_file():
            data["memory"] = {key: rate | {"is_measured": False} for key, rate in lent["memory"].items()}
        data |= {key: lent[key] for key in LENT}
        data["attention"] |= {key: False for key in data["attention"] if key.startswith("is_") and key.endswith("_measured")}
        data["collectives"] |= {"fitted": []}
        data["notes"] = [f"what is no product is carried over from {lender} where it has no rows of its own"]
    data["spreads"]["datasheet"] = {"low": wide.low, "high": wide.high}
    path.write_text(json.dumps(data | dict(own), indent=1) + "\n")


def covering(spreads: Sequence[Spread]) -> Spread:
    """The interval that holds them all."""
    return Spread(low=min(each.low for each in spreads), high=max(each.high for each in spreads))


def write_generic(name: str, shared: Mapping[str, SharedFit], spreads: Mapping[str, tuple[Spread, ...]]) -> dict[str, KernelMenu]:
    """A generic profile's file; the menus it holds, stated for the GPU it is named for."""
    gpu = load_gpu(name.split(".")[0])
    menus = {
        inner: replace(shared[outer].menu(gpu), spreads=spreads[outer], origin="all GPUs with rows")
        for outer, classes in CLASSES.items()
        for inner in classes
    }
    own = {
        "gpu": gpu.name,
        "library": "generic",
        "provenance": "datasheet",
        "sources": [f"one fit to every GPU with rows: {'; '.join(SOURCES.values())}"],
        "fitted_dtypes": [],
        "accuracy": {},
        "menus": {key: menu_document(menu) for key, menu in sorted(menus.items())},
    }
    (OUT / f"{name}.json").unlink(missing_ok=True)  # what it lends follows the lender's newest fit
    # Most GPUs left out have a relative of their generation among the others; a new architecture has none: never narrower than this.
    write_profile(name, GENERIC[name], own, covering(spreads["aligned"]))
    return menus


def write_thin(name: str, sources: Sequence[SourceRows], priors: Mapping[str, SharedFit], generic: Mapping[str, KernelMenu]) -> None:
    """The profile of a GPU with few rows; classes without any take the generic menu."""
    gpu = load_gpu(name.split(".")[0])
    lender, parent = THIN[name]
    menus, errors, used, wide = {}, {}, set(), (Spread(low=0.7, high=1.4),)
    found = own_fits(sources, priors, gpu)
    for outer, classes in CLASSES.items():
        if outer in found:
            menu, errors[classes[-1]] = found[outer]
            used |= {each.source.split(" with")[0] for each in class_samples(sources, outer) if each.gpu.name == gpu.name}
        else:
            menu = carried(classes[0], menus, generic, gpu, parent)
        menus |= dict.fromkeys(classes, menu)
        wide += menu.spreads if outer == "aligned" else ()
    own = {
        "gpu": gpu.name,
        "library": name.split(".", 1)[1],
        "provenance": "calibrated",
        "sources": [SOURCES[each] for each in sorted(used)],
        "fitted_dtypes": ["fp16"] if gpu.vendor == "nvidia" else ["fp16", "bf16"],
        "accuracy": errors,
        "menus": {key: menu_document(menu) for key, menu in sorted(menus.items())},
    }
    write_profile(name, lender, own, covering(wide))


def shared_fits(sources: Sequence[SourceRows]) -> dict[str, dict[str, SharedFit]]:
    """Shared constants of each vendor's GPUs with rows, none left out."""
    return {vendor: {name: fit_shared(class_samples(sources, name), name, vendor) for name in CLASSES} for vendor in ("nvidia", "amd")}


def main() -> None:
    sources = source_rows(Path(sys.argv[1]))
    if "--shared" in sys.argv or not LEFT_OUT_FILE.is_file():
        found = left_out_fits(sources) | shared_fits(sources)
        data = {left: {name: fit_json(fit) for name, fit in each.items()} for left, each in found.items()}
        LEFT_OUT_FILE.write_text(json.dumps(data, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    stored = json.loads(LEFT_OUT_FILE.read_text())
    fits = {left: {name: fit_from_json(fit) for name, fit in each.items()} for left, each in stored.items()}
    left_out = {name: fits[name] for name in LEFT_OUT}
    generic: dict[str, dict[str, KernelMenu]] = {}
    for name in GENERIC:
        vendor = "amd" if name.startswith("mi") else "nvidia"
        generic[name] = write_generic(name, fits[vendor], left_out_spreads(sources, left_out, vendor))
    for name, (_, parent) in THIN.items():
        write_thin(name, sources, left_out[name.split(".")[0]], generic[parent])


if __name__ == "__main__":
    main()
