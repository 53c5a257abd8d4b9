"""Weights that are written into in place, with the real kernels in the interpreter: what steps keep of them is made anew."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

import shapewright.decode as swd
from shapewright.decode.graphs import CapturedStep
from shapewright.decode.hooks import engine_of
from shapewright.decode.step import Step
from unit.decode.kernels.plain import error_of
from unit.decode.tiny import TINY, prompt

GREEDY = {"do_sample": False, "pad_token_id": 0, "return_dict_in_generate": True, "output_logits": True}


def pair(family: str) -> tuple[PreTrainedModel, PreTrainedModel]:
    """An untouched model, and an accelerated one with the same weights."""
    plain = TINY[family]()
    return plain, swd.accelerate(copy.deepcopy(plain))


@torch.no_grad()
def rewrite(model: PreTrainedModel) -> None:
    """Past every counter that a tensor has."""
    generator = torch.Generator().manual_seed(5)
    for name, weight in model.named_parameters():
        if any(part in name for part in ("norm", "ln_", "fc", "mlp", "attn")):
            weight.data.add_(0.3 * torch.randn(weight.shape, generator=generator))


@pytest.fixture
def refreshes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """`asked` at once, and `made`."""
    seen: list[str] = []
    asked, made = CapturedStep.refresh, Step.refresh
    monkeypatch.setattr(CapturedStep, "refresh", lambda self: (seen.append("asked"), asked(self))[1])
    monkeypatch.setattr(Step, "refresh", lambda self: (seen.append("made"), made(self))[1])
    yield seen


@pytest.mark.parametrize("family", ["llama", "opt", "gpt_neox", "gpt2"])
def test_between_two_texts(family: str) -> None:
    plain, model = pair(family)
    ids = prompt(plain, 1)
    before = plain.generate(ids, max_new_tokens=4, **GREEDY)
    assert torch.equal(before.sequences, model.generate(ids, max_new_tokens=4, **GREEDY).sequences)
    for each in (plain, model):
        rewrite(each)
    expected = plain.generate(ids, max_new_tokens=4, **GREEDY)
    assert error_of(torch.stack(model.generate(ids, max_new_tokens=4, **GREEDY).logits), torch.stack(expected.logits)) < 1e-5
    assert error_of(torch.stack(before.logits), torch.stack(expected.logits)) > 1e-2


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_before_a_text_goes_on_by_one_token(family: str) -> None:
    """Then every forward of the second call is a step, and none is Hugging Face's."""
    logits = []
    for model in pair(family):
        first = model.generate(prompt(model, 1), max_new_tokens=4, **GREEDY)
        rewrite(model)
        mask = torch.ones_like(first.sequences)
        again = model.generate(first.sequences, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=3, **GREEDY)
        logits.append(torch.stack(again.logits))
    assert error_of(logits[1], logits[0]) < 1e-5


@torch.no_grad()
def test_a_text_that_grows_into_buffers_of_another() -> None:
    """Whose step last ran before the weights were written into."""
    plain, model = pair("opt")
    ids = prompt(plain, 1, length=8)
    engine = engine_of(model)
    assert engine is not None
    large = engine.new_cache(40)
    for each in (ids, torch.tensor([[7]])):
        model(input_ids=each, past_key_values=large)
    for each in (plain, model):
        rewrite(each)
    small, theirs = engine.new_cache(8), DynamicCache()
    model(input_ids=ids, past_key_values=small)
    plain(input_ids=ids, past_key_values=theirs)
    lease = small.lease
    del large
    gc.collect()
    for token in range(4):
        found, expected = (
            each(input_ids=torch.tensor([[11 + token]]), past_key_values=cache).logits for each, cache in ((model, small), (plain, theirs))
        )
        assert error_of(found, expected) < 1e-5
    assert small.lease is not lease


def after_one_text(refreshes: list[str]) -> tuple[PreTrainedModel, Tensor]:
    """A model whose buffers have a step."""
    _, model = pair("opt")
    ids = prompt(model, 1, length=8)
    model.generate(ids, max_new_tokens=4, **GREEDY)
    refreshes.clear()
    return model, ids


def test_once_a_text_and_with_its_prompt(refreshes: list[str]) -> None:
    """Without a graph of it the next step makes it."""
    model, ids = after_one_text(refreshes)
    model.generate(ids, max_new_tokens=4, **GREEDY)
    assert refreshes == ["asked", "made"]


def test_not_with_every_chunk_of_a_prompt(refreshes: list[str]) -> None:
    model, ids = after_one_text(refreshes)
    model.generate(ids, max_new_tokens=4, prefill_chunk_size=2, **GREEDY)
    assert refreshes == ["asked", "made"]
