"""How well is a change of shape priced? The linter's noise, from errors of the predicted ratios of neighbours.

    python scripts/fit_lint_noise.py DATA_DIR

Prints the tables and writes src/shapewright/lint/noise.toml; a minute. A pair is two measured products, attention calls or memory-bound
kernels on one GPU that differ in one size; scripts/neighbour_errors.py says which rows. A half-width holds the 10th to 90th percentile of
e = ln(measured ratio) - ln(predicted ratio) on either side of 0.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fit_k_step import GPU as STEP_GPU
from fit_k_step import step_errors
from layer_errors import layer_errors
from neighbour_errors import (
    REACHES,
    Errors,
    LeftOut,
    h200_attention,
    h200_memory,
    left_out_errors,
    product_errors,
    product_sources,
    published_attention_errors,
    published_memory_errors,
)

from shapewright.calibrate import neighbours
from shapewright.calibrate.neighbours import pairs_along
from shapewright.calibrate.products import Products, predicted
from shapewright.calibrate.scored import Array
from shapewright.hardware.gpu import VENDORS
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Spread
from shapewright.predict.profiles import load_profile

OUT = Path(__file__).parents[1] / "src/shapewright/lint/noise.toml"
#: Near pairs of fewer families or pairs than these say too little: they count only where they are worse than far ones.
FEWEST_FAMILIES, FEWEST_PAIRS = 20, 30
#: Fewest products that a line of the padding table is a median of.
FEWEST_PADDED = 3
#: Two measurements of one product on two cards agree within this at the 90th percentile (docs/measuring.md): no ratio is known better.
REPEATABILITY = 0.024
KINDS = ("gemm_same_class", "gemm_across_steps", "gemm_across_classes", "attention", "memory", "other")
#: Published memory-bound kernels: GPU whose width they give, source, and the GPU that they ran on.
MEMORY_SOURCES = (
    ("a100-80gb", "vidur", "a100-80gb"),
    ("a100-40gb", "neusight", "a100-40gb-pcie"),
    ("v100-16gb", "neusight", "v100-pcie-32gb"),
)

#: "near" and "far" -> errors.
ByReach = Mapping[str, Errors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the file."""

    near: float
    far: float
    source: str

    @property
    def text(self) -> str:
        return f'{{ near = {self.near:.3f}, far = {self.far:.3f}, source = "{self.source}" }}'


def entry(found: ByReach, source: str, fewest_families: int = FEWEST_FAMILIES) -> Entry | None:
    """Half-widths; near pairs of few families speak only where they are worse than far ones."""
    far, near = found.get("far"), found.get("near")
    if far is None or len(far.values) < FEWEST_PAIRS:
        return None
    is_known = near is not None and len(near.values) >= FEWEST_PAIRS
    wide = max(far.half_width, REPEATABILITY)
    close = max(near.half_width, REPEATABILITY) if near is not None and is_known else wide
    if near is None or not is_known or near.num_families < fewest_families:
        close = max(close, wide)
    counted = ", ".join(f"{len(each.values)} {text} pairs" for each, text in ((near, "near"), (far, "far")) if each is not None)
    return Entry(near=up(close), far=up(max(wide, close)), source=f"{source}; {counted}")


def up(value: float) -> float:
    """Rounded up to a tenth of a percent."""
    return math.ceil(1000 * value) / 1000


def print_errors(title: str, errors: Mapping[str, ByReach]) -> None:
    print(f"\n{title}: pairs, families, percentiles 10 50 90 of e and 50 80 90 of |e|, percent")
    for kind, found in errors.items():
        for reach, each in found.items():
            print(f"  {kind:20} {reach:5} {each.text()}")


def print_padding(gpu: str, products: Products, predicted_s: Array) -> None:
    """Time of a product over that with one size rounded up to a multiple of 64 (medians), by the power of two that divides the size."""
    print(f"\n{gpu}: time over that of the size rounded up to a multiple of 64: layout, size, power of two, products, measured, predicted")
    names = np.unique(products.layout, return_inverse=True)[1]
    for name in ("n", "k"):
        size = getattr(products, name)
        others = [getattr(products, other) for other in neighbours.SIZES if other != name]
        pairs = pairs_along(size, [*others, names], (1.0, 64.0))
        first, second = size[pairs.first], size[pairs.second]
        pairs = pairs.take((-(-first // 64) * 64 == second) & (first >= 64))
        power = size[pairs.first] & -size[pairs.first]
        label = np.char.add(products.layout, np.where(products.batch > 1, " batched", ""))[pairs.first]
        ratios = [times[pairs.first] / times[pairs.second] for times in (products.time_s, predicted_s)]
        for key in sorted(set(zip(label.tolist(), power.tolist(), strict=True))):
            mask = (label == key[0]) & (power == key[1])
            if mask.sum() >= FEWEST_PADDED:
                medians = "  ".join(f"{np.median(each[mask]):.3f}" for each in ratios)
                print(f"  {key[0]:10} {name} {key[1]:3d} {int(mask.sum()):4d}  {medians}")


Table = dict[str, Entry]


def measured_tables(folder: Path) -> dict[str, Table]:
    """GPU -> kind -> entry."""
    tables: dict[str, Table] = {}
    singles: dict[str, float] = {}
    for gpu, products, unseen, source in product_sources(folder):
        predicted_s = predicted(products, load_gpu(gpu)).time_s
        errors = product_errors(products, gpu, predicted_s, unseen)
        print_errors(f"{gpu}, {source}", errors)
        print_padding(gpu, products, predicted_s)
        singles[gpu] = Errors(values=np.log(products.time_s / predicted_s)[unseen]).half_width
        tables[gpu] = {kind: own for kind, found in errors.items() if (own := entry(found, source))}
    steps = step_errors(folder)
    text = f"the authors' logs, linear products off the step beside those on it, which the step was fitted to; {len(steps)} products"
    tables[STEP_GPU]["gemm_across_steps"] = flat(max(float(np.abs(steps).max()), REPEATABILITY), text)
    add(
        tables,
        "h100",
        "attention",
        published_attention_errors(folder, "h100"),
        "aiconfigurator's calls at two head sizes, one of two held out",
    )
    for gpu, source, name in MEMORY_SOURCES:
        text = f"{source}'s kernels of {name} at two sizes, one of two held out"
        add(tables, gpu, "memory", published_memory_errors(folder, source, name), text)
    least = max(add_h200(tables), singles["h200"])
    for gpu, single in singles.items():
        text = "no pair: single times that were not fitted, the worst of its products and of all kinds on an H200"
        tables[gpu]["other"] = flat(max(single, least), text)
    return tables


def add_h200(tables: dict[str, Table]) -> float:
    """The H200's own attention and memory-bound kernels; the half-width of their single times.

    Its widths lie four times apart: what near ones do is taken from the worst of the other GPUs.
    """
    (attention, single_attention), (memory, single_memory) = h200_attention(), h200_memory()
    near = max(table["memory"].near for table in tables.values() if "memory" in table)
    text = "SDPA at two head sizes (heads and operators of benchmarks/h200), each part left out of its fit"
    add(tables, "h200", "attention", attention, text)
    text = "eager kernels at widths up to four times apart (operators of benchmarks/h200), left out of their fit; near: the worst other GPU"
    add(tables, "h200", "memory", memory, text)
    tables["h200"]["memory"] = replace(tables["h200"]["memory"], near=near)
    return max(Errors(values=each).half_width for each in (single_attention, single_memory))


def add(tables: dict[str, Table], gpu: str, kind: str, found: ByReach, source: str) -> None:
    """Print the errors, and put them into the GPU's table where there are enough."""
    print_errors(f"{gpu}, {source}", {kind: found})
    own = entry(found, source, fewest_families=0 if kind == "memory" else FEWEST_FAMILIES)
    if own is not None:
        tables[gpu][kind] = own


def unmeasured_tables(left_out: Sequence[LeftOut], tables: Mapping[str, Table]) -> dict[str, Table]:
    """Vendor -> kind -> entry, for GPUs and kinds without rows."""
    stated = load_profile(load_gpu("h200")).spreads
    memory = tables["h200"]["memory"]
    found: dict[str, Table] = {}
    for vendor in VENDORS:
        errors = [each.errors for each in left_out if each.vendor == vendor]
        own = [table for gpu, table in tables.items() if load_gpu(gpu).vendor == vendor]
        same = worst([each["gemm_same_class"] for each in errors], "half_width")
        same = {reach: max(same[reach], *(getattr(table["gemm_same_class"], reach) for table in own)) for reach in REACHES}
        known = [table["gemm_across_classes"] for table in own if "gemm_across_classes" in table]
        over = worst([each["gemm_across_classes"] for each in errors], "overcharge")
        across = {reach: max(same[reach], over[reach], *(getattr(each, reach) for each in known)) for reach in REACHES}
        found[vendor] = {
            "gemm_same_class": reached(same, f"products of each {vendor} GPU left out of a fit to all others, or measured, the worst"),
            "gemm_across_classes": reached(
                across, "the worst of measured GPUs and of what one left out is overcharged; as a rule it is charged too little"
            ),
            "gemm_across_steps": reached(across, "as across classes"),
            "attention": flat(half(stated["attention"]), "interval that profiles state for attention that was carried over"),
            "memory": replace(memory, source="as the H200's, the worst of those measured"),
            "other": flat(half(stated["datasheet"]), "interval that profiles state for what a datasheet alone tells"),
        }
    return found


def worst(errors: Sequence[ByReach], name: str) -> dict[str, float]:
    """The largest half-width (or overcharge) of each reach, of errors that have enough pairs of it."""
    return {
        reach: max(getattr(each[reach], name) for each in errors if reach in each and len(each[reach].values) >= FEWEST_PAIRS)
        for reach in REACHES
    }


def reached(widths: Mapping[str, float], source: str) -> Entry:
    return Entry(near=up(widths["near"]), far=up(max(widths.values())), source=source)


def flat(width: float, source: str) -> Entry:
    return Entry(near=up(width), far=up(width), source=source)


def half(spread: Spread) -> float:
    """Half of an interval, as a logarithm."""
    return math.log(spread.high / spread.low) / 2


HEAD = """# How far the predicted ratio of two neighbouring operators lies from the measured one: half-widths of 10th to 90th percentile of
# ln(measured ratio) - ln(predicted ratio). `near`: the two differ by up to `near_change` in one size; `far`: by up to twice.
# Written by scripts/fit_lint_noise.py.
near_change = 1.06
"""


LAYERS = "whole layers of an H200 that differ in their shape alone (prices and layers of benchmarks/h200); {} near pairs"


def main() -> None:
    tables, left_out = measured_tables(Path(sys.argv[1])), left_out_errors(Path(sys.argv[1]))
    for each in left_out:
        print_errors(each.name, each.errors)
    layers = layer_errors()
    print(f"\nlayers of an H200, near: {layers.text()}")
    lines = [HEAD.rstrip(), f"layers = {flat(layers.half_width, LAYERS.format(len(layers.values))).text}"]
    for room, own in (("gpus", tables), ("unmeasured", unmeasured_tables(left_out, tables))):
        for name, table in own.items():
            lines += [f"\n[{room}.{name}]"] + [f"{kind} = {table[kind].text}" for kind in KINDS if kind in table]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n" + OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
