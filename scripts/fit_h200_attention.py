"""Fits the H200's fused attention to its own rows and rewrites `attention` of its profile, nothing else.

    python scripts/fit_h200_attention.py

Rows: benchmarks/h200/operators.jsonl.gz and heads.jsonl.gz. What SDPA takes by itself are cuDNN's kernels (library `cudnn`); PyTorch's
FlashAttention-2 (`flash`) runs heads off the grid of 8 elements. Kernels are fitted for the head sizes that their names tell, padded ones
included; FlashAttention-2 checks bounds in a head that its kernel is wider than, which counts as another kernel. Windows and larger heads
are carried over from the H100. Errors and intervals: each (heads, head size, length) predicted once by a fit without it. Needs scipy.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapewright.calibrate.attention import FlashRows, blank_kernel, fit_kernel
from shapewright.calibrate.parts import attention_document
from shapewright.calibrate.spreads import spreads_by_time
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import AttentionRate, FlashKernel, profile_from_json
from shapewright.measure.operators import works_of
from shapewright.measure.points import AttentionPoint, point_of
from shapewright.operators.types import FlashAttention
from shapewright.predict.attention import GRID, chip_of, kernel_calls, shared_gradients_s, use_of
from shapewright.predict.attention_model import kernel_times

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "src/shapewright/hardware/profiles/h200.cuda13.json"
ROWS = (ROOT / "benchmarks/h200/operators.jsonl.gz", ROOT / "benchmarks/h200/heads.jsonl.gz")
NUM_PARTS, FEWEST = 5, 8
#: Kernels by library and use: (head sizes from, to, tile of queries, of keys). Decoding packs the heads that share keys and splits these.
SLOTS: dict[tuple[str, str], tuple[tuple[int, int, int, int], ...]] = {
    ("cudnn", "prefill"): ((8, 64, 128, 128), (72, 128, 128, 128), (136, 192, 128, 128), (200, 256, 128, 128)),
    ("cudnn", "backward"): ((8, 64, 64, 64), (72, 128, 64, 64), (136, 192, 64, 64), (200, 256, 64, 64)),
    ("cudnn", "decode"): ((64, 64, 64, 128), (80, 80, 64, 128), (128, 128, 64, 128)),
    ("flash", "prefill"): (
        (8, 24, 128, 128), (32, 32, 128, 128), (40, 56, 128, 128), (64, 64, 128, 128), (72, 88, 128, 64), (96, 96, 128, 64),
        (104, 120, 128, 64),
        (128, 128, 128, 64), (136, 184, 128, 64), (192, 192, 128, 64), (200, 248, 64, 64), (256, 256, 64, 64),
    ),
    ("flash", "backward"): (
        (8, 24, 128, 128), (32, 32, 128, 128), (40, 56, 128, 128), (64, 64, 128, 128), (72, 88, 64, 128), (96, 96, 64, 128),
        (104, 120, 64, 128),
        (128, 128, 64, 128), (136, 184, 64, 64), (192, 192, 64, 64), (200, 248, 64, 64), (256, 256, 64, 64),
    ),
    ("flash", "decode"): ((64, 64, 64, 128), (80, 80, 64, 128), (128, 128, 64, 128)),
}  # fmt: skip
GPU = load_gpu("h200")

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Measured calls of one kernel."""

    form: FlashKernel
    works: tuple[FlashAttention, ...]
    times: Array

    @property
    def parts(self) -> Array:
        """Which part each call is held out with."""
        names = (f"{w.num_heads}/{w.num_kv_heads}/{w.qk_head_dim}/{w.batch}/{w.query_len}/{w.kv_len}" for w in self.works)
        return np.array([zlib.crc32(name.encode()) % NUM_PARTS for name in names])


def slots() -> list[Slot]:
    """Kernels with the rows that run on them."""
    found: dict[str, list[tuple[FlashAttention, float]]] = {"cudnn": [], "flash": []}
    for path in ROWS:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                library = {"sdpa": "cudnn", "flash": "flash"}.get(row.get("backend", ""))
                if row.get("kind") == "attention" and row.get("status") == "ok" and library and row["head_dim"] % GRID == 0:
                    point = point_of(row)
                    assert isinstance(point, AttentionPoint)
                    (work,) = works_of(point)
                    assert isinstance(work, FlashAttention)
                    found[library].append((work, row["time_s"]))
    made = []
    for (library, use), sizes in SLOTS.items():
        uses = ("prefill", "encoder") if use == "prefill" else (use,)
        for low, high, tile_q, tile_kv in sizes:
            own = [(work, time) for work, time in found[library] if use_of(work) in uses and low <= work.qk_head_dim <= high]
            form = blank_kernel(
                library=library, use=use, head_dim=high, is_windowed=False, tile_q=tile_q, tile_kv=tile_kv, packs_heads=use == "decode",
                can_split=use == "decode" or (library, use) == ("cudnn", "prefill"), skips_window=library == "flash", smallest_head=low,
            )  # fmt: skip
            made.append(Slot(form=form, works=tuple(work for work, _ in own), times=np.array([time for _, time in own])))
    return made


def times_of(kernel: FlashKernel, works: Sequence[FlashAttention], share: float) -> Array:
    is_backward = kernel.use == "backward"
    shared = np.array([shared_gradients_s(work, GPU, share) for work in works])
    bare = kernel if is_backward else replace(kernel, append_share=0.0)
    return kernel_times(kernel_calls(works), bare, chip_of(GPU, "bf16", is_backward=is_backward)).time_s + shared


def fitted(slot: Slot, mask: Array, kin: FlashKernel | None, share: float) -> FlashKernel:
    """The kernel from the rows of a mask; of few rows its efficiency alone, the rest being its kin's."""
    works = [work for work, is_in in zip(slot.works, mask, strict=True) if is_in]
    times = slot.times[mask]
    if kin is not None:
        form = replace(kin, **{name: getattr(slot.form, name) for name in ("head_dim", "smallest_head", "tile_q", "tile_kv")})
        lengths = np.geomspace(0.05, 0.98, 400)
        off = [np.abs(np.log(times_of(replace(form, efficiency=float(each)), works, share) / times)).mean() for each in lengths]
        return replace(form, efficiency=float(lengths[int(np.argmin(off))]), num_rows=len(works), longest_s=float(times.max()))
    extra = np.array([shared_gradients_s(work, GPU, share) for work in works])
    chip = chip_of(GPU, "bf16", is_backward=slot.form.use == "backward")
    kernel = fit_kernel(FlashRows(calls=kernel_calls(works), time_s=times - extra), chip, slot.form)
    # Forward, k and v of the call lie in memory already.
    return kernel if slot.form.use == "backward" else refitted(kernel, works, times)


def refitted(kernel: FlashKernel, works: Sequence[FlashAttention], times: Array) -> FlashKernel:
    """Without writing to a cache: what the fit gave to it is within its error."""
    bare = replace(kernel, append_share=0.0)
    return replace(bare, num_rows=len(works), longest_s=float(times.max()))


def has_lengths(slot: Slot) -> bool:
    """Whether more than one length was measured, from which waves and fixed times can be told."""
    return len({work.query_len * work.kv_len * work.batch for work in slot.works}) > 2


def fit_slots(every: Sequence[Slot], held: int | None, share: float) -> list[FlashKernel]:
    """Kernels from all rows but part `held`; sizes of a single length follow the nearest that has more."""
    masks = [np.ones(len(slot.times), bool) if held is None else slot.parts != held for slot in every]
    full: dict[int, FlashKernel] = {
        index: fitted(slot, mask, None, share) for index, (slot, mask) in enumerate(zip(every, masks, strict=True)) if has_lengths(slot)
    }
    kernels = []
    for index, (slot, mask) in enumerate(zip(every, masks, strict=True)):
        if index not in full:
            own = (each for each in full.values() if (each.library, each.use) == (slot.form.library, slot.form.use))
            kin = min(own, key=lambda each, size=slot.form.head_dim: abs(np.log(each.head_dim / size)))
            full[index] = fitted(slot, mask if mask.any() else np.ones(len(slot.times), bool), kin, share)
        kernels.append(full[index])
    return kernels


def main() -> None:
    data = json.loads(PROFILE.read_text(encoding="utf-8"))
    rates, every = profile_from_json(data).attention, slots()
    share = 0.9
    blind = [np.zeros(len(slot.times)) for slot in every]
    for part in range(NUM_PARTS):
        for times, slot, kernel in zip(blind, every, fit_slots(every, part, share), strict=True):
            mask = slot.parts == part
            if mask.any():
                times[mask] = times_of(kernel, [work for work, is_in in zip(slot.works, mask, strict=True) if is_in], share)
    kernels = []
    for slot, kernel, times in zip(every, fit_slots(every, None, share), blind, strict=True):
        now, off = times_of(kernel, slot.works, share), np.abs(times / slot.times - 1)
        kernels.append(kernel)
        print(
            kernel.library,
            kernel.use,
            kernel.smallest_head,
            kernel.head_dim,
            len(off),
            f"held out {100 * off.mean():.1f} %, fitted {100 * np.abs(now / slot.times - 1).mean():.1f}",
        )
    groups: dict[tuple[str, str], list[int]] = {}
    for index, kernel in enumerate(kernels):
        groups.setdefault((kernel.library, kernel.use), []).append(index)
    for indices in groups.values():
        predicted, measured = (np.concatenate([column[index] for index in indices]) for column in (blind, [slot.times for slot in every]))
        print(
            kernels[indices[0]].library,
            kernels[indices[0]].use,
            len(measured),
            f"held out {100 * np.abs(predicted / measured - 1).mean():.2f} %",
        )
        for index in indices:
            kernels[index] = replace(kernels[index], spreads=spreads_by_time(predicted, measured))
    carried = [
        carry(kernel)
        for kernel in rates.kernels
        if kernel.num_rows == 0 and (kernel.is_windowed or kernel.head_dim > 128) and kernel.use != "encoder"
    ]
    measured_slots = {(k.library, k.use, k.head_dim, k.is_windowed) for k in kernels}
    carried = [each for each in carried if (each.library, each.use, each.head_dim, each.is_windowed) not in measured_slots]
    order = sorted([*kernels, *carried], key=lambda each: each.library)
    write(replace(rates, kernels=tuple(order), bandwidth_share=share, odd_library="flash", is_backward_measured=True))


def carry(kernel: FlashKernel) -> FlashKernel:
    """A kernel of the H100 for what was not measured, in the place of the library that SDPA takes."""
    return replace(kernel, library="cudnn")


def write(rates: AttentionRate) -> None:
    data = json.loads(PROFILE.read_text(encoding="utf-8"))
    data["attention"] = attention_document(rates)
    PROFILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
