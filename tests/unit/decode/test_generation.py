"""`generate` of an accelerated model against that of an untouched twin: tokens, scores, caches, and what callers' own parts are shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxTimeCriteria,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
    pipeline,
)
from transformers.generation.streamers import BaseStreamer

from shapewright.decode.cache import PooledCache
from shapewright.decode.hooks import accelerate
from unit.decode.tiny import left_padded, prompt, tiny_llama, tiny_mistral
from unit.decode.twins import (
    DICT,
    FAMILIES,
    NEW,
    CountedStep,
    GreedyStep,
    Make,
    both,
    counted,
    padded,
    pool_of,
    same,
    twins,
)  # fmt: skip

Models = tuple[PreTrainedModel, PreTrainedModel]


@pytest.fixture(params=[CountedStep, GreedyStep], ids=["step", "greedy step"])
def models(request: pytest.FixtureRequest) -> Models:
    return twins("llama", request.param)


def forbid_plain_loop(monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("Hugging Face's own loop ran")

    monkeypatch.setattr(type(model), "_sample", refuse)


@pytest.mark.parametrize("make_step", [CountedStep, GreedyStep])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_with_left_padding(family: str, make_step: type) -> None:
    models = twins(family, make_step)
    expected, found = both(models, steps=NEW - 1, **padded(models[0]))
    assert torch.equal(expected, found)
    expected, found = both(models, input_ids=prompt(models[0], 1), max_new_tokens=3, do_sample=False)
    # Nothing of the room that was set aside stays behind the ids.
    assert torch.equal(expected, found) and found.untyped_storage().nbytes() == 8 * found.numel()


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_logits_and_cache(family: str) -> None:
    models = twins(family, GreedyStep)
    expected, found = both(models, steps=NEW - 1, **padded(models[0]), **DICT)
    assert torch.equal(expected.sequences, found.sequences)
    assert type(found) is type(expected)
    same(found.scores, expected.scores)
    same(found.logits, expected.logits)
    assert isinstance(found.past_key_values, PooledCache)
    assert found.past_key_values.get_seq_length() == expected.past_key_values.get_seq_length()
    for mine, theirs in zip(found.past_key_values.layers, expected.past_key_values.layers, strict=True):
        held = theirs.keys.shape[-2]  # with a window, Hugging Face drops the oldest
        same(mine.keys[:, :, -held:], theirs.keys)
        same(mine.values[:, :, -held:], theirs.values)


@pytest.mark.parametrize("family", FAMILIES)
def test_seeded_samples(family: str) -> None:
    models = twins(family)
    sampling = {"do_sample": True, "top_k": 30, "top_p": 0.95, "temperature": 1.3}
    expected, found = both(models, seed=5, **{**padded(models[0]), **sampling})
    assert torch.equal(expected, found)


def test_draws_as_many_random_numbers(models: Models) -> None:
    states = []
    for model in models:
        torch.manual_seed(0)
        first = int(model.generate(prompt(model, 2), max_new_tokens=3, do_sample=True)[0, -1])
        torch.manual_seed(0)
        # Ends early: the step that was queued for nothing may draw nothing.
        model.generate(prompt(model, 1), max_new_tokens=NEW, do_sample=True, eos_token_id=list(range(first % 2, 101, 2)), pad_token_id=0)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_the_loop_is_ours(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_plain_loop(monkeypatch, models[1])
    for more in ({}, {"do_sample": True}, DICT, {"prefill_chunk_size": 4}, {"num_return_sequences": 2, "do_sample": True}):
        with counted(NEW - 1):
            models[1].generate(**{**padded(models[1]), **more})


def test_one_step_a_token(models: Models) -> None:
    with counted() as seen:
        models[1].generate(**padded(models[1]))
    assert seen == [NEW - 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_beams(family: str) -> None:
    models = twins(family)
    call = {**padded(models[0]), "num_beams": 3, "num_return_sequences": 2, "return_dict_in_generate": True, "output_scores": True}
    expected, found = both(models, steps=NEW - 1, **call)
    assert torch.equal(expected.sequences, found.sequences)
    same(found.sequences_scores, expected.sequences_scores)
    assert isinstance(found.past_key_values, PooledCache) and found.past_key_values.is_pooled


def test_sampled_beams(models: Models) -> None:
    expected, found = both(models, seed=2, steps=NEW - 1, **{**padded(models[0]), "num_beams": 3, "do_sample": True})
    assert torch.equal(expected, found)


def test_several_sequences_a_prompt(models: Models) -> None:
    expected, found = both(models, seed=3, **{**padded(models[0]), "do_sample": True, "num_return_sequences": 3})
    assert found.shape[0] == 9
    assert torch.equal(expected, found)


def test_processors(models: Models) -> None:
    shaping = {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 6, "eos_token_id": 7}
    expected, found = both(models, **{**padded(models[0]), **shaping}, **DICT)
    assert torch.equal(expected.sequences, found.sequences)
    same(found.scores, expected.scores)
    same(found.logits, expected.logits)


@pytest.mark.parametrize("num_ends", [1, 10, 50])
@pytest.mark.parametrize("more", [{}, DICT, {"do_sample": True}], ids=["tokens", "scores", "samples"])
def test_ends(models: Models, num_ends: int, more: dict[str, Any]) -> None:
    call = {**padded(models[0]), **more, "max_new_tokens": 25, "eos_token_id": list(range(3, 3 + num_ends))}
    expected, found = both(models, seed=0, steps=0, **call)
    if more is DICT:
        assert found.past_key_values.get_seq_length() == expected.past_key_values.get_seq_length()
        same(found.logits, expected.logits)
        same(found.past_key_values.layers[1].keys, expected.past_key_values.layers[1].keys)
        expected, found = expected.sequences, found.sequences
    assert torch.equal(expected, found)


class Recorder:
    """What a part of the caller's was called with, over all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], int | None]] = []

    def note(self, ids: Tensor, scores: object) -> None:
        assert ids.is_contiguous()
        self.calls.append((ids.tolist(), len(scores) if isinstance(scores, tuple) else None))


class StopOn(StoppingCriteria):
    def __init__(self, recorder: Recorder, token: int) -> None:
        self.recorder, self.token = recorder, token

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.recorder.note(input_ids, scores)
        return (input_ids[:, -6:] == self.token).any(-1)


class Watch(LogitsProcessor):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.recorder.note(input_ids, None)
        return scores.index_fill(1, input_ids[0, -1:], float("-inf"))


@pytest.mark.parametrize("more", [{}, DICT], ids=["tokens", "scores"])
def test_callers_criteria_and_processors_see_the_same(models: Models, more: dict[str, Any]) -> None:
    plain = models[0].generate(**padded(models[0]))
    # The last row's sixth token: rows end at different times.
    token = int(plain[2, -7])
    records: list[tuple[Recorder, Recorder]] = []

    def criteria() -> StoppingCriteriaList:
        records.append((Recorder(), Recorder()))
        return StoppingCriteriaList([StopOn(records[-1][0], token)])

    def processors() -> LogitsProcessorList:
        return LogitsProcessorList([Watch(records[-1][1])])

    call = {**padded(models[0]), **more, "stopping_criteria": Make(criteria), "logits_processor": Make(processors)}
    expected, found = both(models, **call)
    if more:
        expected, found = expected.sequences, found.sequences
    assert torch.equal(expected, found)
    for mine, theirs in zip(*records, strict=True):
        assert mine.calls == theirs.calls and mine.calls


def test_time_is_up_at_once(models: Models) -> None:
    late = StoppingCriteriaList([MaxTimeCriteria(max_time=0.0, initial_timestamp=time.time() - 1)])
    expected, found = both(models, steps=0, **padded(models[0]), stopping_criteria=late)
    assert torch.equal(expected, found) and found.shape[1] == 10


class Puts(BaseStreamer):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def put(self, value: Tensor) -> None:
        self.seen.append(value)

    def end(self) -> None:
        self.seen.append("end")


@pytest.mark.parametrize("ends", [None, list(range(3, 40))], ids=["to the length", "to an end"])
def test_streamer_is_given_the_same(models: Models, ends: list[int] | None) -> None:
    streamers = [Puts(), Puts()]
    made = iter(streamers)
    call = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": ends, "pad_token_id": 0, "streamer": Make(lambda: next(made))}
    expected, found = both(models, steps=0, input_ids=prompt(models[0], 1), **call)
    assert torch.equal(expected, found)
    theirs, mine = ([value.tolist() if isinstance(value, Tensor) else value for value in one.seen] for one in streamers)
    assert theirs == mine and mine[-1] == "end"


def test_a_streamer_that_fails_leaves_a_usable_model(models: Models) -> None:
    class Breaks(Puts):
        def put(self, value: Tensor) -> None:
            super().put(value)
            if len(self.seen) == 5:
                raise OSError("the other end hung up")

    with pytest.raises(OSError, match="hung up"):
        models[1].generate(prompt(models[1], 1), max_new_tokens=NEW, streamer=Breaks())
    expected, found = both(models, **padded(models[0]))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("chunk", [1, 4, 8, 64])
@pytest.mark.parametrize("family", ["llama", "mistral", "opt"])
def test_prefill_in_chunks(family: str, chunk: int) -> None:
    models = twins(family)
    expected, found = both(models, **padded(models[0]), prefill_chunk_size=chunk)
    assert torch.equal(expected, found)


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_prompt_lookup(family: str) -> None:
    models = twins(family)
    ids = prompt(models[0], 1, length=6).repeat(1, 3)
    call = {"input_ids": ids, "max_new_tokens": NEW, "do_sample": False, "prompt_lookup_num_tokens": 3}
    expected, found = both(models, steps=0, **call)
    assert torch.equal(expected, found)


@pytest.mark.parametrize("do_sample", [False, True])
def test_assistant_model(do_sample: bool) -> None:
    models = twins("llama")
    call = {"input_ids": prompt(models[0], 1), "max_new_tokens": NEW, "do_sample": do_sample, **DICT}
    # A seed of its own: some of its guesses are wrong. Accelerated as well, it guesses by steps.
    expected, found = both(models, seed=1, assistant_model=Make(lambda: accelerate(tiny_llama(1), make_step=CountedStep)), **call)
    assert torch.equal(expected.sequences, found.sequences)
    same(found.scores, expected.scores)
    assert found.past_key_values.get_seq_length() == expected.past_key_values.get_seq_length()


def test_two_calls_share_buffers_and_step(models: Models) -> None:
    call = padded(models[0])
    expected, found = both(models, **call)
    lease, made = pool_of(models[1]).idle, CountedStep.made
    assert lease is not None
    for new in (NEW, 5, NEW):
        expected, found = both(models, **{**call, "max_new_tokens": new})
        assert torch.equal(expected, found)
    assert pool_of(models[1]).idle is lease and CountedStep.made == made
    expected, found = both(models, **{**call, "max_new_tokens": 60})
    assert torch.equal(expected, found)


def test_window_smaller_than_the_prompt() -> None:
    models = twins("mistral", sliding_window=5)
    for lengths in ([12, 12], [3, 14], [5, 6]):
        ids, mask = left_padded(models[0], lengths)
        expected, found = both(models, input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
        assert torch.equal(expected, found)
    full = tiny_mistral(sliding_window=64).generate(ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
    assert not torch.equal(full, found)


def test_inference_mode_and_without_a_mask(models: Models) -> None:
    ids = prompt(models[0])
    with torch.inference_mode():
        inside = both(models, input_ids=ids, max_new_tokens=5, do_sample=False)
    outside = both(models, input_ids=ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(*inside) and torch.equal(*outside) and torch.equal(inside[0], outside[0])


def test_a_prompt_of_one_token(models: Models) -> None:
    expected, found = both(models, input_ids=prompt(models[0], 2, length=1), max_new_tokens=6, do_sample=False)
    assert torch.equal(expected, found)
    expected, found = both(models, max_new_tokens=6, do_sample=False)
    assert torch.equal(expected, found)


def test_a_prompt_of_embeddings(models: Models) -> None:
    embeds = models[0].get_input_embeddings()(prompt(models[0])).detach()
    expected, found = both(models, inputs_embeds=embeds, max_new_tokens=6, do_sample=False)
    assert torch.equal(expected, found)


def test_configuration_object_and_positional_arguments(models: Models) -> None:
    config = GenerationConfig(max_new_tokens=6, do_sample=True, top_k=20, pad_token_id=0)
    results = []
    for model in models:
        torch.manual_seed(1)
        results.append(model.generate(prompt(model), config))
    assert torch.equal(*results)


def test_a_loop_of_the_callers_own(models: Models) -> None:
    def twice(model: PreTrainedModel, input_ids: Tensor, **kwargs: Any) -> Tensor:
        return input_ids.repeat(1, 2)

    assert torch.equal(models[1].generate(prompt(models[1]), custom_generate=twice, max_new_tokens=3), prompt(models[1]).repeat(1, 2))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token: w0 to w99, and the word that transformers tries tokenizers with."""
    vocabulary = {"abcdef": 100, **{f"w{index}": index for index in range(100)}}
    words = Tokenizer(WordLevel(vocabulary, unk_token="w1"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", unk_token="w1", padding_side="left")


def test_stop_strings(models: Models, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer(["w5 w9 w14 w20"], return_tensors="pt").input_ids
    whole = models[0].generate(ids, max_new_tokens=NEW, do_sample=False)
    stop = tokenizer.decode(whole[0, -4:-3])
    call = {"inputs": ids, "max_new_tokens": NEW, "do_sample": False, "stop_strings": [stop], "tokenizer": tokenizer}
    expected, found = both(models, **call)
    assert torch.equal(expected, found) and found.shape[1] < whole.shape[1]


def test_pipeline(models: Models, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["w5 w9 w14 w20", "w7 w7", "w31 w8 w90"]
    answers = []
    for model in models:
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, device=torch.device("cpu"))
        with counted(0 if model is models[0] else NEW - 1):
            answers.append(pipe(texts, max_new_tokens=NEW, do_sample=False, batch_size=3))
    assert answers[0] == answers[1]
