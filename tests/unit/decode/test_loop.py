"""Our own loop against `generate` of an untouched twin."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from shapewright.decode.hooks import DecodeWarning
from shapewright.decode.loop import LOOK_EVERY, decode, ended
from unit.decode.tiny import left_padded, prompt, tiny_llama
from unit.decode.twins import FAMILIES, CountedStep, GreedyStep, counted, none_counted, pool_of, twins

STEPS = pytest.mark.parametrize("make_step", [CountedStep, GreedyStep])


def generated(model: PreTrainedModel, new: int, **more: object) -> torch.Tensor:
    ids, mask = left_padded(model, [4, 9, 7])
    return model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **more)


@STEPS
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens(family: str, make_step: type) -> None:
    plain, model = twins(family, make_step)
    ids, mask = left_padded(model, [4, 9, 7])
    for new in (12, 1, 2, 30):
        with counted(new - 1) as seen:
            found = decode(model, ids, attention_mask=mask, max_new_tokens=new)
        assert torch.equal(generated(plain, new), found)
        assert seen == [new - 1]


@STEPS
@pytest.mark.parametrize("num_ends", [1, 4, 30, 90])
def test_ends(make_step: type, num_ends: int) -> None:
    plain, model = twins("llama", make_step)
    ids, mask = left_padded(model, [4, 9, 7])
    ends = list(range(3, 3 + num_ends))
    with counted(0) as seen:
        found = decode(model, ids, attention_mask=mask, max_new_tokens=90, eos_token_id=ends, pad_token_id=0)
    assert torch.equal(generated(plain, 90, eos_token_id=ends, pad_token_id=0), found)
    assert seen[0] <= found.shape[1] - ids.shape[1] + 2 * LOOK_EVERY


def test_one_end_pads_with_itself() -> None:
    plain, model = twins("llama")
    end = int(generated(plain, 20)[1, 15])
    ids, mask = left_padded(model, [4, 9, 7])
    found = decode(model, ids, attention_mask=mask, max_new_tokens=20, eos_token_id=end)
    assert torch.equal(generated(plain, 20, eos_token_id=end, pad_token_id=end), found)


@STEPS
def test_samples_as_generate_does(make_step: type) -> None:
    plain, model = twins("llama", make_step)
    ids = prompt(model)
    torch.manual_seed(4)
    expected = plain.generate(ids, max_new_tokens=20, do_sample=True, temperature=0.8, top_k=30, top_p=0.9)
    torch.manual_seed(4)
    with counted(19):
        found = decode(model, ids, max_new_tokens=20, do_sample=True, temperature=0.8, top_k=30, top_p=0.9)
    assert torch.equal(expected, found)


def test_a_seed_repeats_and_leaves_the_global_generator_alone() -> None:
    _, model = twins("llama")
    ids = prompt(model)
    before = torch.get_rng_state()
    first, again, other = (decode(model, ids, max_new_tokens=9, do_sample=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_an_accelerated_model_keeps_its_buffers() -> None:
    _, model = twins("llama", GreedyStep)
    decode(model, prompt(model), max_new_tokens=9)
    lease, made = pool_of(model).idle, CountedStep.made
    decode(model, prompt(model), max_new_tokens=7)
    model.generate(prompt(model), max_new_tokens=7, do_sample=False)
    assert lease is not None and pool_of(model).idle is lease and CountedStep.made == made


def test_what_steps_cannot_do_is_left_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    model = tiny_llama()
    ids = prompt(model)
    with pytest.warns(DecodeWarning, match="its weights are on the CPU"), none_counted():
        found = decode(model, ids, max_new_tokens=5)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), found)
    mask = torch.ones_like(ids)
    mask[0, 4] = 0
    plain, model = twins("llama")
    with pytest.warns(DecodeWarning, match="not left padding alone"), none_counted():
        found = decode(model, ids, attention_mask=mask, max_new_tokens=5)
    assert torch.equal(plain.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False), found)
    state = torch.get_rng_state()
    with pytest.warns(DecodeWarning, match="its batch of 65 is larger than 64"), none_counted():
        first = decode(model, prompt(model, 65), max_new_tokens=2, do_sample=True, seed=3)
    with pytest.warns(DecodeWarning, match="its batch of 65"):
        assert torch.equal(first, decode(model, prompt(model, 65), max_new_tokens=2, do_sample=True, seed=3))
    assert torch.equal(state, torch.get_rng_state())


def test_ended() -> None:
    new = torch.tensor([[5, 1, 6, 1, 7], [5, 6, 7, 2, 8], [5, 6, 1, 3, 3]])
    assert ended(new, [1, 2], 0).tolist() == [[5, 1, 0, 0], [5, 6, 7, 2], [5, 6, 1, 0]]
    assert ended(new, [], None) is new
    assert ended(new, [9], 0).tolist() == new.tolist()
