"""Finds the profile of a GPU and library: its own where one was fitted, else that of its nearest relative.

Errors: a library that the GPU has no profile for is refused with those it has.
"""

from __future__ import annotations

import functools
import json
import tomllib
from dataclasses import replace
from pathlib import Path

from ..errors import MissingError, unknown_name
from ..hardware.gpu import Gpu
from ..hardware.profile import Profile, profile_from_json

FOLDER = Path(__file__).parent.parent / "hardware/profiles"


def load_profile(gpu: Gpu, library: str | None = None) -> Profile:
    """Constants for `gpu` with `library` (None: the GPU's default, the first of `gpu.libraries`)."""
    if library is not None and library not in gpu.libraries:
        raise unknown_name(f"library for {gpu.name}", library, gpu.libraries)
    return _load(gpu.name, gpu.architecture, library or next(iter(gpu.libraries), ""))


@functools.lru_cache(maxsize=32)
def _load(gpu: str, architecture: str, library: str) -> Profile:
    own = f"{gpu}.{library}"
    if own in {path.stem for path in FOLDER.glob("*.json")}:
        return _read(own)
    parent = _parent(gpu, architecture)
    profile = _read(parent)
    menus = {name: replace(menu, num_rows=0, origin=parent) for name, menu in profile.menus.items()}
    return replace(profile, gpu=gpu, library=library, provenance="datasheet", inherited_from=parent, menus=menus)


@functools.lru_cache(maxsize=8)
def _read(name: str) -> Profile:
    return profile_from_json(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def _parent(gpu: str, architecture: str) -> str:
    table = tomllib.loads((FOLDER / "inherit.toml").read_text(encoding="utf-8"))
    parent = table["gpu"].get(gpu) or table["architecture"].get(architecture)
    if parent is None:
        raise MissingError(f"no profile is known for architecture {architecture} of {gpu}", hint="calibrate on the GPU itself")
    return parent
