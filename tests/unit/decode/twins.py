"""An accelerated model beside an untouched one with the same weights, and a step in plain torch that counts its runs."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from shapewright.decode.buffers import Buffers
from shapewright.decode.hooks import accelerate, engine_of
from shapewright.decode.layers import Decoder
from shapewright.decode.reference import reference_step
from unit.decode.tiny import TINY, left_padded

NEW = 12
DICT = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
FAMILIES = ("llama", "mistral", "opt", "gpt_neox", "gpt2")


class CountedStep:
    """`reference_step` over fixed logits."""

    runs = 0
    made = 0

    def __init__(self, decoder: Decoder, buffers: Buffers) -> None:
        self.decoder, self.buffers = decoder, buffers
        self.logits = torch.full((buffers.batch, decoder.vocab_size), float("nan"), dtype=decoder.dtype, device=decoder.device)
        CountedStep.made += 1

    def run(self) -> None:
        """One step."""
        CountedStep.runs += 1
        self.logits.copy_(reference_step(self.decoder, self.buffers))


class GreedyStep(CountedStep):
    """One that chooses and moves on by itself, as the kernels' step does."""

    def run_greedy(self) -> None:
        """One step, the likeliest token, and one slot further."""
        self.run()
        buffers = self.buffers
        buffers.tokens.copy_(self.logits.argmax(-1))
        buffers.generated[int(buffers.length - buffers.first)] = buffers.tokens
        buffers.positions += 1
        buffers.length += 1


@contextmanager
def counted(at_least: int = 1) -> Iterator[list[int]]:
    """Fails unless steps ran in the block; how many, afterwards, in the list."""
    before, seen = CountedStep.runs, []
    yield seen
    seen.append(CountedStep.runs - before)
    assert seen[0] >= at_least, f"{seen[0]} steps ran: the model was not accelerated"


@contextmanager
def none_counted() -> Iterator[None]:
    """Fails if a step ran in the block."""
    before = CountedStep.runs
    yield
    assert before == CountedStep.runs, "steps ran where the call should run plain"


def twins(family: str = "llama", make_step: Callable = CountedStep, **fields: object) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The untouched model, and the accelerated one."""
    plain = TINY[family](**fields)
    return plain, accelerate(copy.deepcopy(plain), make_step=make_step)


def pool_of(model: PreTrainedModel):
    """The pool of an accelerated model, after all that is unreachable is gone."""
    gc.collect()
    engine = engine_of(model)
    assert engine is not None and engine.pool is not None
    return engine.pool


def same(found: Tensor | tuple[Tensor, ...], expected: Tensor | tuple[Tensor, ...]) -> None:
    """Scores or logits equal within fp32 rounding of another order of sums; masked ones equal exactly."""
    found, expected = (one if isinstance(one, tuple) else (one,) for one in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


def padded(model: PreTrainedModel) -> dict[str, Any]:
    """A greedy call with three prompts of 4, 9 and 7 tokens."""
    ids, mask = left_padded(model, [4, 9, 7])
    return {"input_ids": ids, "attention_mask": mask, "max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}


def both(models: tuple[PreTrainedModel, PreTrainedModel], seed: int | None = None, steps: int = 1, **kwargs: Any) -> tuple[Any, Any]:
    """What the untouched and the accelerated model generate; arguments that are a `Make` are made for each."""
    found = []
    for index, model in enumerate(models):
        if seed is not None:
            torch.manual_seed(seed)
        own = {name: value() if isinstance(value, Make) else value for name, value in kwargs.items()}
        if index == 0:
            found.append(model.generate(**own))
        else:
            with counted(steps):
                found.append(model.generate(**own))
    return found[0], found[1]


class Make:
    """An argument with a state of its own, made anew for each model."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __call__(self) -> Any:
        """The argument."""
        return self.make()
