"""What the linter says: `Finding`, its `Price` on each GPU, and the `Fix`es. Pure data; seconds, shares of the step's time."""

from __future__ import annotations

from dataclasses import dataclass

from .change import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a fault costs on one GPU: `cost_s` of a step of `step_s`; `low` and `high` bound its `share` (10th, 90th percentile).

    `is_raised` tells whether the rule sees the fault there and the predictor can tell its cost from its own noise. `fix` are the values of
    the change that the price is of; none where no change can be made there.
    """

    gpu: str
    cost_s: float
    step_s: float
    low: float
    high: float
    is_raised: bool
    fix: tuple[tuple[str, Value], ...] = ()

    @property
    def share(self) -> float:
        """Of the step's time."""
        return self.cost_s / self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """Better values of the finding's field and of those that go with it, main one first.

    `params_change` is a share of the model's parameters (+0.0009: 0.09 % more). `step_s`, the predicted step as it would run, and
    `shares`, what of the step is saved at equal work, are those of each GPU of the finding's prices, in their order; NaN where the fix
    cannot be made (it does not fit, say). `is_safe`: what the model computes stays the same (padding).
    """

    values: tuple[tuple[str, Value], ...]
    params_change: float
    step_s: tuple[float, ...]
    shares: tuple[float, ...]
    is_safe: bool
    is_workload: bool
    """Whether it changes how the model is run, rather than the model."""
    caution: str = ""
    tokens_ratio: float = 1.0
    """Tokens of a step on each GPU with the fix, over those without: times of the two compare only after division by it."""

    @property
    def value(self) -> Value:
        """The better value of the finding's own field."""
        return self.values[0][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault with its prices, dearest GPU first, and its fixes, best first."""

    code: str
    name: str
    model: str
    file: str
    line: int | None
    field: str
    value: Value
    message: str
    prices: tuple[Price, ...]
    fixes: tuple[Fix, ...]

    @property
    def price(self) -> Price:
        """The dearest, which decides."""
        return self.prices[0]
