"""`shapewright paper table I|II|III [MODEL]`: symbols, a layer's operators, and the systems of the paper."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, ShapewrightError, unknown_name
from ..hardware.load import load_node
from ..operators.table2 import table2
from ..report.paper_json import operators_document, symbols_document, systems_document
from ..report.paper_tables import SYSTEM_NOTES, operators_text, symbols_text, systems_text
from ..shape import ModelShape
from ..workload import Workload
from .arguments import blame_flag
from .models_argument import Model, load_model
from .notes import print_notes
from .options import Count, Json
from .paper_sources import paper_dtype
from .screen import page_width

#: Of which the paper's Table II is printed where no model is named.
PAPER_MODEL = "gpt3-2.7b"
#: The rows of Table III, in its order.
SYSTEMS = ("aws-p4d", "summit", "expanse")
TABLES = {"i": "I", "1": "I", "ii": "II", "2": "II", "iii": "III", "3": "III"}
DEFAULTS = {"micro_batch": 4, "sequence": 2048, "tensor_parallel": 1, "dtype": "fp16"}


def paper_table(
    table: Annotated[str, Parameter(help="I (symbols), II (operators of a layer) or III (systems).")],
    /,
    *model: Model,
    micro_batch: Annotated[Count | None, Parameter(help="Of II: sequences of one pass (b); default 4.")] = None,
    sequence: Annotated[Count | None, Parameter(help="Of II: tokens a sequence (s); default 2048.")] = None,
    tensor_parallel: Annotated[Count | None, Parameter(help="Of II: GPUs that share each layer (t); default 1.")] = None,
    dtype: Annotated[str | None, Parameter(help="Of II: number format; default fp16.")] = None,
    json: Json = False,
) -> None:
    """Print Table I, II or III of the paper.

    I are its symbols with this package's names. II are the products of a layer, with the figures that time each, for MODEL (default
    gpt3-2.7b). III are the systems that were measured on, with the sources of their numbers.
    """
    given = {"micro_batch": micro_batch, "sequence": sequence, "tensor_parallel": tensor_parallel, "dtype": dtype}
    asked = {name: value for name, value in given.items() if value is not None}
    name = TABLES.get(table.strip().lower())
    if name is None:
        raise unknown_name("table", table, ("I", "II", "III"))
    if name != "II" and (model or asked):
        what = "a model" if model else f"--{next(iter(asked)).replace('_', '-')}"
        raise InputError(f"{what} is given to Table {name}", hint="only Table II is of a model")
    text, document = {"I": _symbols, "II": lambda: _operators(model, asked), "III": _systems}[name]()
    if json:
        from ..report.json import to_json

        print(to_json(document))
    else:
        print(text)


def _symbols() -> tuple[str, dict[str, Any]]:
    return symbols_text(page_width()), symbols_document()


def _operators(model: tuple[str, ...], asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    loaded = load_model(model or (PAPER_MODEL,), {})
    question = DEFAULTS | asked
    question["dtype"] = paper_dtype(question["dtype"])
    try:
        Workload(phase="forward", **question)
        rows = table2(loaded.shape, **question)
    except ShapewrightError as error:
        raise (blame_flag(error, error.field) if error.field in question else error) from None
    print_notes([*(loaded.notes if model else ()), *_uneven(loaded.shape, question["tensor_parallel"])])
    question = {"model": loaded.shape.name, **question}
    return operators_text(rows, question, page_width()), operators_document(rows, question)


def _uneven(shape: ModelShape, tensor_parallel: int) -> list[str]:
    """What t GPUs cannot share evenly."""
    sizes = {
        "heads": shape.num_attention_heads, "key/value heads": shape.num_key_value_heads,
        "columns of the MLP": shape.intermediate_size, "entries of the vocabulary": shape.vocab_size,
    }  # fmt: skip
    if shape.num_key_value_heads == shape.num_attention_heads:
        del sizes["key/value heads"]
    uneven = [f"{size} {what}" for what, size in sizes.items() if size % tensor_parallel]
    return [f"{', '.join(uneven)} do not divide by tensor_parallel {tensor_parallel}: the fullest GPU is shown"] if uneven else []


def _systems() -> tuple[str, dict[str, Any]]:
    nodes = [load_node(name) for name in SYSTEMS]
    return systems_text(nodes, SYSTEM_NOTES, page_width()), systems_document(nodes, SYSTEM_NOTES)
