"""Errors of the predicted ratios of neighbours (`calibrate.neighbours`), by GPU and kind, of rows that were not fitted.

- H200 products: local.csv, of which nothing was fitted. Its attention and memory-bound kernels: benchmarks/h200, predicted by fits that
  leave out each part in turn (scripts/fit_h200_attention.py, scripts/fit_h200_memory.py).
- Others: published rows, and the authors' logs; pairs of which one is held out.
- GPUs without rows: each GPU left out of a fit to the others (`calibrate.sets.transfer`).
`near` pairs differ by up to 6 % in one size, `far` ones by up to twice. Seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fit_h200_attention
import fit_h200_memory
import numpy as np
from fit_profiles import layer_operators

from shapewright.calibrate import attention, neighbours
from shapewright.calibrate.gemm import is_held_out
from shapewright.calibrate.neighbours import Pairs, pairs_along, product_pairs
from shapewright.calibrate.products import Products, classes_of, read_products
from shapewright.calibrate.protocols import CLASSES
from shapewright.calibrate.scored import Array
from shapewright.calibrate.sets import attention as published_attention
from shapewright.calibrate.sets import memory_ops
from shapewright.calibrate.sets.transfer import left_out_fits
from shapewright.calibrate.sources import SourceRows, joined, source_rows
from shapewright.calibrate.table import read_table
from shapewright.calibrate.thin import LEFT_OUT, class_samples
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import profile_from_json
from shapewright.predict.attention_model import kernel_times
from shapewright.predict.profiles import load_profile

REACHES = {"near": (1.0, 1.06), "far": (1.06, 2.0)}
#: Head sizes differ by up to twice, all alike; H200 kernels that are bound by memory were measured at widths four times apart.
HEADS_APART, WIDTHS_APART = (1.0, 2.0), (1.0, 4.0)
#: Published memory-bound kernels count from this time and size on: below, sources round to 1 us or time the gap between launches.
LEAST_S, LEAST_BYTES = 50e-6, 2**21


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """e of the pairs of one reach, and the number of families that they come from."""

    values: Array
    num_families: int = 0

    @property
    def half_width(self) -> float:
        """Least band round 0 that holds the 10th to 90th percentile."""
        return float(np.abs(np.quantile(self.values, (0.1, 0.9))).max())

    @property
    def overcharge(self) -> float:
        """By how much less a change saves than predicted, at the 10th percentile."""
        return float(max(0.0, -np.quantile(self.values, 0.1)))

    def text(self) -> str:
        """n, percentiles of e, percentiles of |e|, in percent."""
        signed, size = 100 * np.quantile(self.values, (0.1, 0.5, 0.9)), 100 * np.quantile(np.abs(self.values), (0.5, 0.8, 0.9))
        parts = " ".join(f"{value:+6.1f}" for value in signed), " ".join(f"{value:5.1f}" for value in size)
        return f"{len(self.values):7d} {self.num_families:5d}  e {parts[0]}  |e| {parts[1]}"


def errors_of(pairs: Pairs, measured_s: Array, predicted_s: Array) -> Errors:
    return Errors(values=pairs.errors(measured_s, predicted_s), num_families=pairs.num_families)


def product_errors(products: Products, gpu: str, predicted_s: Array, unseen: Array) -> dict[str, dict[str, Errors]]:
    """Kind -> reach -> errors, of pairs that hold an unseen product."""
    rank = neighbours.misalignment(products, load_gpu(gpu))
    found: dict[str, dict[str, Errors]] = {"gemm_same_class": {}, "gemm_across_classes": {}}
    for reach, change in REACHES.items():
        pairs = product_pairs(products, change)
        pairs = pairs.take(unseen[pairs.first] | unseen[pairs.second])
        for kind, own in (
            ("gemm_same_class", neighbours.same_class(pairs, rank)),
            ("gemm_across_classes", neighbours.across_classes(pairs, rank)),
        ):
            if len(own):
                found[kind][reach] = errors_of(own, products.time_s, predicted_s)
    return found


def product_sources(folder: Path) -> list[tuple[str, Products, Array, str]]:
    """GPU, products, which are unseen, and where they come from."""
    gpu = load_gpu("h200")
    sweeps = read_products(read_table(folder / "h200/local.csv"), gpu)
    found = [("h200", sweeps, np.ones(len(sweeps), bool), "short sweeps of an H200 (local.csv), nothing of them fitted")]
    own = {(each.gpu.name, each.source): each.products for each in source_rows(folder)}
    logs = "the paper's authors' logs, one of two held out"
    for name, source, text in (
        ("a100-40gb", "authors", logs), ("v100-16gb", "authors", logs), ("mi250x", "authors", logs),
        ("a100-80gb", "aiconfigurator", "aiconfigurator's rows, one of two held out"),
        ("h100", "aiconfigurator", "aiconfigurator's rows, one of two held out"),
    ):  # fmt: skip
        products = own[name, source]
        products = joined([products, layer_operators(folder)]) if name == "a100-40gb" else products
        found.append((name, products, is_held_out(products.n, products.k), text))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A source's products on a GPU that no constant has seen; errors by kind and reach."""

    name: str
    vendor: str
    errors: Mapping[str, Mapping[str, Errors]]


def left_out_errors(folder: Path) -> list[LeftOut]:
    """Errors of each GPU by constants fitted to all others."""
    sweeps = read_products(read_table(folder / "h200/local.csv"), load_gpu("h200"))
    sources = [each for each in source_rows(folder) if "bias" not in each.source and set(each.products.dtype.tolist()) <= {"bf16", "fp16"}]
    sources += [
        SourceRows(source="graph replay", gpu=load_gpu("h200"), products=sweeps.take(sweeps.dtype == dtype)) for dtype in ("bf16", "fp16")
    ]
    found = []
    for left, chips in LEFT_OUT.items():
        for rows in (each for each in sources if each.gpu.name in chips and left in left_out_fits()):
            products, predicted_s = left_out_predictions(left, rows)
            errors = product_errors(products, rows.gpu.name, predicted_s, is_held_out(products.n, products.k))
            if "far" in errors["gemm_same_class"]:
                name = f"left out {left}, {rows.source} {rows.gpu.name} {products.dtype[0]}"
                found.append(LeftOut(name=name, vendor=rows.gpu.vendor, errors=errors))
    return found


def left_out_predictions(left: str, rows: SourceRows) -> tuple[Products, Array]:
    """The products of classes that the fit without `left` knows, and their times by it."""
    products = rows.products
    products = products.take(products.dtype == products.dtype[0])
    classes, _ = classes_of(products, 2, rows.gpu.alignment_bytes)
    predicted_s = np.full(len(products), np.nan)
    for outer, fit in left_out_fits()[left].items():
        mask = np.isin(classes, CLASSES[outer])
        if mask.any():
            (sample,) = class_samples([SourceRows(source=rows.source, gpu=rows.gpu, products=products)], outer)
            predicted_s[mask] = fit.predicted_s(sample)
    known = np.isfinite(predicted_s)
    return products.take(known), predicted_s[known]


def h200_attention() -> tuple[dict[str, Errors], Array]:
    """SDPA's kernels (cuDNN) on an H200 at two head sizes, by fits without their part; errors of single calls too."""
    every = fit_h200_attention.slots()
    blind = [np.zeros(len(slot.times)) for slot in every]
    for part in range(fit_h200_attention.NUM_PARTS):
        for times, slot, kernel in zip(blind, every, fit_h200_attention.fit_slots(every, part, 0.9), strict=True):
            mask = slot.parts == part
            if mask.any():
                works = [work for work, is_in in zip(slot.works, mask, strict=True) if is_in]
                times[mask] = fit_h200_attention.times_of(kernel, works, 0.9)
    own = [(slot, times) for slot, times in zip(every, blind, strict=True) if slot.form.library == "cudnn"]
    works = [work for slot, _ in own for work in slot.works]
    measured, times = np.concatenate([slot.times for slot, _ in own]), np.concatenate([times for _, times in own])
    is_backward = np.concatenate([np.full(len(slot.times), slot.form.use == "backward") for slot, _ in own])
    fixed = [
        np.array([getattr(work, name) for work in works])
        for name in ("batch", "num_heads", "num_kv_heads", "query_len", "kv_len", "is_causal")
    ]
    pairs = pairs_along(np.array([work.qk_head_dim for work in works]), [*fixed, is_backward], HEADS_APART)
    return {"far": errors_of(pairs, measured, times)}, np.log(measured / times)


def published_attention_errors(folder: Path, gpu: str) -> dict[str, Errors]:
    """Published calls at two head sizes, every use of a GPU."""
    device, values, families = load_gpu(gpu), [], 0
    groups: dict[str, list[published_attention.KernelRows]] = {}
    for each in published_attention.kernel_rows(read_table(folder / published_attention.FILE)):
        if each.gpu == gpu and each.form["library"] == "flash":
            groups.setdefault(str(each.form["use"]), []).append(each)
    for parts in groups.values():
        kernels = [published_attention._kernel(each, load_profile(device)) for each in parts]
        times = np.concatenate(
            [
                kernel_times(each.rows.calls, kernel, published_attention.chip_of(device)).time_s
                for each, kernel in zip(parts, kernels, strict=True)
            ]
        )
        column = {
            name: np.concatenate([getattr(each.rows.calls, name) for each in parts])
            for name in ("batch", "num_heads", "num_kv_heads", "query_len", "kv_len", "qk_head_dim", "window")
        }
        held = np.concatenate([attention.is_held_out(each.rows.calls) for each in parts])
        fixed = [np.nan_to_num(column[name], posinf=0) for name in column if name != "qk_head_dim"]
        pairs = pairs_along(column["qk_head_dim"], fixed, HEADS_APART)
        pairs = pairs.take(held[pairs.first] | held[pairs.second])
        values.append(pairs.errors(np.concatenate([each.rows.time_s for each in parts]), times))
        families += pairs.num_families
    return {"far": Errors(values=np.concatenate(values), num_families=families)}


def h200_memory() -> tuple[dict[str, Errors], Array]:
    """Eager kernels of an H200 at two widths or row counts, by fits without their part; errors of single kernels too."""
    every = fit_h200_memory.dealt([*fit_h200_memory.timed_rows(fit_h200_memory.ROWS), *fit_h200_memory.layer_rows()])
    before = dict(profile_from_json(json.loads(fit_h200_memory.PROFILE.read_text(encoding="utf-8"))).memory)
    times = fit_h200_memory.held_out(every, before)
    kept = np.array([not row.name.startswith("optimizer") for row in every])
    names = [row.name for row, is_kept in zip(every, kept, strict=True) if is_kept]
    rows, width = np.array([row.key.split("/")[1:3] for row, is_kept in zip(every, kept, strict=True) if is_kept], np.int64).T
    measured, times = np.array([row.time_s for row in every])[kept], times[kept]
    operation = np.unique(names, return_inverse=True)[1]
    pairs = pairs_along(width, [operation, rows], WIDTHS_APART)
    return {"far": errors_of(pairs, measured, times)}, np.log(measured / times)


def published_memory_errors(folder: Path, source: str, gpu: str) -> dict[str, Errors]:
    """Published kernels of one operation whose rows or columns differ."""
    device = load_profile(load_gpu(gpu))
    values: dict[str, list[Array]] = {reach: [] for reach in REACHES}
    families = dict.fromkeys(REACHES, 0)
    for each in memory_ops.operation_rows(read_table(folder / memory_ops.FILE)):
        if (each.source, each.gpu) != (source, gpu):
            continue
        own, times = each.rows, memory_ops.predict_rows(each, device)[0]
        large = (own.time_s > LEAST_S) & (own.size_bytes > LEAST_BYTES)
        for reach, change in REACHES.items():
            pairs = pairs_along(own.size_bytes[large], [own.rows[large]], change)
            pairs = pairs.take(each.held[large][pairs.first] | each.held[large][pairs.second])
            values[reach].append(pairs.errors(own.time_s[large], times[large]))
            families[reach] += pairs.num_families
    return {reach: Errors(values=np.concatenate(own), num_families=families[reach]) for reach, own in values.items() if sum(map(len, own))}
