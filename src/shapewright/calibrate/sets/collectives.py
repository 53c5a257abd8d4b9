"""Published collectives (`gpu/collectives.parquet`) beside what the profiles say: nccl-tests, custom all-reduce kernels, vidur, vtrain.

A row's place tells how it was measured. `link` is the place that predictions use: nccl-tests on one node. The others have protocols of
their own in the profiles, since their clusters' networks are not stated and their kernels' times include the wait for the slowest rank.
The bus rate of a V100 group is the rings that NVLink offers to its members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hardware.load import load_gpu, load_node
from ...hardware.profile import COLLECTIVE_EDGES_BYTES, CollectiveRate, Profile, Protocol
from ...predict.collectives import bus_factor
from ...predict.profiles import load_profile
from ..collectives import CollectiveRows, is_held_out, predicted_s
from ..scored import ScoredSet
from ..table import Table, read_table

Array = NDArray[Any]

FILE = "gpu/collectives.parquet"
GOAL_PERCENT = 12.0
SPLIT = "collective, GPUs and power of two of the message by hash, 30 % held out"
#: Name in the file -> (GPU, the node whose link joins its GPUs). The longest name that a row's begins with counts.
GPUS = {"A100": ("a100-80gb", "dgx-a100"), "H100": ("h100", "dgx-h100"), "H200": ("h200", "dgx-h200"), "V100": ("v100-16gb", "summit")}
COLLECTIVES = {"alltoall": "all_to_all", "send_recv": "send"}
#: Bytes a second one way of a pair's NVLink bridge, and of its PCIe slot to another pair: A100 and H100 PCIe product briefs (600 GB/s
#: both ways; PCIe 4.0 and 5.0 x16).
BRIDGE_RATE = 300e9
PCIE_RATE = {"a100-80gb": 31.5e9, "h100": 63.0e9}
#: A cluster's network that no row states: shares of this rate are fitted to each number of GPUs a node.
CLUSTER_RATE = 25e9
#: Rings through n of a DGX-1's V100s, each one link of 25 GB/s one way (hybrid cube mesh, DGX-1 system architecture whitepaper, figure 4):
#: Hamiltonian cycles that share no link, both ways. Five GPUs form none: 1.65 is what they reach.
NVLINK_RATE = 25e9
CUBE_MESH_RINGS = {2: 1.0, 3: 2.0, 4: 4.0, 5: 1.65, 6: 2.0, 7: 4.0, 8: 6.0}
#: What a set is called, and who measured it.
SOURCES = {
    "link": "aiconfigurator (NVIDIA, Apache-2.0): nccl-tests on one node",
    "custom": "aiconfigurator (NVIDIA, Apache-2.0): custom all-reduce of vLLM, SGLang and TensorRT-LLM in CUDA graphs, one node",
    "custom_eager": "aiconfigurator (NVIDIA, Apache-2.0): custom all-reduce of vLLM and SGLang in eager mode, one node",
    "vtrain": "vtrain (MIT): nccl-tests, in place, fp32",
    "vidur": "vidur (MIT): kernel durations, the slowest rank, one node",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRows:
    """Rows of one GPU, place and collective."""

    gpu: str
    place: str
    source: str
    rows: CollectiveRows

    @property
    def key(self) -> str:
        return f"{self.place}/{self.rows.collective}"


def place_of(source: str, impl: str, topology: str, group_size: int) -> tuple[str, str]:
    """(place, source) of a row; see `SOURCES`."""
    if source == "vtrain":
        return "vtrain", "vtrain"
    if source != "vidur":
        if "nccl" in impl.lower():
            return "link", "link"
        # TensorRT-LLM turns to NCCL at smaller messages than the others.
        own = "trtllm" if impl.startswith("TRTLLM") else "link"
        return ("custom_eager", "custom_eager") if impl.endswith("eager") else (own, "custom")
    last = topology.rpartition(" ")[2]
    per_node = int(last) if last.isdigit() else group_size
    is_pair = "pairwise" in topology
    if group_size > per_node:
        return f"vidur_{'pair' if is_pair else 'dgx'}_network_{per_node}", "vidur"
    if is_pair:
        return "vidur_bridge" if group_size <= 2 else "vidur_pcie", "vidur"
    return "vidur", "vidur"


def link_rate(gpu: str, node: str, place: str, group_size: Array) -> Array:
    """Bytes a second one way between members of each group."""
    if place == "vtrain" and gpu.startswith("v100"):
        return np.array([CUBE_MESH_RINGS.get(int(size), 1.0) * NVLINK_RATE for size in group_size])
    rates = {"vidur_bridge": BRIDGE_RATE, "vidur_pcie": PCIE_RATE.get(gpu, PCIE_RATE["a100-80gb"])}
    rate = CLUSTER_RATE if "network" in place else rates.get(place, load_node(node).link_bytes_per_s)
    return np.full(len(group_size), float(rate))


def placed_rows(table: Table) -> list[PlacedRows]:
    """The rows of the file, by GPU, place and collective; rows marked suspect and GPUs without a name here are left out."""
    columns = {name: table.texts(name, "") for name in ("gpu", "source", "impl", "topology", "suspect", "collective")}
    sizes, message, time_s = table.integers("n_gpu"), table.positive("message_bytes"), table.positive("latency_us") * 1e-6
    names = np.array([max((name for name in GPUS if each.startswith(name)), key=len, default="") for each in columns["gpu"]])
    labels = list(zip(columns["source"], columns["impl"], columns["topology"], sizes.tolist(), strict=True))
    known = {label: place_of(*label) for label in set(labels)}
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for row, label in enumerate(labels):
        if names[row] and not columns["suspect"][row]:
            place, source = known[label]
            collective = COLLECTIVES.get(columns["collective"][row], columns["collective"][row])
            name = "custom_all_reduce" if source.startswith("custom") else str(collective)
            groups.setdefault((str(names[row]), place, source, name), []).append(row)
    found = []
    for (name, place, source, collective), rows in sorted(groups.items()):
        gpu, node = GPUS[name]
        size, index = sizes[rows].astype(float), np.array(rows)
        own = CollectiveRows(
            collective=collective, group_size=size, message_bytes=message[index], time_s=time_s[index],
            rate=link_rate(gpu, node, place, size), memory=load_gpu(gpu).memory_bytes_per_s,
        )  # fmt: skip
        found.append(PlacedRows(gpu=gpu, place=place, source=source, rows=own))
    return found


def protocols_of(rate: CollectiveRate, place: str, collective: str) -> tuple[Protocol, ...]:
    """The protocols of a place, or of `link` (`network`) where the profile knows nothing of it."""
    own = rate.protocols.get(place, {}).get(collective)
    return own or rate.protocols["network" if "network" in place else "link"][collective]


def load(folder: Path) -> list[ScoredSet]:
    """One set for each GPU and source; sends and all-to-alls, which have no goal, apart."""
    merged: dict[tuple[str, str], list[PlacedRows]] = {}
    for each in placed_rows(read_table(Path(folder) / FILE)):
        is_apart = each.rows.collective in ("send", "all_to_all")
        merged.setdefault((each.gpu, f"{each.source}-{each.rows.collective}" if is_apart else each.source), []).append(each)
    return [_scored(gpu, kind, parts) for (gpu, kind), parts in merged.items()]


def _scored(gpu: str, kind: str, parts: list[PlacedRows]) -> ScoredSet:
    profile = load_profile(load_gpu(gpu))
    rows = [_columns(each, profile) for each in parts]
    column = {name: np.concatenate([each[name] for each in rows]) for name in rows[0]}
    source, _, apart = kind.partition("-")
    return ScoredSet(
        name=f"collectives-{kind}-{gpu}", gpu=gpu, library=profile.library, source=SOURCES[source], split=SPLIT,
        goal_percent=None if apart else GOAL_PERCENT, measured_s=column["time"], predicted_s=column["predicted"],
        low_s=column["low"], high_s=column["high"], limit_s=column["limit"], is_held_out=column["held"], regimes=_regimes(column),
    )  # fmt: skip


def _columns(each: PlacedRows, profile: Profile) -> dict[str, Array]:
    """What a set needs of each row, and what its regimes ask for."""
    rows = each.rows
    predicted = predicted_s(protocols_of(profile.collectives, each.place, rows.collective), rows)
    low, high = row_spreads(profile, each.place, rows.message_bytes)
    return {
        "time": rows.time_s,
        "predicted": predicted,
        "low": predicted * low,
        "high": predicted * high,
        "limit": bus_factor(rows.collective, rows.group_size) * rows.message_bytes / rows.rate,
        "held": is_held_out(rows.collective, rows.group_size, rows.message_bytes),
        "bytes": rows.message_bytes,
        "size": rows.group_size,
        "across": np.full(len(rows), "network" in each.place),
    }


def _regimes(column: Mapping[str, Array]) -> dict[str, Array]:
    small, large = COLLECTIVE_EDGES_BYTES
    message = column["bytes"]
    regimes = {"below 64 KB": message < small, "64 KB to 8 MB": (message >= small) & (message < large), "8 MB and above": message >= large}
    regimes |= {f"{size:.0f} GPUs": column["size"] == size for size in np.unique(column["size"])}
    return regimes | ({"across nodes": column["across"]} if column["across"].any() else {})


def row_spreads(profile: Profile, place: str, message_bytes: Array) -> tuple[Array, Array]:
    """Factors of the interval of each row."""
    wide = profile.spreads["collective"]
    spreads = profile.collectives.spreads.get(place) or (wide,) * (len(COLLECTIVE_EDGES_BYTES) + 1)
    index = np.searchsorted(COLLECTIVE_EDGES_BYTES, message_bytes)
    return np.array([each.low for each in spreads])[index], np.array([each.high for each in spreads])[index]
