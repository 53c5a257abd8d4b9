"""Fits the communication constants of the shipped profiles and writes them into src/shapewright/hardware/profiles, touching nothing else.

    python scripts/fit_collectives.py DATA_DIR

DATA_DIR holds gpu/collectives.parquet. 70 % of the rows, by collective, group size and power of two of the message, are fitted; the rest
give the held-out error and the intervals. Places that no row of a GPU covers are carried over from the nearest GPU that has some. Needs
scipy and pyarrow.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shapewright.calibrate.collectives import CollectiveRows, fit_protocols, is_held_out, predicted_s, size_spreads
from shapewright.calibrate.sets.collectives import FILE, PlacedRows, placed_rows
from shapewright.calibrate.table import read_table
from shapewright.hardware.profile import Protocol

PROFILES = Path(__file__).parent.parent / "src/shapewright/hardware/profiles"
#: GPU of a profile -> GPUs whose constants fill the gaps, nearest first; any other takes the A100's.
NEAREST = {"h100": ("a100-80gb",), "h200": ("h100", "a100-80gb"), "generic.hopper": ("h100", "a100-80gb"), "a100-80gb": ("h100",)}
OTHERS = ("a100-80gb", "h100")
SOURCE = (
    "aiconfigurator (NVIDIA, Apache-2.0): nccl-tests and custom all-reduce kernels on one node; vtrain (MIT): nccl-tests, 2 to 7 GPUs; "
    "vidur (MIT): kernel durations on clusters. The network's share of its datasheet rate is an estimate."
)
#: Leaving the node: Simple at 0.85 of the adapters' rate, estimated from vtrain's iterations (hardware/stacks/megatron.json): about 0.9 of
#: eight adapters with tensor parallelism over two nodes, 0.7 of one with gradients between nodes.
NETWORK = Protocol(name="Simple", up_to_bytes=None, base_s=15e-6, hop_s=1e-6, link_share=0.85, passes=0.0)

Fitted = dict[str, dict[str, tuple[Protocol, ...]]]


def fit_gpu(rows: list[PlacedRows]) -> tuple[Fitted, dict[str, Any], dict[str, Any]]:
    """Protocols by place and collective, held-out errors, and intervals by place."""
    fitted: Fitted = {}
    accuracy: dict[str, Any] = {}
    ratios: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (place, _), group in _tables(rows).items():
        merged = _merged(group)
        held = is_held_out(merged.collective, merged.group_size, merged.message_bytes)
        if (~held).sum() < 8:
            continue
        protocols = fit_protocols(merged.take(np.flatnonzero(~held)))
        for each in group:
            fitted.setdefault(place, {})[each.rows.collective] = protocols
            out = each.rows.take(np.flatnonzero(is_held_out(each.rows.collective, each.rows.group_size, each.rows.message_bytes)))
            ratio = out.time_s / predicted_s(protocols, out)
            error = 100 * np.abs(1 / ratio - 1)
            accuracy[each.key] = {
                "rows_fitted": len(each.rows) - len(out),
                "rows_held_out": len(out),
                "mape_percent": round(float(error.mean()), 2),
            }
            ratios.setdefault(place, []).append((ratio, out.message_bytes))
            print(each.gpu, each.key, accuracy[each.key], flush=True)
    spreads = {
        place: size_spreads(np.concatenate([ratio for ratio, _ in parts]), np.concatenate([size for _, size in parts]))
        for place, parts in ratios.items()
    }
    return fitted, accuracy, spreads


def _tables(rows: list[PlacedRows]) -> dict[tuple[str, str], list[PlacedRows]]:
    """Rows that share protocols: all-gather and reduce-scatter move the same bytes in the same steps."""
    tables: dict[tuple[str, str], list[PlacedRows]] = {}
    for each in rows:
        name = "shards" if each.rows.collective in ("all_gather", "reduce_scatter") else each.rows.collective
        tables.setdefault((each.place, name), []).append(each)
    return tables


def _merged(group: list[PlacedRows]) -> CollectiveRows:
    """All rows of the group as one."""
    names = ("group_size", "message_bytes", "time_s", "rate")
    return replace(group[0].rows, **{name: np.concatenate([getattr(each.rows, name) for each in group]) for name in names})


def filled(own: Fitted, others: list[Fitted]) -> Fitted:
    """`own` with what only `others` have; collectives leaving the node are an estimate everywhere."""
    result: Fitted = {place: dict(collectives) for place, collectives in own.items()}
    for other in others:
        for place, collectives in other.items():
            for name, protocols in collectives.items():
                result.setdefault(place, {}).setdefault(name, protocols)
    result["link"].setdefault("send", result["vidur"]["send"])
    result["link"].setdefault("all_gather", result["link"]["reduce_scatter"])
    names = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
    result["pcie"] = dict.fromkeys(names, result["vidur_pcie"]["all_reduce"])
    result["network"] = dict.fromkeys(names, (NETWORK,))
    return result


def main() -> None:
    by_gpu: dict[str, list[PlacedRows]] = {}
    for each in placed_rows(read_table(Path(sys.argv[1]) / FILE)):
        by_gpu.setdefault(each.gpu, []).append(each)
    results = {gpu: fit_gpu(rows) for gpu, rows in by_gpu.items()}
    if "v100-16gb" in results:  # one set measured its links: predictions use it too
        fitted, accuracy, spreads = results["v100-16gb"]
        fitted["link"] = dict(fitted["vtrain"])
        spreads["link"] = spreads["vtrain"]
    for name in sorted(path.stem for path in PROFILES.glob("*.json")):
        gpu = name.partition(".")[0]
        empty: tuple[Fitted, dict[str, Any], dict[str, Any]] = ({}, {}, {})
        fitted, accuracy, spreads = results.get(gpu, empty)
        protocols = filled(fitted, [results[other][0] for other in NEAREST.get(gpu) or NEAREST.get(name) or OTHERS])
        _write(name, {
            "source": SOURCE,
            "fitted": sorted(f"{place}/{collective}" for place, collectives in fitted.items() for collective in collectives),
            "accuracy": accuracy,
            "spreads": {place: [[each.low, each.high] for each in rows] for place, rows in sorted(spreads.items())},
            "protocols": {
                place: {key: [_row(each) for each in value] for key, value in sorted(rows.items())}
                for place, rows in sorted(protocols.items())
            },
        })  # fmt: skip


def _row(protocol: Protocol) -> list[Any]:
    values = (protocol.base_s, protocol.hop_s, protocol.link_share, protocol.passes)
    return [protocol.name, protocol.up_to_bytes, *(float(f"{value:.4g}") for value in values)]


def _write(name: str, collectives: dict[str, Any]) -> None:
    path = PROFILES / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["collectives"] = collectives
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
