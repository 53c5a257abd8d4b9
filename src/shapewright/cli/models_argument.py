"""The MODEL argument of every command, and the shape that it and the override flags describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, ShapewrightError, shown
from ..read.resolve import load
from ..read.source import LoadedShape
from .arguments import blame_flag

Model = Annotated[str, Parameter(help="A model's name, config.json, folder, YAML files, Megatron-LM script or cached Hub id.")]


def load_model(names: Sequence[str], overrides: Mapping[str, Any]) -> LoadedShape:
    """One model; several names only where they are files to merge; none where flags describe it all."""
    if len(names) > 1:
        _require_files(names)
    return load_source(None if not names else names[0] if len(names) == 1 else list(names), overrides)


def load_source(source: object, overrides: Mapping[str, Any]) -> LoadedShape:
    """The shape of whatever `load` takes; a field that a flag set is blamed on the flag."""
    try:
        return load(source, overrides=overrides)
    except ShapewrightError as error:
        # A field that a flag set is the flag's fault, whatever file the rest came from.
        raise (blame_flag(error, error.field) if error.field and error.field in overrides else error) from None


def _require_files(names: Sequence[str]) -> None:
    for name in names:
        if not Path(name).is_file():
            what = f"{len(names)} models are named and {shown(name)} is no file"
            raise InputError(what, hint="give one model; only GPT-NeoX YAML files may be several, which are merged")
