"""Finds the profile of a GPU and library: the user's own calibration, else the one that ships, else that of the nearest relative.

The user's profiles lie in `user_folder()`, one `GPU.LIBRARY.json` each, written by `shapewright calibrate`; removing the file puts the one
that ships back in force. Errors: a library that the GPU has no profile for is refused with those it has; a broken file is named.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, MissingError, unknown_name
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..hardware.profile import Profile, profile_from_json
from .gemm_correction import NUM_FEATURES
from .scaling import scaled_menu

FOLDER = Path(__file__).parent.parent / "hardware/profiles"
#: Names the user's folder of profiles; set and empty, the user's profiles are left aside.
FOLDER_VARIABLE = "SHAPEWRIGHT_PROFILES"
#: What now, where a profile of the user's cannot be used; a calibration starts from the profile in force, so that it cannot mend it.
_MEND = "remove or rename the file, which puts the shipped profile in force; then calibrate again"
_GENERIC = {"cuda": "a100-80gb.generic", "hopper": "h100.generic", "rocm": "mi250x.generic"}


def load_profile(gpu: Gpu, library: str | None = None) -> Profile:
    """Constants for `gpu` with `library` (None: the GPU's default, the first of `gpu.libraries`)."""
    name = library if library is not None else default_library(gpu)
    own = user_profile(gpu, name)
    try:
        status = None if own is None else own.stat()
    except OSError:
        own = status = None
    if own is not None and status is not None:
        return _read_user(own, (status.st_mtime_ns, status.st_size, status.st_ino), gpu)
    if library is not None and library not in gpu.libraries:
        raise unknown_name(f"library for {gpu.name}", library, {*gpu.libraries, *_user_libraries(gpu)})
    return _load(gpu, name)


def default_library(gpu: Gpu) -> str:
    """The library that is assumed where none is named; "" for a GPU that has none."""
    return next(iter(gpu.libraries), "")


def shipped_profile(gpu: Gpu, library: str) -> Path:
    """The file that ships for the GPU and library: its own, or its relative's."""
    own = FOLDER / f"{gpu.name}.{library}.json"
    return own if own.is_file() else FOLDER / f"{_parent(gpu.name, gpu.architecture)}.json"


def user_profile(gpu: Gpu, library: str) -> Path | None:
    """Where the user's own profile lies or would lie; None where the user has no folder for it."""
    folder = user_folder()
    return None if folder is None else folder / f"{_file_name(gpu.name)}.{_file_name(library)}.json"


def user_folder() -> Path | None:
    """`SHAPEWRIGHT_PROFILES`, else `shapewright/profiles` in `XDG_DATA_HOME` or `~/.local/share`; None where there is no home."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    try:
        return (Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "shapewright/profiles").expanduser()
    except RuntimeError:
        return None


def _file_name(name: str) -> str:
    """A name as part of a file name: nothing in it leads to another folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _user_libraries(gpu: Gpu) -> set[str]:
    """Libraries that the user calibrated this GPU with."""
    folder, start = user_folder(), f"{_file_name(gpu.name)}."
    names = [path.name for path in folder.glob("*.json")] if folder is not None and folder.is_dir() else []
    return {name.removeprefix(start).removesuffix(".json") for name in names if name.startswith(start)}


@functools.lru_cache(maxsize=8)
def _read_user(path: Path, version: tuple[int, int, int], gpu: Gpu) -> Profile:
    """A profile of the user's; `version` (time, size, inode of the file) tells apart what it held at different times."""
    try:
        profile = profile_from_json(json.loads(path.read_text(encoding="utf-8")))
        _require_usable(profile, gpu)
        return replace(profile, path=str(path))
    except InputError as error:
        raise InputError(error.what, where=str(path), hint=_MEND) from None
    except (ValueError, RecursionError):
        raise InputError("profile is no JSON", where=str(path), hint=_MEND) from None


def _require_usable(profile: Profile, gpu: Gpu) -> None:
    """Refuse another GPU's profile, one that lacks what profiles that ship have, and corrections that this version cannot feed."""
    if profile.gpu != gpu.name:
        raise InputError(f"profile is of {profile.gpu}, not of {gpu.name}", hint=_MEND)
    shipped = _read(_GENERIC["cuda"])
    for part in ("menus", "memory", "spreads"):
        lacking = sorted(getattr(shipped, part).keys() - getattr(profile, part).keys())
        if lacking:
            raise InputError(f"profile has no {lacking[0]} in {part}", hint=_MEND)
    for name, menu in profile.menus.items():
        if menu.correction is not None and (menu.correction.widths[0], menu.correction.widths[-1]) != (NUM_FEATURES, 1):
            raise InputError(f"profile has a correction of {name} of another version", hint=_MEND)


@functools.lru_cache(maxsize=32)
def _load(gpu: Gpu, library: str) -> Profile:
    own = f"{gpu.name}.{library}"
    if own in {path.stem for path in FOLDER.glob("*.json")}:
        return _read(own)
    parent = _parent(gpu.name, gpu.architecture)
    profile = _read(parent)
    reference = load_gpu(profile.gpu)
    menus = {name: replace(scaled_menu(menu, reference, gpu), num_rows=0, origin=parent) for name, menu in profile.menus.items()}
    return replace(profile, gpu=gpu.name, library=library, provenance="datasheet", inherited_from=parent, menus=menus)


@functools.lru_cache(maxsize=8)
def _read(name: str) -> Profile:
    return profile_from_json(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def _parent(gpu: str, architecture: str) -> str:
    table = tomllib.loads((FOLDER / "inherit.toml").read_text(encoding="utf-8"))
    parent = table["gpu"].get(gpu) or table["architecture"].get(architecture)
    if parent is None:
        raise MissingError(f"no profile is known for architecture {architecture} of {gpu}", hint="calibrate on the GPU itself")
    return parent


def generic_profile(family: str) -> Profile:
    """Constants for GPUs of a family ("cuda", before Hopper; "hopper"; "rocm") that no row is known of, stated for the profile's `gpu`."""
    return _read(_GENERIC[family])
