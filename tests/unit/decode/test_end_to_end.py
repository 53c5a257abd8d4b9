"""Accelerated models that run the real kernels, tiled by default, in the interpreter: what they generate is what untouched ones do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import shapewright.decode as swd
from shapewright.decode.graphs import CapturedStep
from unit.decode.tiny import TINY, left_padded, prompt

NEW = 4


def accelerated(plain: PreTrainedModel) -> PreTrainedModel:
    """A copy of it, which says that it runs the kernels."""
    model = swd.accelerate(copy.deepcopy(plain))
    assert swd.why_not(model) is None
    return model


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots that were filled as steps of the kernels were launched."""
    lengths: list[int] = []
    run_greedy = CapturedStep.run_greedy

    def recorded(self: CapturedStep) -> None:
        lengths.append(int(self.step.buffers.length))
        run_greedy(self)

    monkeypatch.setattr(CapturedStep, "run_greedy", recorded)
    return lengths


def greedy(plain: PreTrainedModel, lengths: list[int], **fields: Any) -> dict[str, Any]:
    ids, mask = left_padded(plain, lengths)
    return {"input_ids": ids, "attention_mask": mask, "max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0} | fields


@pytest.mark.parametrize("lengths", [[8], [4, 9, 7]], ids=["one row", "three rows, padded"])
@pytest.mark.parametrize("family", TINY)
def test_greedy_tokens(family: str, lengths: list[int], launched: list[int]) -> None:
    """Every token after the first comes from a step, over the slots filled before it."""
    plain = TINY[family]()
    model = accelerated(plain)
    call = greedy(plain, lengths)
    assert torch.equal(plain.generate(**call), model.generate(**call))
    assert launched[: NEW - 1] == [max(lengths) + index for index in range(NEW - 1)]


def test_beams(launched: list[int]) -> None:
    plain = TINY["llama"]()
    call = greedy(plain, [6, 5], num_beams=2)
    assert torch.equal(plain.generate(**call), accelerated(plain).generate(**call))
    assert launched


def test_sampling(launched: list[int]) -> None:
    """The same draws of the same generator."""
    plain = TINY["qwen2"]()
    call = greedy(plain, [6, 5], do_sample=True, top_k=20)
    model, found = accelerated(plain), []
    for each in (plain, model):
        torch.manual_seed(3)
        found.append(each.generate(**call))
    assert torch.equal(*found)
    assert len(launched) >= NEW - 1


@pytest.mark.parametrize("family", ["mistral", "gpt2"])
def test_the_loop_of_its_own(family: str, launched: list[int]) -> None:
    plain = TINY[family]()
    call = greedy(plain, [5, 8])
    found = swd.decode(accelerated(plain), call["input_ids"], attention_mask=call["attention_mask"], max_new_tokens=NEW)
    assert torch.equal(plain.generate(**call), found)
    assert launched


def test_a_second_call_and_a_restored_model(launched: list[int]) -> None:
    """Buffers that held another text before; then the model as it was."""
    plain = TINY["llama"]()
    model = accelerated(plain)
    for seed in (1, 2):
        ids = prompt(plain, 2, 6, seed)
        call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(plain.generate(**call), model.generate(**call))
    count = len(launched)
    assert count >= 2 * (NEW - 1)
    swd.restore(model)
    assert torch.equal(plain.generate(**call), model.generate(**call))
    assert len(launched) == count
