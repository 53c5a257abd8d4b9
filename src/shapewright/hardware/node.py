"""What a node is: GPUs of one kind, the links between them, and the network between nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

ANY_GPU = "any"
"""`Node.gpu` of a generic node, which holds whatever GPU is asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`gpus_per_node` GPUs named `gpu`; rates are bytes per second, per GPU and one direction.

    `link_bytes_per_s` is one GPU's total rate to the others in the node (NVLink, xGMI or PCIe); `network_bytes_per_s` the share of the
    node's network that one GPU gets. Latencies are per message hop.
    """

    name: str
    full_name: str
    gpu: str
    gpus_per_node: int
    link: str
    link_bytes_per_s: float
    link_latency_s: float
    network: str
    network_bytes_per_s: float
    network_latency_s: float
    cpu: str = ""
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
