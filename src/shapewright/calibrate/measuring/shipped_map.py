"""The misalignment map as a table that ships: Parquet, one row a product, with its compiled time where that was measured.

Columns: dtype, layout, dimension (the one that moves; "" for products of the compiled run alone), sweep, m, n, k, residue (modulo 64),
alignment (largest power of two up to 64), time_s, relative, padded, kernel (family), compiled_s, is_padded (by Inductor),
compiled_kernel. Needs pyarrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import MissingError
from .kernel_names import family
from .misalignment import STEP, alignment_of

MAP_FILE = "misalignment.parquet"
COLUMNS = (
    "dtype", "layout", "dimension", "sweep", "m", "n", "k", "residue", "alignment", "time_s", "relative", "padded", "kernel", "compiled_s",
    "is_padded", "compiled_kernel",
)  # fmt: skip
Document = Mapping[str, Any]


def map_rows(document: Document) -> list[dict[str, Any]]:
    """The rows of the table, in the order of the document; what is not known is None."""
    compiled = {_identity(each): each for each in document["padding"]["points"]}
    rows = [_row(point, compiled.get(_identity(point))) for point in document["misalignment"]["points"]]
    seen = {_identity(point) for point in document["misalignment"]["points"]}
    return rows + [_row(_alone(each), each) for identity, each in compiled.items() if identity not in seen]


def write_map(document: Document, path: Path) -> None:
    """The table of the document's map."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingError("writing Parquet needs pyarrow", where=str(path), hint="pip install 'shapewright[calibrate]'") from None
    rows = map_rows(document)
    table = pa.table({name: [row[name] for row in rows] for name in COLUMNS})
    parquet.write_table(table, path, compression="zstd")


def _row(point: Document, both: Document | None) -> dict[str, Any]:
    found = {name: point.get(name) for name in COLUMNS}
    found["kernel"] = family(point["kernel"])
    return found | {name: both[name] if both else None for name in ("compiled_s", "is_padded", "compiled_kernel")}


def _alone(each: Document) -> dict[str, Any]:
    """A product that only the compiled run holds."""
    sizes = {name: each[name] for name in ("m", "n", "k")}
    dimension = each["dimensions"] if each["dimensions"] in sizes else ""
    size = sizes.get(dimension, STEP)
    return {
        "dtype": each["dtype"], "layout": each["layout"], "dimension": dimension, "sweep": "", **sizes, "residue": size % STEP,
        "alignment": alignment_of(size), "time_s": each["eager_s"], "relative": None, "padded": None, "kernel": each["eager_kernel"],
    }  # fmt: skip


def _identity(each: Document) -> tuple[Any, ...]:
    return each["dtype"], each["layout"], each["m"], each["n"], each["k"]
