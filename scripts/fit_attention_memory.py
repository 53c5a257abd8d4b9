"""Fits fused attention and memory-bound kernels and rewrites `attention` and `memory` of the shipped profiles, touching nothing else.

    python scripts/fit_attention_memory.py DATA_DIR

DATA_DIR holds gpu/attention.parquet and gpu/memory_ops.parquet. What no row covers stands in `scripts/profile_constants.toml`, or is
carried over from the nearest GPU and counts no rows. The H200's profile is fitted to its own rows (`scripts/fit_h200_memory.py` and
`fit_h200_attention.py`), for which what is made here is the start. Needs scipy and pyarrow.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shapewright.calibrate.attention import blank_kernel, fit_kernel, with_spreads
from shapewright.calibrate.attention import is_held_out as is_call_held_out
from shapewright.calibrate.memory import BY_ROWS, REPLAYED, STREAMING, fit_rate, kernel_s
from shapewright.calibrate.sets.attention import FILE as ATTENTION_FILE
from shapewright.calibrate.sets.attention import chip_of, kernel_rows
from shapewright.calibrate.sets.memory_ops import FILE as MEMORY_FILE
from shapewright.calibrate.sets.memory_ops import HIDDEN_BYTES, OperationRows, operation_rows
from shapewright.calibrate.spreads import spreads_by_time
from shapewright.calibrate.table import read_table
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import FlashKernel, MemoryRate
from shapewright.operators.types import FlashAttention
from shapewright.predict.attention_model import Chip, calls_of, kernel_times

HERE = Path(__file__).parent
PROFILES = HERE.parent / "src/shapewright/hardware/profiles"
LAYERS = HERE.parent / "benchmarks/h200/layers/layer_kernels.jsonl"
MOST_ROWS = 2500
#: Profile -> GPUs whose rows its memory-bound kernels are fitted to.
MEMORY_GPUS = {
    "a100-80gb.cuda13": ("a100-80gb", "a100-40gb-pcie"), "a100-40gb.cuda11.7": ("a100-80gb", "a100-40gb-pcie"), "h100.cuda13": ("h100",),
    "v100-16gb.cuda11.3": ("v100-pcie-32gb",), "mi250x.rocm5.6": ("mi210",),
}  # fmt: skip
#: Softmax kernels of PyTorch give a warp to each row of up to 1,024 elements (fp32: 8 KB read and written), a block to longer ones.
NARROW_ROW_BYTES = {"softmax": 8192.0}
#: The paper's Figure 1 runs a fused scale-mask-softmax and times the slowest of 200 calls, which its own constants describe.
KEPT = {"a100-40gb.cuda11.7": ("softmax", "elementwise")}
#: Patterns that the constants file does not have -> the one whose constants stand in, and the profile whose fit comes first.
STAND_INS = {
    "power": "elementwise",
    "tensor_power": "elementwise",
    "row_norm": "norm",
    "row_layer_norm": "norm",
    "row_activation": "elementwise",
}
NEAREST = {
    "h200.cuda13": "h100.cuda13", "h100.cuda13": "", "a100-80gb.cuda13": "h100.cuda13", "a100-40gb.cuda11.7": "a100-80gb.cuda13",
    "v100-16gb.cuda11.3": "a100-80gb.cuda13", "mi250x.rocm5.6": "a100-80gb.cuda13",
}  # fmt: skip
#: Profiles of thin data and of no data -> the one that lends them attention and memory. The MI210's memory-bound kernels are its own.
BORROWERS = {
    "a100-80gb.generic": "a100-80gb.cuda13",
    "h100.generic": "h200.cuda13",
    "mi250x.generic": "mi250x.rocm5.6",
    "mi210.rocm6": "mi250x.rocm5.6",
    "mi300x.rocm6": "mi250x.rocm5.6",
}
OWN_MEMORY = ("mi210.rocm6",)
#: Profiles that other scripts fit to the GPU's own rows.
OWN_ROWS = ("h200.cuda13",)
#: Layers with dropout on the scores, or without a mask, say nothing of a causal kernel.
OTHER_LAYERS = ("gpt2-xl", "bert-large")


def fit_flash(folder: Path) -> dict[str, list[FlashKernel]]:
    """Kernels by GPU, the library with most rows first."""
    fitted: dict[str, list[FlashKernel]] = {}
    for each in kernel_rows(read_table(folder / ATTENTION_FILE)):
        held = is_call_held_out(each.rows.calls)
        chip = chip_of(load_gpu(each.gpu))
        kernel = fit_kernel(sample(each.rows, ~held), chip, blank_kernel(**each.form))
        kernel = with_spreads(replace(kernel, num_rows=int((~held).sum())), each.rows.take(held), chip)
        out = each.rows.take(held)
        error = 100 * np.abs(kernel_times(out.calls, kernel, chip).time_s / out.time_s - 1)
        print(each.gpu, each.form, len(each.rows), f"held out {error.mean():.2f} %", flush=True)
        fitted.setdefault(each.gpu, []).append(kernel)
    return {gpu: sorted(kernels, key=lambda kernel: kernel.library) for gpu, kernels in fitted.items()}


def sample(rows: Any, mask: Any) -> Any:
    """At most `MOST_ROWS` of the rows of a mask."""
    index = np.flatnonzero(mask)
    return rows.take(index if len(index) <= MOST_ROWS else np.random.default_rng(0).choice(index, MOST_ROWS, replace=False))


def carried(kernels: Iterable[FlashKernel], origin: str) -> list[FlashKernel]:
    return [replace(kernel, num_rows=0, origin=origin) for kernel in kernels]


def scaled(kernels: list[FlashKernel], heads: list[list[float]], origin: str, reference: float) -> list[FlashKernel]:
    """Kernels of other head sizes from those of 128: efficiencies in proportion to `heads`, `reference` being that of 128 where they come
    from."""
    return [
        replace(
            kernel,
            head_dim=int(size),
            efficiency=min(0.98, kernel.efficiency * forward / reference),
            num_rows=0,
            origin=f"{origin}, head size 128, efficiency x {forward / reference:.2f}",
        )
        for kernel in kernels
        for size, forward, _ in heads
    ]


def measured_layers(parts: tuple[str, ...]) -> dict[int, tuple[list[FlashAttention], list[float]]]:
    """Causal forward calls of the H200's layers by the head size they ran as: what was asked, and seconds."""
    calls: dict[int, tuple[list[FlashAttention], list[float]]] = {}
    for line in LAYERS.read_text().splitlines():
        row = json.loads(line)
        if "flash_fprop" not in row.get("kernel", "") or row["part"] not in parts or row["model"] in OTHER_LAYERS:
            continue
        (batch, heads, length, size), (_, kv_heads, keys, _) = row["shapes"][:2]
        work = FlashAttention(
            batch=batch, num_heads=heads, num_kv_heads=kv_heads, query_len=length, kv_len=keys, qk_head_dim=size, v_head_dim=size
        )
        works, times = calls.setdefault(min(each for each in (64, 128, 256) if each >= size), ([], []))
        works.append(work)
        times.append(row["us"] * 1e-6)
    return calls


def h200_kernels(h100: list[FlashKernel]) -> list[FlashKernel]:
    """The H100's kernels (the same die); plain causal ones take the efficiency that the H200's own layers show, decoding its fixed time."""
    chip = replace(chip_of(load_gpu("h200")), l2_bytes=0.0)
    layers = measured_layers(("inference", "forward"))
    kernels = carried((each for each in h100 if each.head_dim in (64, 128, 192, 256, 512) or each.use == "encoder"), "h100.cuda13")
    works, times = measured_layers(("decode",))[128]
    plain = next(each for each in kernels if (each.use, each.head_dim, each.is_windowed) == ("decode", 128, False))
    own_s = kernel_times(calls_of(works), replace(plain, append_share=0.0), chip).time_s - np.array(times)
    framework_s = float(np.clip(np.median(own_s), 0.0, plain.fixed_s))
    found = []
    for kernel in kernels:
        is_plain = kernel.library == "flash" and kernel.use == "prefill" and not kernel.is_windowed
        if is_plain and kernel.head_dim in layers:
            kernel = anchored(kernel, *layers[kernel.head_dim], chip)
        is_decode = kernel.library == "flash" and kernel.use == "decode"
        found.append(replace(kernel, framework_s=min(framework_s, kernel.fixed_s)) if is_decode else kernel)
    return found


def anchored(kernel: FlashKernel, works: list[FlashAttention], times: list[float], chip: Chip) -> FlashKernel:
    """The kernel at the efficiency that makes the median of its predictions the measured one."""
    calls, measured = calls_of(works), np.array(times)
    for _ in range(12):
        predicted = kernel_times(calls, replace(kernel, append_share=0.0), chip).time_s
        kernel = replace(kernel, efficiency=min(0.98, kernel.efficiency * float(np.median(predicted / measured))))
    return replace(kernel, num_rows=len(works), longest_s=float(measured.max()), origin="benchmarks/h200/layers, rest h100.cuda13")


def attention_kernels(constants: dict[str, Any], fitted: dict[str, list[FlashKernel]]) -> dict[str, list[FlashKernel]]:
    """Kernels of every profile."""
    plain = [kernel for kernel in fitted["a100-80gb"] if kernel.head_dim == 128 and not kernel.is_windowed]
    heads = {name: constants[name]["attention"]["heads"] for name in ("ampere", "volta", "cdna")}
    reference = next(forward for size, forward, _ in heads["ampere"] if size == 128)
    others = [head for head in heads["ampere"] if head[0] != 128]
    a100 = [*fitted["a100-80gb"], *scaled(plain, others, "a100-80gb.cuda13", reference)]
    return {
        "a100-80gb.cuda13": a100,
        "a100-40gb.cuda11.7": carried(a100, "a100-80gb.cuda13"),
        "h100.cuda13": fitted["h100"],
        "h200.cuda13": h200_kernels(fitted["h100"]),
        "v100-16gb.cuda11.3": scaled(plain, heads["volta"], "a100-80gb.cuda13", reference),
        "mi250x.rocm5.6": scaled(plain, heads["cdna"], "a100-80gb.cuda13", reference),
    }


def fit_memory(parts: list[OperationRows], pattern: str, base: MemoryRate) -> MemoryRate:
    """One rate from all operations of a pattern; the interval comes from held-out rows that no launch gap hides."""
    own = [each for each in parts if each.pattern == pattern and each.source in ("vidur", "neusight") and (~each.held).any()]
    groups = [sample(each.rows, ~each.held) for each in own]
    is_replayed = any(each.source == "vidur" for each in own)
    per_clock = ("bytes_per_clock",) if pattern.endswith("power") else ()
    names = [*STREAMING, *(BY_ROWS if groups[0].rows.any() else per_clock), *(REPLAYED if is_replayed else ())]
    form = replace(base, narrow_row_bytes=NARROW_ROW_BYTES.get(pattern, 0.0), bytes_per_clock=1000.0)
    rate, added = fit_rate(groups, form, names)
    ratios: list[tuple[Any, Any]] = []
    for each, extra in zip(own, added, strict=True):
        kernel = kernel_s(each.rows, rate)
        shown = each.held & ((kernel > each.rows.floor_s[0]) & (each.rows.size_bytes > HIDDEN_BYTES) | (each.source == "vidur"))
        ratios.append((kernel[shown], np.maximum(each.rows.time_s[shown] - extra, 0.2 * kernel[shown])))
    predicted, measured = (np.concatenate(column) for column in zip(*ratios, strict=True))
    print(pattern, [each.gpu for each in own][:1], f"held out {100 * np.abs(predicted / measured - 1).mean():.2f} % of kernels", flush=True)
    return replace(rate, spreads=spreads_by_time(predicted, measured))


def memory_rates(
    profile: dict[str, Any], constants: dict[str, Any], parts: list[OperationRows], nearest: dict[str, MemoryRate]
) -> dict[str, MemoryRate]:
    """Rates of a profile: fitted where its GPUs have rows, else the constants, else those of the nearest GPU."""
    table = constants[profile["memory"]]["memory"]
    rates = {
        pattern: MemoryRate(
            bandwidth_share=share, bytes_per_clock=clock, fixed_s=fixed, is_measured=pattern in profile["measured_patterns"]
        )
        for pattern, (share, clock, fixed) in table.items()
    }
    own = [each for each in parts if each.gpu in MEMORY_GPUS.get(profile["name"], ())]
    for pattern, stand_in in STAND_INS.items():
        carried_over = nearest.get(pattern, rates[stand_in]) if pattern.startswith("row_") else rates[stand_in]
        rates[pattern] = replace(carried_over, is_measured=False, num_rows=0)
    for pattern in sorted({each.pattern for each in own if each.source in ("vidur", "neusight")} - set(KEPT.get(profile["name"], ()))):
        rates[pattern] = fit_memory(own, pattern, rates[pattern])
    return rates


def plain_json(part: FlashKernel | MemoryRate) -> dict[str, Any]:
    """A part of a profile as `hardware.profile` reads it, constants to four digits."""
    data = {key: (float(f"{value:.4g}") if isinstance(value, float) else value) for key, value in asdict(part).items()}
    return {**data, "spreads": [[each.low, each.high] for each in part.spreads]}


def write(name: str, attention: dict[str, Any], kernels: Sequence[FlashKernel], rates: dict[str, MemoryRate]) -> None:
    path = PROFILES / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["attention"] = {**attention, "kernels": [plain_json(kernel) for kernel in kernels]}
    data["memory"] = {pattern: plain_json(rate) for pattern, rate in rates.items()}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def distance(name: str) -> int:
    """Steps from a profile to the one that its gaps are filled from in the end: nearer ones are fitted first."""
    return 1 + distance(NEAREST[name]) if NEAREST[name] else 0


def lend(name: str, lender: str) -> None:
    """Attention and memory of `lender` for a profile without rows of its own."""
    lent = json.loads((PROFILES / f"{lender}.json").read_text(encoding="utf-8"))
    path = PROFILES / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    kernels = [{**kernel, "num_rows": 0, "origin": kernel["origin"] or lender} for kernel in lent["attention"]["kernels"]]
    data["attention"] = {**lent["attention"], "is_backward_measured": False, "kernels": kernels}
    borrowed = {pattern: {**rate, "is_measured": False, "num_rows": 0} for pattern, rate in lent["memory"].items()}
    data["memory"] = lent["memory"] if name in OWN_MEMORY else borrowed
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    folder = Path(sys.argv[1])
    constants = tomllib.loads((HERE / "profile_constants.toml").read_text())
    kernels = attention_kernels(constants, fit_flash(folder))
    parts = operation_rows(read_table(folder / MEMORY_FILE))
    rates: dict[str, dict[str, MemoryRate]] = {}
    for profile in sorted(constants["profile"], key=lambda each: distance(each["name"])):
        name = profile["name"]
        rates[name] = memory_rates(profile, constants, parts, rates.get(NEAREST[name], {}))
        if name not in OWN_ROWS:
            write(name, constants[profile["attention"]]["attention"], kernels[name], rates[name])
    for borrower, lender in BORROWERS.items():
        if (PROFILES / f"{borrower}.json").is_file():
            lend(borrower, lender)


if __name__ == "__main__":
    main()
