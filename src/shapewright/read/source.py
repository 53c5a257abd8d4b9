"""`LoadedShape`: a shape and where each part of it was said, which readers return and the linter points back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedShape:
    """A `ModelShape` with its origin.

    `origin` is a file path, a Hub id, "catalogue" or "flags". `lines` maps a field of `ModelShape` (or of its `moe` and
    `latent_attention`) to the 1-based line of the file that set it; what the file does not mention (a default) is absent.
    `notes` are one-line remarks for people.
    `files` names the file of each line where several files were merged (else empty: all lines are of `origin`). `workload` holds
    the `Workload` fields that a training configuration also says (micro_batch, sequence, tensor_parallel, dtype, ...).
    """

    shape: ModelShape
    origin: str
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    workload: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
