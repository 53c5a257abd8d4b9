"""Tables I, II and III of the paper for people: symbols with our names, a layer's operators for any model, and the systems measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..hardware.node import Node
from ..operators.table2 import Table2Row
from ..paper.symbols import SYMBOLS
from . import units
from .table import Block, Row, format_pairs, format_table

#: What holds for all of Table III.
SYSTEM_NOTES = (
    "The paper says that all its results are of these systems; it also names H100, MI250X, of which none has one, and Cirrascale.",
    "Links are bytes a second of one GPU to the others of its node, one way; the paper prints both ways, or single links.",
)


def symbols_text(width: int) -> str:
    """Table I."""
    rows = tuple(Row(cells=(each.symbol, each.meaning, each.name, each.of)) for each in SYMBOLS)
    lines = format_table(("symbol", "meaning", "field", "of"), [Block(rows=rows)], "<<<<", width=width)
    more = "flags are the fields with dashes: --hidden-size; h/a is head_dim, the width of the MLP (4h) intermediate_size"
    return "\n".join([*lines, "", *format_pairs([("note", more)], width)])


def operators_text(rows: Sequence[Table2Row], question: dict[str, Any], width: int) -> str:
    """Table II of a model, with the two forms of its last row labelled."""
    words = f"{question['dtype']}, micro_batch {question['micro_batch']}, sequence {question['sequence']}"
    words += f", tensor_parallel {question['tensor_parallel']}" if question["tensor_parallel"] > 1 else ""
    head = format_pairs([("model", question["model"]), ("workload", words)], width)
    body = tuple(Row(cells=_operator_cells(row), remark=row.label) for row in rows)
    table = format_table(("operator", "figure", "product (m, k) x (k, n)", "FLOPs", "bytes"), [Block(rows=body)], "<<<>>", width=width)
    same = "The FLOPs are the same." if question["tensor_parallel"] == 1 else "It is printed whole, run split."
    notes = (
        "FLOPs and bytes are of one call on one GPU; Table II names Figure 16 for QKV, whose plain sweep is Figure 15.",
        f"The paper prints the last product with v inside and timed it so; models run it with v as its width. {same}",
    )
    return "\n".join([*head, "", *table, "", *format_pairs([("note", each) for each in notes], width)])


def _operator_cells(row: Table2Row) -> tuple[str, ...]:
    flops = units.num_flops(row.flops).removesuffix("FLOP") if row.flops else "-"
    return row.operator, ", ".join(row.figures) or "-", row.product or "-", flops.strip(), units.num_bytes(row.bytes)


def systems_text(nodes: Sequence[Node], remarks: Sequence[str], width: int) -> str:
    """Table III: a table of numbers, then what each system's are from."""
    rows = [system_of(each) for each in nodes]
    cells = [
        (each["name"], f"{each['num_gpus']} x {each['gpu']}", units.num_bytes(each["memory_bytes"]),
         f"{units.num_bytes(each['link_bytes_per_s'])}/s", f"{8 * each['network_bytes_per_s'] / 1e9:.0f} Gbit/s")
        for each in rows
    ]  # fmt: skip
    table = format_table(
        ("system", "GPUs", "memory", "links", "network"), [Block(rows=tuple(Row(cells=each) for each in cells))], "<<>>>", width=width
    )
    pairs = [pair for each in rows for pair in _system_pairs(each)]
    return "\n".join([*table, "", *format_pairs([*pairs, *(("note", each) for each in remarks)], width)])


def _system_pairs(system: dict[str, Any]) -> list[tuple[str, str]]:
    said = f"{system['full_name']}; CPU {system['cpu']}; {system['link']}; {system['network']}"
    sources = "; ".join(f"{name}: {text}" for name, text in system["sources"].items())
    return [(system["name"], said), ("", sources), *(("", note) for note in system["notes"])]


def system_of(node: Node) -> dict[str, Any]:
    """One system: rates in bytes per second, `link_bytes_per_s` of a GPU one way, `network_bytes_per_s` of the whole node."""
    from ..hardware.load import load_gpu

    names = ("gpus_per_node", "link_bytes_per_s", "network_bytes_per_s")
    return {
        "name": node.name, "full_name": node.full_name, "num_gpus": node.gpus_per_node, "gpu": node.gpu,
        "memory_bytes": load_gpu(node.gpu).memory_bytes, "cpu": node.cpu, "link": node.link, "link_bytes_per_s": node.link_bytes_per_s,
        "network": node.network, "network_bytes_per_s": node.network_bytes_per_s * node.gpus_per_node, "notes": list(node.notes),
        "sources": {name: node.sources[name] for name in names if name in node.sources},
    }  # fmt: skip
