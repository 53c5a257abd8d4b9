"""The accuracy document: every measured set found in a folder scored against the predictor in force, and the shipped results.

    document = accuracy_document(Path("data"))            # fresh, from measured rows
    document = shipped_document()                         # what the package came with: `accuracy.json` beside this file

A document is plain JSON (`schema_version`, `sets`, `decisions`, `skipped`); times in seconds, errors in percent. `density` counts
the scored rows by measured and predicted time, in bins of 1/20 decade: enough to draw the chart without the rows.
Errors: a file with a bad row is refused; one that is not there is named in `skipped`; a folder without any set is refused.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingError, ShapewrightError
from .scored import Array, ScoredSet

SCHEMA_VERSION = 1
SHIPPED = Path(__file__).parent / "accuracy.json"
#: Set -> why its goal is missed and what was tried; shown while it is missed.
REMARKS = Path(__file__).parent / "remarks.toml"
#: Files of measured rows that are looked for in a data folder.
FILES = (
    "h200/gemm.csv", "h200/local.csv", "gpu/gemm.parquet", "gpu/attention.parquet", "gpu/memory_ops.parquet", "gpu/collectives.parquet",
    "gpu/training_steps.parquet", "paper/gemm.csv", "paper/layers.csv",
)  # fmt: skip
#: Bins of the density a decade of seconds.
BINS_PER_DECADE = 20
#: Digits kept of every number: the noise of a measurement is in the third.
DIGITS = 4
Document = dict[str, Any]
Progress = Callable[[str], None]


def shipped_document() -> Document:
    """The results that came with the package."""
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def accuracy_document(folder: Path, *, gpu: str | None = None, progress: Progress | None = None) -> Document:
    """Every set of `folder` (of one GPU by its short name, where named) scored."""
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint="name the folder that holds h200/, gpu/ and paper/")
    skipped = [{"file": name, "reason": "not there"} for name in FILES if not (folder / name).is_file()]
    sets = []
    for name in set_modules():
        if progress is not None:
            progress(f"scoring {name}")
        found, reason = _load(name, folder)
        sets += [each for each in found if gpu in (None, each.gpu)]
        skipped += [{"file": name, "reason": reason}] if reason else []
    if not sets:
        which = f" of {gpu}" if gpu else ""
        raise InputError(f"holds no measured set{which}", where=str(folder), hint=f"looked for {', '.join(FILES[:3])} and others")
    return document_of(sets, decisions=_decisions(folder, gpu), skipped=skipped)


def of_gpu(document: Mapping[str, Any], gpu: str) -> Document:
    """The part of a document that is about one GPU, by its short name."""
    decisions = {name: [each for each in found if each["gpu"] == gpu] for name, found in document["decisions"].items()}
    sets = [each for each in document["sets"] if each["gpu"] == gpu]
    if not sets:
        known = ", ".join(sorted({each["gpu"] for each in document["sets"]}))
        raise InputError(f"no accuracy is known of {gpu}", hint=f"known: {known}; score measured rows with --set or --data")
    return {**document, "sets": sets, "decisions": decisions}


def set_modules() -> tuple[str, ...]:
    """Names of the modules of `sets`, each of which loads one kind of measured set."""
    folder = Path(__file__).parent / "sets"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")))


def _load(name: str, folder: Path) -> tuple[tuple[ScoredSet, ...], str]:
    """The sets of one module, or why there are none."""
    from .table import MissingFileError

    module = importlib.import_module(f"{__package__}.sets.{name}")
    load = getattr(module, "load", None)
    if load is None:  # a module of helpers
        return (), ""
    try:
        return tuple(load(folder)), ""
    except (FileNotFoundError, MissingFileError) as error:
        return (), str(error)
    except MissingError as error:
        raise error.at(name) from None


def file_document(path: Path, *, gpu: str | None = None) -> Document:
    """The products of one file (columns m, n, k, us; batch, dtype, layout, gpu) scored, all of its rows."""
    from .products import rows_of_gpu
    from .sets.gemm import product_sets
    from .table import read_table

    every = read_table(path)
    table, device = rows_of_gpu(every, gpu)
    try:
        sets = tuple(product_sets(path.name, table, device, source=path.name))
    except ShapewrightError as error:
        raise error.at(str(path)) from None
    counts = {"failed measurements": table.num_failed, "rows of another GPU": len(every) - len(table)}
    skipped = [{"file": path.name, "reason": f"{count} {what}"} for what, count in counts.items() if count]
    return document_of(sets, skipped=skipped, is_every_row_scored=True)


def document_of(
    sets: Iterable[ScoredSet],
    *,
    decisions: Mapping[str, Any] | None = None,
    skipped: Iterable[Mapping[str, str]] = (),
    is_every_row_scored: bool = False,
) -> Document:
    """The document of these sets, ordered by name. Held-out rows are scored, or all where no row of the sets can have been fitted."""
    from .score import score_set

    remarks = tomllib.loads(REMARKS.read_text(encoding="utf-8"))
    kept = sorted((each for each in sets if is_every_row_scored or each.is_held_out.any()), key=lambda each: each.name)
    return {
        "schema_version": SCHEMA_VERSION,
        "sets": [
            rounded(asdict(score_set(each, is_every_row_scored=is_every_row_scored)))
            | {"remark": remarks.get(each.name, ""), "density": density(each, each.is_held_out.astype(bool) | is_every_row_scored)}
            for each in kept
        ],
        "decisions": rounded(dict(decisions or {"orderings": [], "penalties": []})),
        "skipped": [dict(each) for each in skipped],
    }


def _decisions(folder: Path, gpu: str | None) -> dict[str, Any]:
    """Orderings and penalties by the sweeps of the H200."""
    path = folder / "h200/local.csv"
    if gpu not in (None, "h200") or not path.is_file():
        return {"orderings": [], "penalties": []}
    from .decisions import load_sweeps, orderings, penalties

    sweeps = load_sweeps(path, "h200")
    return {"orderings": [asdict(each) for each in orderings(sweeps)], "penalties": [asdict(each) for each in penalties(sweeps)]}


def density(scored: ScoredSet, mask: Array) -> list[list[int]]:
    """[measured bin, predicted bin, rows of `mask`]; bin i begins at 10^(i / BINS_PER_DECADE) seconds."""
    bins = [np.floor(BINS_PER_DECADE * np.log10(column[mask])).astype(int) for column in (scored.measured_s, scored.predicted_s)]
    cells, counts = np.unique(np.stack(bins), axis=1, return_counts=True)
    return [[int(x), int(y), int(count)] for x, y, count in zip(*cells, counts, strict=True)]


def rounded(value: Any) -> Any:
    """Numbers to `DIGITS` significant digits, throughout."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def document_text(document: Mapping[str, Any]) -> str:
    """The document as JSON text; lists of numbers stay on one line."""
    return _text(document, 0) + "\n"


def _text(value: Any, indent: int) -> str:
    pad = " " * (indent + 1)
    if isinstance(value, Mapping) and value:
        body = ",\n".join(f"{pad}{json.dumps(key)}: {_text(each, indent + 1)}" for key, each in value.items())
        return f"{{\n{body}\n{' ' * indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "[\n" + ",\n".join(pad + _text(each, indent + 1) for each in value) + f"\n{' ' * indent}]"
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
