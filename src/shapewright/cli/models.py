"""`shapewright models [NAME]`: the catalogue, or one model with its source."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from ..read import catalogue
from .options import Json
from .screen import page_width


def models(name: Annotated[str | None, Parameter(help="A model; left out: all of them.")] = None, /, *, json: Json = False) -> None:
    """List the models of the catalogue, or show one with its source."""
    chosen = catalogue.names() if name is None else (catalogue.describe(name).name,)
    entries = [(catalogue.describe(each), catalogue.load(each).shape) for each in chosen]
    if json:
        from ..report.json import SCHEMA_VERSION, to_json
        from ..report.models import model_document

        documents: list[dict[str, Any]] = [model_document(entry, shape) for entry, shape in entries]
        print(to_json({"schema_version": SCHEMA_VERSION, "models": documents}))
        return
    from ..report.models import model_list, model_text

    print(model_list([shape for _, shape in entries], page_width()) if name is None else model_text(*entries[0], page_width()))
