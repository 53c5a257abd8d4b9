"""`Case`: a model under a workload on one machine, which rules look at and the linter prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from ..dtypes import load_dtype
from ..operators.lower import lower
from ..operators.types import Operator
from ..predict.explain import runnable
from ..predict.gemm_classes import vector_size
from ..predict.operators import Machine
from ..read.source import LoadedShape
from ..shape import ModelShape
from ..workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A shape and a workload with its dtype."""

    shape: ModelShape
    workload: Workload

    @property
    def dtype(self) -> str:
        """Of activations and weights."""
        assert self.workload.dtype is not None
        return self.workload.dtype

    def operators(self) -> tuple[Operator, ...]:
        """What one GPU runs in a micro-batch and once a step."""
        return lower(self.shape, self.workload, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model as it was read (`loaded`), a workload that it can run, and the machine.

    `given` are the workload fields, and `node`, that the user or the model's file said: a default is nobody's choice, so nobody's fault.
    """

    loaded: LoadedShape
    workload: Workload
    machine: Machine
    given: frozenset[str] = frozenset()

    @property
    def shape(self) -> ModelShape:
        """The model."""
        return self.loaded.shape

    @property
    def now(self) -> Variant:
        """The case without any change."""
        return Variant(shape=self.shape, workload=self.workload)

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """Of the model as it is."""
        return self.now.operators()

    @property
    def vector(self) -> int:
        """Elements of one vector load: what leading dimensions should be multiples of for the tensor cores."""
        return vector_size(load_dtype(self.now.dtype).size_bytes, self.machine.gpu.alignment_bytes)


def cases_of(loaded: LoadedShape, workload: Workload, machines: Iterable[Machine], given: Iterable[str] = ()) -> tuple[Case, ...]:
    """The same model and question on each machine; a workload that the model or a GPU cannot run is refused."""
    chosen = frozenset(given)
    return tuple(
        Case(loaded=loaded, workload=runnable(loaded.shape, workload, machine.gpu), machine=machine, given=chosen) for machine in machines
    )


def within_positions(workload: Workload, shape: ModelShape) -> Workload:
    """`workload` with no more tokens a sequence than the model has positions: what nobody asked for should not exceed them."""
    positions = shape.max_position_embeddings
    if positions is None or workload.kv_len <= positions:
        return workload
    if workload.phase == "decode" and positions > 1:
        return replace(workload, context=positions - 1)
    return replace(workload, sequence=positions)
