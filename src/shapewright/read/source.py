"""`LoadedShape`: a shape and where each part of it was said, which readers return and the linter points back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..shape import ModelShape
from ..workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedShape:
    """A `ModelShape` with its origin.

    `origin` is a file path, a Hub id, "catalogue" or "flags". `lines` maps a field of `ModelShape` (of its `moe` and
    `latent_attention`, of `workload`) to the 1-based line of the file that set it; what the file does not mention (a default) is absent.
    `notes` are one-line remarks for people.
    `files` names the file of each line where several files were merged (else empty: all lines are of `origin`). `workload` holds
    the `Workload` fields that a training configuration also says (micro_batch, sequence, tensor_parallel, dtype, ...).
    `num_micro_batches` are the passes of one optimizer step where the configuration counts them (gradient accumulation), rather
    than the sequences of its global batch: the global batch then grows with the replicas.
    """

    shape: ModelShape
    origin: str
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    workload: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    num_micro_batches: int | None = None
    stand_ins: tuple[str, ...] = ()
    """Fields that the caller gave in place of what the file leaves to the shell."""

    def workload_with(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """`workload` beside the fields that were `given` otherwise: counted passes make a global batch of those sizes."""
        if self.num_micro_batches is None:
            return self.workload
        sizes = {"micro_batch": Workload().micro_batch, "data_parallel": 1, **self.workload, **given}
        return {**self.workload, "global_batch": sizes["micro_batch"] * sizes["data_parallel"] * self.num_micro_batches}
