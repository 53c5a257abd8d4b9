"""Time of communication: latency of the hops plus bytes over the slowest link of the group (the alpha-beta model).

    time = base + hops x hop latency + bus bytes / (link rate x share)

Bus bytes are what each GPU sends in a ring (`Collective.bytes`). A group that stays inside a node uses its links, else the network's.
Base and share stand in the profile with their source, rates and latencies of the links in the node's file. Bytes and seconds.
"""

from __future__ import annotations

from ..errors import InputError
from ..hardware.node import Node
from ..hardware.profile import Profile
from ..operators.types import Collective
from .estimate import Estimate, TimePart


def estimate_collective(work: Collective, node: Node | None, profile: Profile) -> Estimate:
    """One collective on `node`; refused without one."""
    if node is None:
        raise InputError("several GPUs need a node", hint="name one with --node, for example dgx-h100", field="node")
    inside = work.group_size * work.stride <= node.gpus_per_node
    rate = node.link_bytes_per_s if inside else node.network_bytes_per_s
    hop_s = node.link_latency_s if inside else node.network_latency_s
    hops = {"all_reduce": 2 * (work.group_size - 1), "send": 1}.get(work.name, work.group_size - 1)
    floor = work.bytes / rate
    reached, spread = profile.collectives, profile.spreads["collective"]
    parts = (
        TimePart(name="bytes", time_s=floor, reason=f"bus bytes at the full rate of {node.link if inside else node.network}"),
        TimePart(name="link_rate", time_s=floor / reached.link_share - floor, reason=f"{reached.link_share:.0%} of the link is reached"),
        TimePart(name="latency", time_s=reached.base_s + hops * hop_s, reason=f"{hops} hop{'s' if hops > 1 else ''} and the launch"),
    )
    time_s = sum(part.time_s for part in parts)
    where = f"{work.group_size} GPUs over {node.link if inside else node.network}"
    return Estimate(
        time_s=time_s, low_s=time_s * spread.low, high_s=time_s * spread.high, limit_s=floor, bound_by="communication",
        provenance="datasheet", parts=parts, reasons=(where,),
    )  # fmt: skip
