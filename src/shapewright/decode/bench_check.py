"""Whether the engines of a bench compute the same model: each is held against Hugging Face's `generate` on one cell, before it is timed.

Both are fed the tokens that Hugging Face chooses by itself; of every step the largest difference of a logit counts, as a share of that
step's largest logit. Random weights make near ties, so that a tie's other side is no fault: how many tokens the engine chooses alike by
itself is reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bench_engines import MakeEngine, Task, make_engine
from .bench_rows import Check, Status
from .bench_turn import said

#: Of no interest here: it is the reference, and it computes nothing.
_LEFT_OUT = ("hf", "read")


def checks(task: Task, engines: Sequence[tuple[str, Any]], make: MakeEngine = make_engine) -> list[Check]:
    """A check of each engine (name, engine) over `task.cell.warmup_tokens` tokens a row; an engine that fails has one that says so."""
    others = [(name, engine) for name, engine in engines if name not in _LEFT_OUT]
    if not others:
        return []
    reference: Any = make("hf", task)
    tokens = reference.generate(task.cell.warmup_tokens)
    logits = reference.logits(tokens)
    reference.close()
    return [_check(task, name, engine, (tokens, logits)) for name, engine in others]


def _check(task: Task, name: str, engine: Any, expected: tuple[Any, Any]) -> Check:
    tokens, logits = expected
    status: Status = "ok"
    num_equal, difference, error = 0, None, None
    try:
        num_equal = int((engine.generate(tokens.shape[1]) == tokens).sum())
        difference = largest_difference(engine.logits(tokens), logits) if hasattr(engine, "logits") else None
    except Exception as fault:  # the timing that follows says more of it
        status, error = "failed", said(fault)
    return Check(
        model=task.model.name,
        engine=name,
        dtype=task.model.dtype,
        batch=task.cell.batch,
        context=task.cell.context,
        num_tokens=tokens.numel(),
        num_equal_tokens=num_equal,
        max_relative_difference=difference,
        status=status,
        error=error,
    )


def largest_difference(logits: Any, expected: Any) -> float:
    """Largest |logits - expected| / largest |expected| over steps; both `[batch, steps, vocab_size]`. NaN where a logit is none."""
    steps = (logits - expected).abs().amax(-1) / expected.abs().amax(-1)
    return float(steps.max())
