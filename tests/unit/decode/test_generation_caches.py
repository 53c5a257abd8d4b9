"""Caches that outlive a call of `generate`, and calls that run plain: an accelerated model against an untouched twin."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from shapewright.decode.cache import Store
from shapewright.decode.hooks import DecodeWarning, engine_of
from unit.decode.tiny import left_padded, prompt, tiny_llama
from unit.decode.twins import FAMILIES, CountedStep, GreedyStep, Make, both, counted, none_counted, padded, same, twins

Models = tuple[PreTrainedModel, PreTrainedModel]


@pytest.fixture(params=[CountedStep, GreedyStep], ids=["step", "greedy step"])
def models(request: pytest.FixtureRequest) -> Models:
    return twins("llama", request.param)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_goes_on_with_the_cache(family: str) -> None:
    models = twins(family, GreedyStep)
    replies = []
    for model in models:
        ids, cache, seen = prompt(model, 2), None, []
        for turn in range(3):
            call = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "past_key_values": cache}
            output = model.generate(ids, attention_mask=torch.ones_like(ids), **call)
            cache = output.past_key_values
            ids = torch.cat((output.sequences, prompt(model, 2, length=4, seed=turn)), -1)
            seen.append(output.sequences)
        replies.append(seen)
        assert model is models[0] or cache.is_pooled
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*replies, strict=True))


def test_one_more_turn_of_new_ids_alone(models: Models) -> None:
    replies = []
    for model in models:
        ids = prompt(model, 2)
        output = model.generate(ids, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
        mask = torch.ones(2, output.sequences.shape[1] + 3, dtype=torch.long)
        more = torch.cat((output.sequences[:, -1:], prompt(model, 2, length=3)), -1)
        replies.append(model.generate(more, attention_mask=mask, past_key_values=output.past_key_values, max_new_tokens=5, do_sample=False))
    assert torch.equal(*replies)


def test_a_prompt_cache_copied_for_each_question(models: Models) -> None:
    answers = []
    for model in models:
        ids = prompt(model, 1)
        start = model.generate(ids, max_new_tokens=1, return_dict_in_generate=True, do_sample=False).past_key_values
        for seed in (3, 4):
            asked = torch.cat((ids, prompt(model, 1, length=3, seed=seed)), -1)
            answers.append(model.generate(asked, past_key_values=copy.deepcopy(start), max_new_tokens=5, do_sample=False))
        assert start.get_seq_length() == ids.shape[1]
    assert torch.equal(answers[0], answers[2]) and torch.equal(answers[1], answers[3])


def test_a_custom_loop_on_the_returned_cache(models: Models) -> None:
    chains = []
    for model in models:
        ids, mask = left_padded(model, [4, 9, 7])
        output = model.generate(ids, attention_mask=mask, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
        cache, token, logits = output.past_key_values, output.sequences[:, -1:], []
        mask = torch.nn.functional.pad(mask, (0, 2), value=1)
        with torch.no_grad():
            # Far past what the first call announced: the buffers grow.
            for _ in range(30):
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
                positions = mask.sum(-1, keepdim=True) - 1
                logits.append(model(token, attention_mask=mask, position_ids=positions, past_key_values=cache).logits)
                token = logits[-1][:, -1].argmax(-1, keepdim=True)
        chains.append(tuple(logits))
    same(chains[1], chains[0])


def test_a_custom_loop_that_changes_its_mind_about_the_mask(models: Models) -> None:
    chains = []
    for model in models:
        ids, mask = left_padded(model, [4, 9, 7])
        cache = model.generate(ids, attention_mask=mask, max_new_tokens=1, return_dict_in_generate=True).past_key_values
        mask, token, logits = torch.nn.functional.pad(mask, (0, 1), value=1), torch.full((3, 1), 5), []
        with torch.no_grad():
            logits.append(model(token, attention_mask=mask, past_key_values=cache).logits)
            # Without a mask the padding is seen too.
            logits.append(model(token, past_key_values=cache).logits)
        chains.append(tuple(logits))
    same(chains[1], chains[0])


def continued(model: PreTrainedModel) -> tuple[Any, dict[str, Any]]:
    """A cache of 9 tokens in two rows, and a call of one token on it."""
    output = model.generate(prompt(model, 2), max_new_tokens=1, do_sample=False, return_dict_in_generate=True)
    cache = output.past_key_values
    return cache, {"input_ids": output.sequences[:, -1:], "past_key_values": cache}


def load_assigned(model: PreTrainedModel) -> None:
    model.load_state_dict({name: value.clone() for name, value in tiny_llama(3).state_dict().items()}, assign=True)


def convert(model: PreTrainedModel) -> None:
    # Held, so that the converted ones cannot come to lie at the same addresses.
    held = [weight.data for weight in model.parameters()]
    model.bfloat16().float()
    del held


def swap_head(model: PreTrainedModel) -> None:
    model.lm_head = copy.deepcopy(model.lm_head).requires_grad_(False)
    model.lm_head.weight.neg_()


@pytest.mark.parametrize("change", [load_assigned, convert, swap_head])
def test_weights_that_move_between_two_tokens(change: Callable[[PreTrainedModel], None]) -> None:
    results = []
    for model in twins("llama"):
        cache, call = continued(model)
        is_plain = engine_of(model) is None
        with torch.no_grad():
            with counted(0 if is_plain else 1):
                before = model(**call).logits
            change(model)
            says = nullcontext() if is_plain else pytest.warns(DecodeWarning, match="the model has changed since its cache was made")
            with none_counted(), says:
                results.append(model(input_ids=torch.tensor([[5], [6]]), past_key_values=cache).logits)
            assert not torch.equal(before, results[-1])
    same(*results)


def test_ids_of_another_batch_are_hugging_faces_to_refuse() -> None:
    for model in twins("llama"):
        cache, call = continued(model)
        is_plain = engine_of(model) is None
        says = nullcontext() if is_plain else pytest.warns(DecodeWarning, match="its input_ids have 1 rows, and its cache 2")
        with torch.no_grad(), none_counted(), says, pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            model(input_ids=call["input_ids"][:1], past_key_values=cache)
        assert cache.get_seq_length() == 9


def test_growing_token_by_token_makes_few_steps() -> None:
    _, model = twins("llama")
    cache = model.generate(prompt(model, 1), max_new_tokens=1, return_dict_in_generate=True).past_key_values
    made = CountedStep.made
    with torch.no_grad(), counted(100):
        for _ in range(100):
            model(torch.tensor([[5]]), past_key_values=cache)
    assert cache.get_seq_length() == 109 and CountedStep.made - made <= 6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_custom_loop_without_positions(family: str) -> None:
    chains = []
    for model in twins(family):
        ids, mask = left_padded(model, [4, 9, 7])
        with counted(0 if model.__dict__.get("forward") is None else 5), torch.no_grad():
            cache = model.generate(ids, attention_mask=mask, max_new_tokens=1, return_dict_in_generate=True).past_key_values
            for token in range(5, 10):
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
                output = model(torch.full((3, 1), token), attention_mask=mask, past_key_values=cache)
                chains.append(output.logits)
    same(tuple(chains[5:]), tuple(chains[:5]))


def test_rows_that_ended_leave_what_hugging_face_leaves_in_a_cache_of_the_callers() -> None:
    caches = []
    for model in twins("llama", GreedyStep):
        ids = prompt(model)
        cache = model.generate(ids, max_new_tokens=1, do_sample=False, return_dict_in_generate=True).past_key_values
        ids = torch.cat((ids, ids[:, :2]), -1)
        ends = {"eos_token_id": list(range(3, 13)), "pad_token_id": 0}
        found = model.generate(ids, max_new_tokens=25, do_sample=False, past_key_values=cache, **ends)
        assert (found == 0).any()
        caches.append(cache)
    assert caches[1].is_pooled
    for theirs, mine in zip(caches[0].layers, caches[1].layers, strict=True):
        same(mine.keys, theirs.keys)


@pytest.mark.parametrize("has_past", [False, True])
def test_a_prefill_that_does_not_fit_the_buffers_is_done_again(has_past: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for model in twins("llama"):
        ids, cache = prompt(model), None
        if has_past:
            cache = model.generate(ids, max_new_tokens=1, do_sample=False, return_dict_in_generate=True).past_key_values
            ids = torch.cat((ids, ids[:, :3]), -1)
        monkeypatch.setattr(Store, "reserve", lambda *_: False)
        says = nullcontext() if not results else pytest.warns(DecodeWarning, match="its cache left the fixed buffers")
        with none_counted(), says:
            results.append(model.generate(ids, max_new_tokens=6, do_sample=False, past_key_values=cache))
        monkeypatch.undo()
    assert torch.equal(*results)


def test_a_later_turn_with_a_hole_in_its_mask_runs_plain(models: Models) -> None:
    logits = []
    for model in models:
        cache = model.generate(prompt(model, 2), max_new_tokens=1, do_sample=False, return_dict_in_generate=True).past_key_values
        mask = torch.ones(2, 13, dtype=torch.long)
        mask[1, 10] = 0  # the second row's next words are padded on their left
        says = nullcontext() if model is models[0] else pytest.warns(DecodeWarning, match="not left padding alone")
        with torch.no_grad(), counted(0 if model is models[0] else 1) as seen, says:
            model(torch.tensor([[5], [6]]), attention_mask=mask[:, :10], past_key_values=cache)
            model(torch.tensor([[7, 8], [0, 9]]), attention_mask=mask[:, :12], past_key_values=cache)
            logits.append(model(torch.tensor([[5], [6]]), attention_mask=mask, past_key_values=cache).logits)
        assert seen == [0 if model is models[0] else 1]
    same(*logits)


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"output_attentions": True, "return_dict_in_generate": True}, "output_attentions is asked for"),
        ({"output_hidden_states": True, "return_dict_in_generate": True}, "output_hidden_states is asked for"),
        ({"use_cache": False}, "use_cache is off"),
        ({"cache_implementation": "static"}, 'cache_implementation is "static"'),
        ({"past_key_values": Make(DynamicCache)}, "its past_key_values is a DynamicCache of the caller's own"),
        ({"synced_gpus": True}, "synced_gpus is asked for"),
        ({"num_return_sequences": 40, "do_sample": True}, "its batch of 120 is larger than 64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_calls_that_run_plain(more: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = twins("llama", attn_implementation="eager") if "output_attentions" in more else twins("llama")
    for model in models:
        # Nothing to agree with other processes about.
        monkeypatch.setattr(type(model), "_has_unfinished_sequences", lambda self, done, synced, device: not done)
    call = {**padded(models[0]), **more}
    results = []
    with pytest.warns(DecodeWarning, match=reason) as seen, none_counted():
        for model in models:
            torch.manual_seed(0)
            results.append(model.generate(**{name: value() if isinstance(value, Make) else value for name, value in call.items()}))
    assert len([one for one in seen if one.category is DecodeWarning]) == 1
    expected, found = (one if isinstance(one, Tensor) else one.sequences for one in results)
    assert torch.equal(expected, found)
    # Said once, and no other call suffers.
    with none_counted():
        models[1].generate(**{name: value() if isinstance(value, Make) else value for name, value in call.items()})
    assert torch.equal(*both(models, **padded(models[0])))


@pytest.mark.parametrize("hole", [(0, 8), (1, 2)], ids=["right padding", "a hole"])
def test_masks_that_are_not_left_padding(models: Models, hole: tuple[int, int]) -> None:
    ids = prompt(models[0])
    mask = torch.ones_like(ids)
    mask[hole] = 0
    call = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
    with pytest.warns(DecodeWarning, match="attention_mask is not left padding alone"), none_counted():
        found = models[1].generate(**call)
    assert torch.equal(models[0].generate(**call), found)


def test_learned_positions_end() -> None:
    models = twins("opt", max_position_embeddings=16)
    call = {"input_ids": prompt(models[0], 1), "max_new_tokens": 30, "do_sample": False}
    with pytest.raises(IndexError):
        models[0].generate(**call)
    with pytest.warns(DecodeWarning, match="it has 16 learned positions"), counted(), pytest.raises(IndexError):
        models[1].generate(**call)
