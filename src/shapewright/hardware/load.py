"""Find GPUs and nodes: by short name, by alias, or from a user's own TOML file of the same form.

Names ignore case, blanks and punctuation, and a vendor's prefix: `A100_40GB`, `a100-40gb` and `NVIDIA A100-SXM4-40GB` are one GPU. Each GPU
is one file of `gpus/`, each node one of `nodes/`; finding a short name parses that file alone.
Errors: unknown names are refused with the nearest; files as `factfile` says.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ..dtypes import DTYPES
from ..errors import InputError, shown, unknown_name
from .factfile import (
    Fact,
    FactFile,
    Quantity,
    check_keys,
    read_fact,
    read_fact_file,
    read_facts,
    read_sources,
    read_text,
    read_texts,
)
from .gpu import ARCHITECTURES, VENDORS, Gpu, Vendor
from .node import ANY_GPU, Node

GPU_FOLDER = Path(__file__).parent / "gpus"
NODE_FOLDER = Path(__file__).parent / "nodes"

# The ranges catch wrong units (1410 for MHz, 40 for GB), not unusual hardware.
GPU_QUANTITIES = (
    Quantity(name="num_sms", unit="streaming multiprocessors", low=1, high=65536, is_integer=True),
    Quantity(name="clock_hz", unit="Hz", low=1e8, high=1e11),
    Quantity(name="memory_bytes", unit="bytes", low=1e8, high=1e15, is_integer=True),
    Quantity(name="memory_bytes_per_s", unit="bytes a second", low=1e9, high=1e15),
    Quantity(name="l2_bytes", unit="bytes", low=2**14, high=1e12, is_integer=True),
    Quantity(name="shared_memory_bytes", unit="bytes an SM", low=2**12, high=2**30, is_integer=True),
    Quantity(name="tdp_w", unit="W", low=1, high=1e5),
    Quantity(name="vector_flops_per_s", unit="FLOP/s", low=1e10, high=1e18),
    Quantity(name="alignment_bytes", unit="bytes", low=1, high=4096, is_integer=True, default=16),
)
NODE_QUANTITIES = (
    Quantity(name="gpus_per_node", unit="GPUs", low=1, high=4096, is_integer=True),
    Quantity(name="link_bytes_per_s", unit="bytes a second", low=1e7, high=1e15),
    Quantity(name="link_latency_s", unit="s", low=1e-9, high=1e-2),
    Quantity(name="network_bytes_per_s", unit="bytes a second", low=1e6, high=1e15),
    Quantity(name="network_latency_s", unit="s", low=1e-9, high=1.0),
)
_COMMON_KEYS = ("name", "full_name", "aliases", "notes", "source", "sources")
_GPU_KEYS = (*_COMMON_KEYS, "vendor", "architecture", "default_node", "libraries", "flops_per_s", *(q.name for q in GPU_QUANTITIES))
_NODE_KEYS = (*_COMMON_KEYS, "gpu", "link", "network", "cpu", *(q.name for q in NODE_QUANTITIES))
_VENDOR_PREFIX = re.compile(r"^(?:nvidia|geforce|tesla|amd|instinct)+")


def load_gpu(source: str | os.PathLike[str] | Gpu) -> Gpu:
    """The GPU called `source`, or described by the TOML file at that path; a `Gpu` is returned as it is."""
    if isinstance(source, Gpu):
        return source
    return _read_gpu(_locate("GPU", source, GPU_FOLDER))


def load_node(source: str | os.PathLike[str] | Node) -> Node:
    """The node called `source`, or described by the TOML file at that path; a `Node` is returned as it is."""
    if isinstance(source, Node):
        return source
    return _read_node(_locate("node", source, NODE_FOLDER))


def gpu_names() -> tuple[str, ...]:
    """Short names of the GPUs that come with the package, sorted."""
    return tuple(sorted(_stems(GPU_FOLDER).values()))


def node_names() -> tuple[str, ...]:
    """Short names of the nodes that come with the package, sorted."""
    return tuple(sorted(_stems(NODE_FOLDER).values()))


def default_node(gpu: str | os.PathLike[str] | Gpu) -> Node | None:
    """The node to assume around `gpu` where none is named: the one its file names as `default_node`; None: no node is assumed."""
    gpu = load_gpu(gpu)
    if not gpu.default_node:
        return None
    node = load_node(gpu.default_node)
    return replace(node, gpu=gpu.name) if node.gpu == ANY_GPU else node


def _locate(kind: str, source: object, folder: Path) -> Path:
    """The file that `source` means: a known name first, then a path (anything with a suffix .toml or a separator)."""
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"{kind} is {shown(source)}", hint=f"expected the name of a {kind} or the path of a TOML file", field=kind.lower())
    text = os.fspath(source)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if isinstance(source, str):
        key = _name_key(text)
        name = _stems(folder).get(key) or _aliases(folder).get(key)
        if name:
            return folder / f"{name}.toml"
    if isinstance(source, os.PathLike) or text.lower().endswith(".toml") or "/" in text or os.sep in text:
        return Path(text)
    raise unknown_name(kind, source, _stems(folder).values())


def _name_key(name: str) -> str:
    """A name without case, punctuation and vendor, as names are compared."""
    return _VENDOR_PREFIX.sub("", re.sub(r"[^a-z0-9]", "", name[:200].lower()))


@lru_cache(maxsize=4)
def _stems(folder: Path) -> MappingProxyType[str, str]:
    """Comparable name -> short name, from the file names alone."""
    return MappingProxyType({_name_key(path.stem): path.stem for path in folder.glob("*.toml")})


@lru_cache(maxsize=4)
def _aliases(folder: Path) -> MappingProxyType[str, str]:
    """Comparable alias -> short name. Only the one `aliases` line of each file is parsed, so that no other file's numbers are."""
    found: dict[str, str] = {}
    for stem in _stems(folder).values():
        for line in (folder / f"{stem}.toml").read_text(encoding="utf-8").splitlines():
            if line.startswith("aliases"):
                found |= {_name_key(alias): stem for alias in tomllib.loads(line)["aliases"]}
    return MappingProxyType(found)


def _read_gpu(path: Path) -> Gpu:
    """The GPU that a file describes."""
    file = read_fact_file(path)
    check_keys(file, _GPU_KEYS)
    facts = read_facts(file, GPU_QUANTITIES)
    products = _read_products(file)
    vendor = read_text(file, "vendor")
    if vendor not in VENDORS:
        raise unknown_name("vendor", vendor, VENDORS, where=file.where("vendor"))
    architecture = read_text(file, "architecture")
    if architecture not in ARCHITECTURES:
        raise unknown_name("architecture", architecture, ARCHITECTURES, where=file.where("architecture"))
    name = _short_name(file, path)
    return Gpu(
        name=name,
        full_name=read_text(file, "full_name", name),
        vendor=cast(Vendor, vendor),
        architecture=architecture,
        num_sms=int(facts["num_sms"].value),
        clock_hz=facts["clock_hz"].value,
        memory_bytes=int(facts["memory_bytes"].value),
        memory_bytes_per_s=facts["memory_bytes_per_s"].value,
        l2_bytes=int(facts["l2_bytes"].value),
        shared_memory_bytes=int(facts["shared_memory_bytes"].value),
        tdp_w=facts["tdp_w"].value,
        flops_per_s=MappingProxyType({dtype: fact.value for dtype, fact in products.items()}),
        vector_flops_per_s=facts["vector_flops_per_s"].value,
        alignment_bytes=int(facts["alignment_bytes"].value),
        libraries=read_texts(file, "libraries"),
        default_node=_read_default_node(file),
        notes=read_texts(file, "notes"),
        sources=_named_sources(facts, {f"flops_per_s.{dtype}": fact for dtype, fact in products.items()}),
    )


def _read_products(file: FactFile) -> dict[str, Fact]:
    """Peak FLOP/s of the products of each dtype; at least one."""
    table = file.values.get("flops_per_s")
    if not isinstance(table, dict) or not table:
        what = "missing flops_per_s" if table is None else f"flops_per_s is {shown(table)}"
        raise file.error("flops_per_s", what, "expected a table [flops_per_s] with lines such as bf16 = 312e12")
    products = {}
    for dtype in table:
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES, where=file.where(dtype))
        products[dtype] = read_fact(file, Quantity(name=dtype, unit="FLOP/s", low=1e10, high=1e19), table)
    return products


def _read_default_node(file: FactFile) -> str:
    """The name of a known node, the path of a node file, or "" for none."""
    name = read_text(file, "default_node")
    if name:
        try:
            _locate("node", name, NODE_FOLDER)
        except InputError as error:
            raise error.at(file.where("default_node")) from None
    return name


def _read_node(path: Path) -> Node:
    """The node that a file describes."""
    file = read_fact_file(path)
    check_keys(file, _NODE_KEYS)
    facts = read_facts(file, NODE_QUANTITIES)
    name = _short_name(file, path)
    return Node(
        name=name,
        full_name=read_text(file, "full_name", name),
        gpu=read_text(file, "gpu", ANY_GPU),
        gpus_per_node=int(facts["gpus_per_node"].value),
        link=read_text(file, "link"),
        link_bytes_per_s=facts["link_bytes_per_s"].value,
        link_latency_s=facts["link_latency_s"].value,
        network=read_text(file, "network"),
        network_bytes_per_s=facts["network_bytes_per_s"].value,
        network_latency_s=facts["network_latency_s"].value,
        cpu=read_text(file, "cpu"),
        notes=read_texts(file, "notes"),
        sources=_named_sources(facts),
    )


def _short_name(file: FactFile, path: Path) -> str:
    """The file's `name`, or its own name without the suffix. Texts that every file may have are checked here too."""
    read_texts(file, "aliases")
    read_text(file, "source")
    read_sources(file)
    name = read_text(file, "name", path.stem)
    if not name.strip():
        raise file.error("name", f"name is {shown(name)}", "expected a short name such as my-gpu")
    return name


def _named_sources(*groups: dict[str, Fact]) -> MappingProxyType[str, str]:
    """Field -> the page its number came from; a dtype's peak is `flops_per_s.bf16`."""
    return MappingProxyType({name: fact.source for facts in groups for name, fact in facts.items()})
