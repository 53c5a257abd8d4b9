"""Hardware: GPUs and nodes as files of facts, a source beside every number."""

from .gpu import Gpu
from .load import default_node, gpu_names, load_gpu, load_node, node_names
from .node import Node

__all__ = ["Gpu", "Node", "default_node", "gpu_names", "load_gpu", "load_node", "node_names"]
