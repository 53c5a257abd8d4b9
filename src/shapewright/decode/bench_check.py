"""Whether the engines of a bench compute the same model: each is held against Hugging Face's `generate` on one cell, before it is timed.

Both are fed the tokens that Hugging Face chooses by itself; of every step the largest difference of a logit counts, as a share of that
step's largest logit. Random weights make near ties, so that a tie's other side is no fault: how many tokens the engine chooses alike by
itself is reported beside it.

In bf16 and fp16 two runs of Hugging Face itself differ; what tells a fault from rounding is a third: the same weights in fp32. Held against
it, an engine may err no more than Hugging Face does in the same dtype, and wherever the likeliest token of fp32 leads by more than twice
Hugging Face's error it has to be the engine's too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .bench_engines import Generate, MakeEngine, Task, make_engine
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
    expected = _Expected(tokens=tokens, logits=reference.logits(tokens), exact=exact_logits(task, tokens))
    reference.close()
    return [_check(task, name, engine, expected) for name, engine in others]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """Tokens `[batch, steps]` that engines are fed, and the logits `[batch, steps, vocab_size]` of Hugging Face in the model's dtype and in
    fp32; None of an fp32 model, or where there is no room for one.
    """

    tokens: Any
    logits: Any
    exact: Any | None


def exact_logits(task: Task, tokens: Any) -> Any | None:
    """Hugging Face's logits with the same weights in fp32."""
    import torch

    if task.model.dtype == "fp32":
        return None
    try:
        model = copy.deepcopy(task.model.model).float()
        return Generate(model, task.ids).logits(tokens)
    except torch.OutOfMemoryError:
        return None
    finally:
        model = None
        task.device.empty_cache()


def _check(task: Task, name: str, engine: Any, expected: _Expected) -> Check:
    tokens = expected.tokens
    status: Status = "ok"
    num_equal, difference, error = 0, None, None
    errors: dict[str, Any] = {}
    try:
        num_equal = int((engine.generate(tokens.shape[1]) == tokens).sum())
        if hasattr(engine, "logits"):
            logits = engine.logits(tokens)
            difference = largest_difference(logits, expected.logits)
            errors = {} if expected.exact is None else against_exact(logits, expected.logits, expected.exact)
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
        **errors,
        status=status,
        error=error,
    )


def against_exact(logits: Any, hf: Any, exact: Any) -> dict[str, Any]:
    """Errors of an engine and of Hugging Face against fp32, and of the tokens that fp32 is sure of, those that the engine has too."""
    first, second = exact.topk(2, dim=-1).values.unbind(-1)
    is_sure = first - second > 2 * (hf - exact).abs().amax(-1)
    is_right = logits.argmax(-1) == exact.argmax(-1)
    return {
        "max_relative_error": largest_difference(logits, exact),
        "hf_max_relative_error": largest_difference(hf, exact),
        "num_sure_tokens": int(is_sure.sum()),
        "num_sure_tokens_right": int((is_sure & is_right).sum()),
    }


def largest_difference(logits: Any, expected: Any) -> float:
    """Largest |logits - expected| / largest |expected| over steps; both `[batch, steps, vocab_size]`. NaN where a logit is none."""
    steps = (logits - expected).abs().amax(-1) / expected.abs().amax(-1)
    return float(steps.max())
