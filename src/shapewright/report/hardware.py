"""GPUs and nodes for people: one line each, or one of them with the source of every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from ..hardware.gpu import Gpu
from ..hardware.node import Node
from . import units
from .table import Block, Row, format_hanging, format_pairs, format_table

LEGEND = (
    "Peaks are dense TFLOP/s. `shapewright gpus NAME` shows one with its sources.",
    "--gpu and --node also take a TOML file of the same form.",
)
_DTYPES = ("fp32", "tf32", "fp16", "bf16", "fp8")


def gpu_list(gpus: Sequence[Gpu], nodes: Sequence[Node], width: int) -> str:
    """Two tables. Rates are dense peaks in TFLOP/s; a dash marks a dtype that the tensor cores lack."""
    gpu_rows = [_gpu_row(gpu) for gpu in gpus]
    node_rows = [_node_row(node) for node in nodes]
    gpu_header = ("GPU", "SMs", "memory", "bandwidth", *_DTYPES)
    node_header = ("node", "GPUs", "GPU", "links of a GPU", "network")
    lines = format_table(gpu_header, [Block(rows=tuple(gpu_rows))], "<" + ">" * 8, width=width)
    lines += ["", *format_table(node_header, [Block(rows=tuple(node_rows))], "<><>>", width=width)]
    return "\n".join([*lines, "", *(line for sentence in LEGEND for line in format_hanging(sentence, width))])


def _gpu_row(gpu: Gpu) -> Row:
    peaks = (f"{gpu.flops_per_s[dtype] / 1e12:.0f}" if dtype in gpu.flops_per_s else "-" for dtype in _DTYPES)
    bandwidth = f"{units.with_prefix(gpu.memory_bytes_per_s, 'B')}/s"
    return Row(cells=(gpu.name, str(gpu.num_sms), units.num_bytes(gpu.memory_bytes), bandwidth, *peaks))


def _node_row(node: Node) -> Row:
    rates = (f"{units.num_bytes(rate)}/s" for rate in (node.link_bytes_per_s, node.network_bytes_per_s))
    return Row(cells=(node.name, str(node.gpus_per_node), node.gpu, *rates))


def hardware_text(device: Gpu | Node, width: int) -> str:
    """Every number of one GPU or node, SI units, with the page that it came from; then the notes."""
    numbers = {name: value for name, value in _numbers(device).items() if value not in ("", None)}
    pairs = [(name, f"{value}  [{device.sources[name]}]" if name in device.sources else f"{value}") for name, value in numbers.items()]
    pairs += [("note", note) for note in device.notes]
    return "\n".join(format_pairs(pairs, width))


def _numbers(device: Gpu | Node) -> dict[str, object]:
    """Field -> value as text, peaks one a dtype."""
    shown: dict[str, object] = {}
    for field in fields(device):
        value = getattr(device, field.name)
        if field.name == "flops_per_s":
            shown |= {f"flops_per_s.{dtype}": f"{rate:.6g}" for dtype, rate in value.items()}
        elif field.name == "libraries":
            shown[field.name] = ", ".join(value)
        elif field.name not in ("sources", "notes"):
            shown[field.name] = f"{value:.6g}" if isinstance(value, float) else value
    return shown
