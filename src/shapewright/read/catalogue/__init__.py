"""Public models by name: TOML files beside this module, one a family, each entry with the page its numbers come from.

An entry is one table named by the model's short name:

    ["llama-2-7b"]
    hub = "meta-llama/Llama-2-7b-hf"            # optional; `aliases` lists further names
    source = "https://huggingface.co/..."       # the page of the numbers; `note` says what is special about them
    config = { ... } or ["llama-2-7b".config]   # the keys of the hub's config.json that decide the shape; or
    shape = { ... } or ["gpt3-2.7b".shape]      # fields of `ModelShape`, for models without such a file

`null` lists keys of the config that the file sets to null, which TOML cannot say. `base` names an entry whose config or shape this one
takes over, changed by its own. A name is looked up without parsing: only the text of one entry (and of its base) is read as TOML.

Errors: an unknown name is an `InputError` that offers the nearest ones.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import unknown_name
from ...shape import LatentAttention, MixtureOfExperts, ModelShape
from ..source import LoadedShape

_ENTRY = re.compile(r'^\["([^"\]]+)"\]$', re.MULTILINE)
_NAMES = re.compile(r"^(?:hub|aliases) = (.+)$", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """What the catalogue says of one model; either `config` (Hugging Face keys) or `shape` (`ModelShape` fields) is filled."""

    name: str
    family: str
    """The file it stands in."""
    source: str
    hub: str | None
    aliases: tuple[str, ...]
    note: str | None
    config: Mapping[str, Any]
    shape: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The TOML text of one entry and its place."""

    name: str
    family: str
    toml: str
    line: int


def names() -> tuple[str, ...]:
    """The short names of all models, by family and size as the files list them."""
    return tuple(_texts())


def describe(name: str) -> CatalogueEntry:
    """The entry called `name`: a short name, an alias or a Hub id, in any case."""
    entry = _find(name)
    table = tomllib.loads(entry.toml)[entry.name]
    config, shape = dict(table.get("config", {})), dict(table.get("shape", {}))
    if "base" in table:
        base = describe(table["base"])
        config, shape = {**base.config, **config}, {**base.shape, **shape}
    config.update(dict.fromkeys(table.get("null", ())))
    return CatalogueEntry(
        name=entry.name,
        family=entry.family,
        source=table["source"],
        hub=table.get("hub"),
        aliases=tuple(table.get("aliases", ())),
        note=table.get("note"),
        config=MappingProxyType(config),
        shape=MappingProxyType(shape),
    )


def load(name: str) -> LoadedShape:
    """The shape of the model called `name`: a short name, an alias or a Hub id, in any case."""
    entry = describe(name)
    notes = (entry.note,) if entry.note else ()
    if not entry.config:
        return LoadedShape(shape=_shape(entry), origin="catalogue", notes=notes)
    from ..hf import shape_from_hf

    loaded = shape_from_hf(dict(entry.config), name=entry.name, where=f"catalogue {entry.name}")
    return replace(loaded, origin="catalogue", notes=(*notes, *loaded.notes))


def is_known(name: str) -> bool:
    """Whether `name` is in the catalogue, as `load` would find it."""
    return name.lower() in _keys()


def _shape(entry: CatalogueEntry) -> ModelShape:
    """The `ModelShape` that an entry's own fields describe."""
    values = dict(entry.shape)
    if "moe" in values:
        values["moe"] = MixtureOfExperts(**values["moe"])
    if "latent_attention" in values:
        values["latent_attention"] = LatentAttention(**values["latent_attention"])
    if "attention_pattern" in values:
        values["attention_pattern"] = tuple(values["attention_pattern"])
    return ModelShape(name=entry.name, **values)


def _find(name: str) -> _Text:
    key = _keys().get(name.lower())
    if key is None:
        raise unknown_name("model", name, names())
    return _texts()[key]


@cache
def _texts() -> Mapping[str, _Text]:
    """The text of every entry by its short name."""
    entries: dict[str, _Text] = {}
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        heads = list(_ENTRY.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends, strict=True):
            assert head[1] not in entries, f"{path}: two entries are called {head[1]}"
            line = text.count("\n", 0, head.start()) + 1
            entries[head[1]] = _Text(name=head[1], family=path.stem, toml=text[head.start() : end], line=line)
    return MappingProxyType(entries)


@cache
def _keys() -> Mapping[str, str]:
    """Short names, aliases and Hub ids in lower case, to the short name."""
    keys: dict[str, str] = {}
    for entry in _texts().values():
        listed = [name for names_line in _NAMES.findall(entry.toml) for name in _QUOTED.findall(names_line)]
        for key in {name.lower() for name in (entry.name, *listed)}:
            assert key not in keys, f"{entry.family}.toml:{entry.line}: {key} already names {keys[key]}"
            keys[key] = entry.name
    return MappingProxyType(keys)
