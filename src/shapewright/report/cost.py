"""GPU-hours and money for a number of tokens, from the predicted rate of a step."""

from __future__ import annotations

from dataclasses import dataclass

from ..predict.explanation import Explanation
from ..units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """What `tokens` cost. `wall_s` is the time with `num_gpus` GPUs; `price` is in the currency of `gpu_hour_price`, None without one."""

    tokens: float
    num_gpus: int
    wall_s: float
    gpu_hours: float
    gpu_hour_price: float | None
    price: float | None


def token_cost(explanation: Explanation, tokens: float, gpu_hour_price: float | None = None) -> TokenCost:
    """wall_s = tokens / tokens_per_s; GPU-hours = wall_s x GPUs / 3600. Leaves out restarts, evaluation and data loading."""
    wall_s = tokens / explanation.step.tokens_per_s
    gpu_hours = wall_s * explanation.workload.num_gpus / SECONDS_PER_HOUR
    return TokenCost(
        tokens=tokens,
        num_gpus=explanation.workload.num_gpus,
        wall_s=wall_s,
        gpu_hours=gpu_hours,
        gpu_hour_price=gpu_hour_price,
        price=None if gpu_hour_price is None else gpu_hours * gpu_hour_price,
    )
