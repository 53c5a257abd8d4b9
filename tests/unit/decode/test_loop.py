"""Our own loop against `generate` of an untouched twin."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from shapewright.decode.hooks import DecodeWarning, restore
from shapewright.decode.loop import LOOK_EVERY, decode, ended
from shapewright.errors import InputError
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
    with warnings.catch_warnings():
        # Once a model and reason.
        warnings.simplefilter("error")
        assert torch.equal(first, decode(model, prompt(model, 65), max_new_tokens=2, do_sample=True, seed=3))
    assert torch.equal(state, torch.get_rng_state())


def hooked(model: PreTrainedModel, calls: list[int]) -> None:
    model.register_forward_pre_hook(lambda *_: calls.append(1))


def patched(model: PreTrainedModel, calls: list[int]) -> None:
    inner = model.forward

    @functools.wraps(inner)
    def forward(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return inner(*args, **kwargs)

    model.forward = forward


@pytest.mark.parametrize("is_accelerated", [False, True])
@pytest.mark.parametrize("change, reason", [(hooked, "it has forward hooks"), (patched, "its forward was replaced")])
def test_what_somebody_put_on_the_model_sees_every_token(change: Callable, reason: str, is_accelerated: bool) -> None:
    plain, model = twins("llama")
    model = model if is_accelerated else restore(model)
    calls: list[int] = []
    change(model, calls)
    ids = prompt(model)
    with pytest.warns(DecodeWarning, match=reason):
        found = decode(model, ids, max_new_tokens=5)
    assert len(calls) == 5 and torch.equal(plain.generate(ids, max_new_tokens=5, do_sample=False), found)


@pytest.mark.parametrize(
    "ids, mask, new, says",
    [
        ((2, 4), None, 0, "decode: max_new_tokens is 0; ask for 1 or more"),
        ((2, 4), None, -3, "decode: max_new_tokens is -3; ask for 1 or more"),
        ((2, 4), (2, 5), 3, r"decode: attention_mask has shape \[2, 5\], and input_ids \[2, 4\]; pass the mask that came with these ids"),
        ((2, 4), (1, 4), 3, r"attention_mask has shape \[1, 4\]"),
        ((2, 0), None, 3, r"input_ids has shape \[2, 0\], not \[batch, prompt\]"),
        ((4,), None, 3, r"input_ids has shape \[4\], not \[batch, prompt\]"),
    ],
)
def test_arguments_that_do_not_fit(ids: tuple[int, ...], mask: tuple[int, ...] | None, new: int, says: str) -> None:
    _, model = twins("llama")
    ones = None if mask is None else torch.ones(mask, dtype=torch.long)
    with pytest.raises(InputError, match=says), none_counted():
        decode(model, torch.ones(ids, dtype=torch.long), attention_mask=ones, max_new_tokens=new)


@pytest.mark.parametrize(
    ("model", "ids", "new", "says"),
    [
        ("llama-2-7b", torch.ones(1, 4, dtype=torch.long), 3, "decode: a str does not generate"),
        (None, [[1, 2]], 3, "decode: input_ids is a list; pass a tensor of token numbers"),
        (None, torch.ones(1, 4), 3, "decode: input_ids is of torch.float32"),
        (None, torch.ones(1, 4, dtype=torch.long), 1.5, "decode: max_new_tokens is 1.5; ask for 1 or more, a whole number"),
        (None, torch.ones(1, 4, dtype=torch.long), "a", "decode: max_new_tokens is 'a'"),
    ],
)
def test_what_is_no_model_no_ids_or_no_number(model: object, ids: object, new: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode(model or twins("llama")[1], ids, max_new_tokens=new)  # type: ignore[arg-type]


def test_no_end_is_no_end() -> None:
    plain, model = twins("llama")
    ids = prompt(model)
    assert torch.equal(decode(model, ids, max_new_tokens=4, eos_token_id=[]), plain.generate(ids, max_new_tokens=4, do_sample=False))


def test_ended() -> None:
    new = torch.tensor([[5, 1, 6, 1, 7], [5, 6, 7, 2, 8], [5, 6, 1, 3, 3]])
    assert ended(new, [1, 2], 0).tolist() == [[5, 1, 0, 0], [5, 6, 7, 2], [5, 6, 1, 0]]
    assert ended(new, [], None) is new
    assert ended(new, [9], 0).tolist() == new.tolist()
