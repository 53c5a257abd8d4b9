"""What a GPU is: datasheet numbers, each with the page it came from. One GPU is one CUDA or HIP device (an MI250X is one GCD)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from ..errors import InputError

Vendor = Literal["nvidia", "amd"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)
ARCHITECTURES = ("volta", "turing", "ampere", "ada", "hopper", "blackwell", "cdna2", "cdna3", "cdna4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as its datasheet describes it.

    `flops_per_s` maps a dtype to the dense tensor-core peak at `clock_hz` (no sparsity); a dtype that is absent cannot run.
    `vector_flops_per_s` is the fp32 rate of the plain cores. `sources` maps a field to the page its number came from.
    """

    name: str
    full_name: str
    vendor: Vendor
    architecture: str
    """One of `ARCHITECTURES`."""
    num_sms: int
    """Streaming multiprocessors, or compute units on AMD: what one thread block occupies."""
    clock_hz: float
    """Boost clock at which the peaks are stated."""
    memory_bytes: int
    memory_bytes_per_s: float
    l2_bytes: int
    shared_memory_bytes: int
    """Shared memory (LDS) that the blocks of one SM can use together."""
    tdp_w: float
    flops_per_s: Mapping[str, float] = field(hash=False)
    vector_flops_per_s: float
    alignment_bytes: int = 16
    """Leading dimensions in multiples of this reach the tensor cores' full rate (the paper, section VI-B, says 128 for A100)."""
    libraries: tuple[str, ...] = ()
    """Profiles of library versions that exist for it, the default first (for example cuda11.7)."""
    default_node: str = ""
    """Node to assume where none is named: a short name or the path of a node file; empty: none."""
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def peak_flops_per_s(self, dtype: str) -> float:
        """Dense peak of `dtype`; a dtype that the GPU cannot multiply is refused."""
        if dtype not in self.flops_per_s:
            known = ", ".join(sorted(self.flops_per_s))
            raise InputError(f"{self.name} has no {dtype} products", hint=f"it has {known}", field="dtype")
        return self.flops_per_s[dtype]

    @property
    def default_dtype(self) -> str:
        """bf16, or fp16 where the tensor cores lack it."""
        return "bf16" if "bf16" in self.flops_per_s else "fp16"
