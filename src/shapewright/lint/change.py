"""What a rule proposes: a `Fault` of one field, and the `Change`s that would mend it.

A change names fields and new values, so that it can be applied to the same model on another GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import ShapewrightError
from ..predict.explain import runnable
from ..read.fields import apply_overrides
from .case import Case, Variant

Value = int | float | str | bool | None
#: Cautions that changes of several rules share.
FEWER_HEADS = "fewer heads may cost accuracy (paper, section VI-B)"
RETRAINED = "a new shape to train, not a change to trained weights"
Comparison = Literal["as_is", "equal_work", "equal_params"]
"""How the step with a change is set beside the step without.

- `as_is`: as predicted. For padding, whose new rows do no work, and for changes that keep every weight.
- `equal_work`: each operator that does more or less work than before (FLOPs, or bytes where it has none) is scaled back to what it did, so
  that a smaller MLP is no gain by being smaller.
- `equal_params`: the whole step is scaled by the ratio of active parameters, where layers are traded for width.

In every case the step counts per token and GPU: a larger micro-batch is no gain by being a longer step.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New values of fields of the model, or of the workload; the first is that of the fault's field.

    `against` are workload fields that the step *without* the change takes for the comparison (a global batch, so that both sides count
    the optimizer alike). `is_safe`: the function of the model stays the same. `caution`: what it may cost beside time.
    `is_alternative`: another way out, which saves (or costs) for other reasons too, so that it does not set the price of the fault.
    """

    model: tuple[tuple[str, Value], ...] = ()
    workload: tuple[tuple[str, Value], ...] = ()
    compare: Comparison = "as_is"
    against: tuple[tuple[str, Value], ...] = ()
    is_safe: bool = False
    is_alternative: bool = False
    caution: str = ""

    @property
    def values(self) -> tuple[tuple[str, Value], ...]:
        """All new values, those of the model first."""
        return self.model + self.workload

    def applied(self, case: Case) -> Variant | None:
        """The case with the change; None where it cannot be made (a width that the heads do not divide, say)."""
        return varied(case, model=dict(self.model), workload=dict(self.workload))

    def baseline(self, case: Case) -> Variant | None:
        """What the change is compared with."""
        return varied(case, model={}, workload=dict(self.against))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A field whose `value` costs time, in words (`message`), and the ways out of it, best first."""

    field: str
    value: Value
    message: str
    changes: tuple[Change, ...]


def varied(case: Case, *, model: Mapping[str, Value], workload: Mapping[str, Value]) -> Variant | None:
    """The case with other values; None where they do not go together."""
    try:
        shape = apply_overrides(case.shape, model)[0] if model else case.shape
        asked = replace(case.workload, **workload) if workload else case.workload  # type: ignore[arg-type]
        if asked.num_gpus > 1 and case.machine.node is None:
            return None
        return Variant(shape=shape, workload=runnable(shape, asked, case.machine.gpu))
    except ShapewrightError:
        return None
