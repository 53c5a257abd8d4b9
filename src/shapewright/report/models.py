"""The catalogue for people and programs: a line a model, or one model with every field and its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ..read.catalogue import CatalogueEntry
from ..shape import ModelShape
from . import units
from .json import plain
from .table import Block, Row, format_pairs, format_table

_HEADER = ("model", "params", "active", "L", "h", "a", "KV", "dim", "MLP", "vocab")


def model_list(shapes: Sequence[ModelShape], width: int) -> str:
    """A table; L is num_hidden_layers, h hidden_size, MLP the intermediate size (of one expert where the MLP is routed)."""
    lines = format_table(_HEADER, [Block(rows=tuple(map(_row, shapes)))], "<" + ">" * 9, width=width)
    legend = (
        "L num_hidden_layers, h hidden_size, a num_attention_heads, KV num_key_value_heads, dim head_dim, MLP intermediate_size "
        "(experts: number x size), vocab vocab_size; active: parameters that one token touches. "
        "`shapewright models NAME` shows one with its source."
    )
    return "\n".join([*lines, "", *format_pairs([("columns", legend)], width)])


def _row(shape: ModelShape) -> Row:
    moe = shape.moe
    mlp = f"{moe.num_experts}x{moe.moe_intermediate_size}" if moe else str(shape.intermediate_size)
    active = units.short_count(shape.num_active_params) if moe else ""
    sizes = (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads, shape.num_key_value_heads, shape.qk_head_dim)
    return Row(cells=(shape.name, units.short_count(shape.num_params), active, *map(str, sizes), mlp, str(shape.vocab_size)))


def model_text(entry: CatalogueEntry, shape: ModelShape, width: int) -> str:
    """Every field of one model that is not None, its counts, and where its numbers come from."""
    pairs = list(_field_pairs(shape))
    pairs += [("num_params", units.num_params(shape.num_params)), ("num_active_params", units.num_params(shape.num_active_params))]
    pairs += [("hub", entry.hub)] if entry.hub else []
    pairs += [("aliases", ", ".join(entry.aliases))] if entry.aliases else []
    pairs += [("note", entry.note)] if entry.note else []
    return "\n".join(format_pairs([*pairs, ("source", entry.source)], width))


def _field_pairs(part: Any) -> Iterator[tuple[str, str]]:
    """Fields of a dataclass that are not None; those of a nested one (experts, latent attention) in its place."""
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            yield from _field_pairs(value)
        elif value is not None:
            yield field.name, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def model_document(entry: CatalogueEntry, shape: ModelShape) -> dict[str, Any]:
    """One model for programs: its fields and counts, hub id, aliases, note and source."""
    counts = {"num_params": shape.num_params, "num_active_params": shape.num_active_params}
    told = {"hub": entry.hub, "aliases": list(entry.aliases), "note": entry.note, "source": entry.source}
    return plain(shape) | counts | told
