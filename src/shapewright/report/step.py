"""What sets the time of a step."""

from __future__ import annotations

from typing import Literal

from ..predict.explanation import StepTime


def step_bound_by(step: StepTime) -> Literal["host", "gpu"]:
    """`host` where issuing the launches takes longer than running them (eager mode alone), else `gpu`."""
    return "host" if step.host_s > step.gpu_s else "gpu"
