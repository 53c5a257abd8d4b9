"""`shapewright gpus [NAME]`: what is known, or one GPU or node with the source of every number."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..errors import InputError, unknown_name
from ..hardware.gpu import Gpu
from ..hardware.load import gpu_names, load_gpu, load_node, node_names
from ..hardware.node import Node
from .options import Json
from .screen import page_width


def gpus(
    name: Annotated[str | None, Parameter(help="A GPU, a node or a TOML file; left out: all of them.")] = None, /, *, json: Json = False
) -> None:
    """List the GPUs and nodes that are known, or show one with the source of every number."""
    found = None if name is None else _find(name)
    gpu_list = [load_gpu(each) for each in gpu_names()] if found is None else [found] if isinstance(found, Gpu) else []
    nodes = [load_node(each) for each in node_names()] if found is None else [found] if isinstance(found, Node) else []
    if json:
        from ..report.json import SCHEMA_VERSION, plain, to_json

        print(to_json({"schema_version": SCHEMA_VERSION, "gpus": plain(gpu_list), "nodes": plain(nodes)}))
        return
    from ..report import hardware

    print(hardware.gpu_list(gpu_list, nodes, page_width()) if found is None else hardware.hardware_text(found, page_width()))


def _find(name: str) -> Gpu | Node:
    """The GPU of that name, else the node."""
    if name in node_names():
        return load_node(name)
    try:
        return load_gpu(name)
    except InputError as error:
        if error.where is not None:
            raise
        raise unknown_name("GPU or node", name, {*gpu_names(), *node_names()}) from None
