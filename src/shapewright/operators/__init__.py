"""What a transformer becomes on a GPU: its operators, with FLOPs and bytes, and its memory."""

from .lower import lower
from .memory import MemoryUse, largest_micro_batch, memory_use
from .types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Operator, Work

__all__ = [
    "Collective",
    "FlashAttention",
    "Gemm",
    "GroupedGemm",
    "MemoryChain",
    "MemoryPass",
    "MemoryUse",
    "Operator",
    "Work",
    "largest_micro_batch",
    "lower",
    "memory_use",
]
