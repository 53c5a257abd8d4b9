"""Whatever a user names, as a shape: `load` keeps where it came from, `load_shape` gives the `ModelShape` alone.

What wins, in this order: an object (a `ModelShape`, a `LoadedShape`, a mapping, a live Hugging Face config or model); a path that exists
exactly as written, relative to the current folder; a catalogue name or Hub id; a Hub id in the user's own Hugging Face cache. A list of
paths is GPT-NeoX files to merge; a list that holds flags is Megatron-LM arguments; None is a model of overrides alone. A file's kind
is told from what it says, not from its name. Nothing is fetched and no code of a model runs.

Errors: `InputError` that says what was looked for and what to do now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, shown, unknown_name
from ..shape import ModelShape
from . import catalogue, hub_cache
from .fields import apply_overrides, shape_from_fields
from .hf import shape_from_hf, shape_from_hf_config_object
from .keyed import Entry, Keys
from .located import barrier_to, load_json, read_text
from .megatron import shape_from_megatron
from .neox import shape_from_keys as shape_from_neox_keys
from .neox import shape_from_neox
from .source import LoadedShape
from .strict_yaml import load_yaml

_MEGATRON_FLAG = re.compile(r"(?<![\w-])--(hidden[-_]size|num[-_]layers)\b")
_FILE_ENDINGS = (".json", ".yml", ".yaml", ".sh", ".txt", ".toml")
#: Keys that tell a GPT-NeoX configuration from a Hugging Face one where both are JSON.
_NEOX_KEYS = {"num_layers", "pos_emb", "pipe_parallel_size", "no_weight_tying"}


def load(source: object, *, overrides: Mapping[str, Any] | None = None) -> LoadedShape:
    """The shape of `source` with `overrides` (fields of `OVERRIDABLE`; None: not given) on top, and where it was said."""
    given = {field: value for field, value in (overrides or {}).items() if value is not None}
    if source is None:
        if not given:
            raise InputError("no model is named", hint="give a catalogue name, a file, or --hidden-size and the other sizes")
        return shape_from_fields(**given)
    loaded = _load(source, given)
    if not given:
        return loaded
    shape, notes = apply_overrides(loaded.shape, given, stand_ins=loaded.stand_ins)
    lines = {field: line for field, line in loaded.lines.items() if getattr(shape, field, None) == getattr(loaded.shape, field, None)}
    return replace(loaded, shape=shape, lines=lines, notes=loaded.notes + notes)


def load_shape(source: object, **overrides: Any) -> ModelShape:
    """The shape of a catalogue name, a file or folder, several YAML files, a Hub id in the local cache, or a live Hugging Face config.

    `overrides` are `ModelShape` fields, as in `load_shape("gpt3-2.7b", num_attention_heads=20)`; what hangs on them moves along
    (`override` says what). Errors: `InputError`.
    """
    return load(source, overrides=overrides).shape


def _load(source: object, given: Mapping[str, Any]) -> LoadedShape:
    if isinstance(source, LoadedShape):
        return source
    if isinstance(source, ModelShape):
        return LoadedShape(shape=source, origin=source.name)
    if isinstance(source, str):
        return _load_name(source, given)
    if isinstance(source, Path):
        return _load_path(source, given)
    if isinstance(source, Mapping):
        return _load_mapping(source)
    if isinstance(source, Sequence):
        return _load_list([item for item in source if isinstance(item, str | Path)], len(source), given)
    return _load_object(source)


def _load_object(source: object) -> LoadedShape:
    """A live config, or a model that carries one."""
    for config in (source, getattr(source, "config", None)):
        if callable(getattr(config, "to_dict", None)):
            return shape_from_hf_config_object(config)
    raise InputError(f"{type(source).__name__} is no model", hint="give a name, a path, a mapping or a Hugging Face config")


def _load_list(items: list[str | Path], length: int, given: Mapping[str, Any]) -> LoadedShape:
    if not items or len(items) != length:
        raise InputError("a list names no model", hint="give GPT-NeoX files or Megatron-LM arguments, as strings")
    if any(str(item).startswith("--") for item in items):
        return shape_from_megatron([str(item) for item in items], name="megatron", where="arguments", known=given)
    if len(items) == 1:
        return _load(items[0], given)
    paths = [Path(item) for item in items]
    return shape_from_neox(paths, name=paths[0].stem)


def _load_name(name: str, given: Mapping[str, Any]) -> LoadedShape:
    if not name.strip() or "\0" in name:
        raise InputError(f"{shown(name)} names no model", hint="give a catalogue name, a Hub id or a file")
    if len(name) < 4096 and _exists(Path(name)):
        return _load_path(Path(name), given)
    if catalogue.is_known(name):
        return catalogue.load(name)
    if (path := hub_cache.find_cached_config(name)) is not None:
        located = load_json(read_text(path), where=str(path))
        return replace(shape_from_hf(located.values, name=name, where=str(path), lines=located.lines), origin=name)
    if name.endswith(_FILE_ENDINGS) or name.startswith((".", "/", "~")) or "/" in name or "\\" in name:
        raise _absent_path(name)
    raise unknown_name("model", name, catalogue.names())


def _absent_path(name: str) -> InputError:
    """The error for a name with a slash or a file's ending; it may have been meant as a Hub id."""
    if (barrier := barrier_to(Path(name))) is not None:
        return InputError(f"{shown(name)} cannot be read ({barrier})", hint="check the path")
    if name.endswith(_FILE_ENDINGS) or not hub_cache.is_hub_id(name):
        return InputError(f"no file {shown(name)}", hint="check the path, or give a catalogue name (`shapewright models`)")
    near = unknown_name("model", name.rsplit("/", 1)[-1], catalogue.names()).hint or ""
    offer = f" ({near})" if near.startswith("did you mean") else ""
    return InputError(
        f"no file, catalogue model or model of the local Hugging Face cache is called {shown(name)}{offer}",
        hint=f"`huggingface-cli download {name[:80]} config.json` fetches one from the Hub",
    )


def _exists(path: Path) -> bool:
    """Whether something lies there, a link to nothing and a file that may not be read included."""
    try:
        path.lstat()
        return True
    except (OSError, ValueError):
        return False


def _load_path(path: Path, given: Mapping[str, Any]) -> LoadedShape:
    """A folder with a config.json, or a file of any kind that can be read."""
    if path.is_dir():
        folder, path = path, path / "config.json"
        if (barrier := barrier_to(path)) is not None:
            raise InputError(f"the folder {shown(str(folder))} cannot be read ({barrier})", hint="check its permissions")
        if not _exists(path):
            raise InputError(f"the folder {shown(str(folder))} has no config.json", hint="give a model's folder, or a file")
        return load_text(read_text(path), name=folder.resolve().name or "model", where=str(path), given=given)
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return load_text(read_text(path), name=name or "model", where=str(path), given=given)


def load_text(text: str, *, name: str, where: str, given: Mapping[str, Any] | None = None) -> LoadedShape:
    """The shape that `text` describes, by what it says: JSON, Megatron-LM arguments or GPT-NeoX YAML."""
    is_yaml_name = where.endswith((".yml", ".yaml"))
    # GPT-NeoX writes its YAML in braces too; whatever else begins with one is meant to be JSON.
    if where.endswith(".json") or (text.lstrip("\ufeff \t\r\n").startswith("{") and not is_yaml_name):
        located = load_json(text, where=where)
        if _is_neox(located.values):
            return shape_from_neox_text(text, name=name, where=where)
        return shape_from_hf(located.values, name=name, where=where, lines=located.lines)
    if _MEGATRON_FLAG.search(text) and not is_yaml_name:
        return shape_from_megatron(text, name=name, where=where, known=given)
    if text.startswith("#!") or where.endswith(".sh"):
        raise InputError("the script gives no --hidden-size", where=where, hint="expected a Megatron-LM launch script")
    return shape_from_neox_text(text, name=name, where=where)


def shape_from_neox_text(text: str, *, name: str, where: str) -> LoadedShape:
    """GPT-NeoX YAML whose errors name `where`; text that gives no size at all is some other kind of file."""
    keys = Keys(entries=load_yaml(text, where=where), origin=where)
    if keys.first("hidden_size", "num_layers", "num_attention_heads") is None:
        raise InputError("the file describes no model", where=where, hint="expected config.json, GPT-NeoX YAML or a Megatron-LM script")
    return shape_from_neox_keys(keys, name=name)


def _is_neox(values: Mapping[str, Any]) -> bool:
    return "model_type" not in values and not _NEOX_KEYS.isdisjoint(key.replace("-", "_") for key in values)


def _load_mapping(values: Mapping[Any, Any]) -> LoadedShape:
    """A mapping with Hugging Face's keys, or GPT-NeoX's."""
    named = {str(key): value for key, value in values.items()}
    if not _is_neox(named):
        return shape_from_hf(named, name=str(named.get("_name_or_path") or named.get("model_type") or "custom")[:200], where="mapping")
    entries = {key.replace("-", "_"): Entry(value=value, line=None, file="mapping") for key, value in named.items()}
    return shape_from_neox_keys(Keys(entries=entries, origin="mapping"), name="custom")
