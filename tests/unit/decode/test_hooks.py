"""Putting hooks on a model and taking them off: copies, pickles, moves, several models, garbage, and calls that are not steps."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel, T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import CausalLMOutputWithPast

from shapewright.decode import hooks
from shapewright.decode.cache import PooledCache
from shapewright.decode.hooks import DecodeWarning, accelerate, engine_of, restore, why_not
from shapewright.decode.loop import decode
from unit.decode.tiny import prompt, tiny_gpt2, tiny_llama, tiny_neox
from unit.decode.twins import CountedStep, counted, none_counted, same, twins

CALL = {"max_new_tokens": 6, "do_sample": False}


def agree(plain: PreTrainedModel, model: PreTrainedModel) -> None:
    """Same tokens, by steps."""
    with counted(5):
        found = model.generate(prompt(model), **CALL)
    assert torch.equal(plain.generate(prompt(model), **CALL), found)


def test_restore_leaves_no_trace() -> None:
    model = tiny_llama()
    before = dict(vars(model))
    assert accelerate(model, make_step=CountedStep) is model
    assert accelerate(model) is model
    agree(tiny_llama(), model)
    assert restore(model) is model
    assert vars(model) == before
    with none_counted():
        model.generate(prompt(model), **CALL)
    assert restore(model) is model
    agree(tiny_llama(), accelerate(model, make_step=CountedStep))


def test_restore_puts_back_what_the_model_had_of_its_own() -> None:
    model = tiny_llama()
    calls = []
    own = type(model).forward.__get__(model)

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["input_ids"].shape[1])
        return own(*args, **kwargs)

    model.forward = forward
    assert why_not(model) == "its forward was replaced before"
    with pytest.warns(DecodeWarning, match="the model runs plain: its forward was replaced before"):
        accelerate(model, make_step=CountedStep)
    with none_counted():
        found = model.generate(input_ids=prompt(model), **CALL)
        assert calls == [9, 1, 1, 1, 1, 1]
        with warnings.catch_warnings():
            # Of this reason the model has warned.
            warnings.simplefilter("error")
            assert torch.equal(found, decode(model, prompt(model), max_new_tokens=6))
    assert len(calls) == 12 and why_not(model) == "its forward was replaced before"
    assert vars(restore(model))["forward"] is forward


def test_what_others_see_of_the_methods() -> None:
    plain, model = twins("llama")
    for name in ("forward", "generate", "_prepare_cache_for_generation"):
        assert inspect.signature(getattr(model, name)) == inspect.signature(getattr(plain, name))
    with torch.no_grad():
        same(model(prompt(model)).logits, plain(prompt(model)).logits)
    output = model(prompt(model), labels=prompt(model))
    output.loss.backward()
    assert model.lm_head.weight.grad is not None


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_are_accelerated_by_themselves(way: str) -> None:
    plain, model = twins("llama")
    model.generate(prompt(model), **CALL)
    if way == "deepcopy":
        twin = copy.deepcopy(model)
    elif way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert engine_of(twin) is not None and engine_of(twin) is not engine_of(model)
    with torch.no_grad():
        twin.lm_head.weight.neg_()
        agree(plain, model)
        plain.lm_head.weight.neg_()
    del model
    gc.collect()
    agree(plain, twin)


def test_saved_and_loaded(tmp_path: Path) -> None:
    plain, model = twins("llama")
    model.generate(prompt(model), **CALL)
    model.save_pretrained(tmp_path)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in plain.state_dict().items())
    loaded = type(model).from_pretrained(tmp_path)
    assert engine_of(loaded) is None
    agree(plain, accelerate(loaded, make_step=CountedStep))


def test_moved() -> None:
    plain, model = twins("llama")
    agree(plain, model)
    for one in (plain, model):
        one.to(torch.bfloat16).to(torch.float32)
    agree(plain, model)
    model.to("meta")
    assert why_not(model) == "some of its weights are not loaded (they are on the meta device)"


def test_two_models() -> None:
    (first, fast), (second, faster) = twins("llama"), twins("gpt2")
    for _ in range(2):
        agree(first, fast)
        agree(second, faster)
    restore(fast)
    agree(second, faster)
    with none_counted():
        fast.generate(prompt(fast), **CALL)


def test_a_model_that_is_deleted_is_gone_at_once() -> None:
    _, model = twins("llama")
    model.generate(prompt(model), **CALL)
    held = model.generate(prompt(model), **CALL, return_dict_in_generate=True).past_key_values
    seen = [weakref.ref(model), weakref.ref(model.lm_head.weight), weakref.ref(engine_of(model)), weakref.ref(engine_of(model).pool)]
    forward = model.forward
    gc.disable()
    try:
        del model
        assert [ref() is None for ref in seen] == [True, False, False, False]
        del forward
        assert all(ref() is None for ref in seen)
    finally:
        gc.enable()
    # The cache that is held goes on, plain.
    assert held.get_seq_length() == 14 and held.update(torch.zeros(3, 2, 1, 10), torch.zeros(3, 2, 1, 10), 0)[0].shape[2] == 15


@pytest.mark.parametrize("other", [None, "llama-2-7b", torch.nn.Linear(1, 1)])
def test_what_is_no_such_model_has_nothing_to_restore(other: Any) -> None:
    assert restore(other) is other


def test_a_hook_that_outlives_its_model_says_so() -> None:
    forward = accelerate(tiny_llama(), make_step=CountedStep).forward
    gc.collect()
    with pytest.raises(ReferenceError, match="that this method belongs to is gone; keep it in a variable as long as it runs"):
        forward(torch.ones(1, 1, dtype=torch.long))


def continued(model: PreTrainedModel) -> tuple[PooledCache, dict[str, Any]]:
    """A cache of 9 tokens, and a call of one token on it."""
    ids = prompt(model, 2)
    output = model.generate(ids, max_new_tokens=1, do_sample=False, return_dict_in_generate=True)
    mask = torch.ones(2, 10, dtype=torch.long)
    return output.past_key_values, {
        "input_ids": output.sequences[:, -1:],
        "attention_mask": mask,
        "past_key_values": output.past_key_values,
    }


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_returns_what_a_forward_returns(family: str) -> None:
    outputs = []
    for model in twins(family):
        _, call = continued(model)
        with torch.no_grad(), counted(0 if engine_of(model) is None else 1):
            outputs.append(model(**call))
    plain, step = outputs
    assert type(plain) is type(step) and plain.logits.shape == step.logits.shape and plain.keys() == step.keys()
    same(step.logits, plain.logits)
    assert step.past_key_values.get_seq_length() == plain.past_key_values.get_seq_length() == 10


def test_what_a_step_returned_stays() -> None:
    _, model = twins("llama")
    cache, call = continued(model)
    with torch.no_grad():
        first = model(**call).logits
        kept = first.clone()
        model(input_ids=torch.tensor([[5], [6]]), past_key_values=cache)
    assert torch.equal(first, kept)


def test_tuples_and_positional_arguments() -> None:
    results = []
    for model in twins("llama"):
        cache, call = continued(model)
        with torch.no_grad(), counted(0 if engine_of(model) is None else 1):
            found = model(call["input_ids"], call["attention_mask"], None, cache, return_dict=False)
        assert isinstance(found, tuple) and len(found) == 2 and found[1] is cache
        results.append(found[0])
    same(*results)


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"output_attentions": True}, "output_attentions is asked for"),
        ({"output_hidden_states": True}, "output_hidden_states is asked for"),
        ({"labels": torch.ones(2, 1, dtype=torch.long)}, "labels is passed"),
        ({"use_cache": False}, "use_cache is False"),
        ({"logits_to_keep": torch.tensor([0])}, "logits_to_keep is passed"),
        ({"position_ids": torch.tensor([[9], [10]])}, "its position_ids run ahead of the cache"),
        ({"attention_mask": torch.tensor([[1, 0] + [1] * 8, [1] * 10])}, "its attention_mask is not left padding alone"),
        ({"attention_mask": torch.ones(2, 9, dtype=torch.long)}, r"its attention_mask has shape \[2, 9\], not \[batch, 10\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_calls_that_are_not_steps(more: dict[str, Any], reason: str) -> None:
    outputs = []
    for model in twins("llama", attn_implementation="eager"):
        _, call = continued(model)
        with torch.no_grad(), none_counted():
            if engine_of(model) is None:
                outputs.append(model(**{**call, **more}))
            else:
                with pytest.warns(DecodeWarning, match=reason):
                    outputs.append(model(**{**call, **more}))
    assert torch.equal(outputs[0].logits, outputs[1].logits)


def test_a_reason_is_told_once_whatever_its_numbers() -> None:
    _, model = twins("llama")
    cache, call = continued(model)
    with torch.no_grad(), pytest.warns(DecodeWarning) as seen:
        for _ in range(3):
            model(call["input_ids"], past_key_values=cache, attention_mask=torch.ones(2, 40, dtype=torch.long))
    assert [str(one.message) for one in seen] == [
        "shapewright.decode: this call runs plain: its attention_mask has shape [2, 40], not [batch, 10]"
    ]


def test_gradients_run_plain() -> None:
    _, model = twins("llama")
    cache, call = continued(model)
    with pytest.warns(DecodeWarning, match="gradients are on"), none_counted():
        model(**call).logits.sum().backward()
    assert model.lm_head.weight.grad is not None and not cache.is_pooled


def test_training_and_autocast_run_plain() -> None:
    plain, model = twins("llama")
    for one in (plain, model):
        one.train()
    with pytest.warns(DecodeWarning, match="training mode"), none_counted():
        found = model.generate(prompt(model), **CALL)
    assert torch.equal(plain.generate(prompt(model), **CALL), found)
    for one in (plain, model):
        one.eval()
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(DecodeWarning, match="autocast is on"), none_counted():
        found = model.generate(prompt(model), **CALL)
        assert torch.equal(plain.generate(prompt(model), **CALL), found)
    agree(plain, model)


def test_hooks_of_the_model_itself_run_for_every_token() -> None:
    plain, model = twins("llama")
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    agree(plain, model)
    assert len(calls) == 6


def test_a_model_with_a_loop_of_its_own_keeps_it() -> None:
    plain, model = twins("llama")
    calls = []

    def prepared(*args: Any, **kwargs: Any) -> dict[str, Any]:
        calls.append(1)
        return type(model).prepare_inputs_for_generation(model, *args, **kwargs)

    model.prepare_inputs_for_generation = prepared
    agree(plain, model)
    assert len(calls) == 6


def test_the_cache_of_another_model_is_a_cache() -> None:
    plain, model = twins("llama")
    _, other = twins("llama")
    call = continued(other)[1]
    with none_counted(), torch.no_grad():
        found = model(**call)
    call = continued(plain)[1]
    with torch.no_grad():
        same(found.logits, plain(**call).logits)


def test_models_that_are_not_known(recwarn: pytest.WarningsRecorder) -> None:
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    with pytest.warns(DecodeWarning, match="the model runs plain: its family, t5, is not among the known ones"):
        assert accelerate(model) is model
    ids = torch.ones(1, 4, dtype=torch.long)
    found = model.generate(ids, max_new_tokens=4)
    assert torch.equal(restore(model).generate(ids, max_new_tokens=4), found)
    layer = torch.nn.Linear(2, 2)
    with pytest.warns(DecodeWarning, match="it is not a Hugging Face model"):
        accelerate(layer)
    assert "forward" not in vars(layer)


def test_on_a_cpu_it_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    model = tiny_neox()
    assert why_not(model) == "its weights are on the CPU, and the kernels need a GPU (model.to('cuda'), where there is one)"
    with pytest.warns(DecodeWarning, match="the model runs plain: its weights are on the CPU") as seen:
        accelerate(model)
    assert len(seen) == 1
    output = model.generate(prompt(model), **CALL, return_dict_in_generate=True)
    assert type(output.past_key_values) is DynamicCache
    assert torch.equal(output.sequences, tiny_neox().generate(prompt(model), **CALL))


@pytest.mark.parametrize("version", ["5.16.0", "6.0.1", "6.0.0.dev0"])
def test_another_transformers(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks.transformers, "__version__", version)
    model = tiny_gpt2()
    with pytest.warns(DecodeWarning, match=f"transformers {version} is not one that it knows"):
        accelerate(model)
    assert "generate" not in vars(model) and str(why_not(model)).startswith("transformers")


def test_a_transformers_whose_private_methods_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: PreTrainedModel, generation_config: Any, model_kwargs: Any) -> None: ...

    model = tiny_llama()
    monkeypatch.setattr(type(model), "_prepare_cache_for_generation", changed)
    with pytest.warns(DecodeWarning, match="its _prepare_cache_for_generation is not the one of transformers 5.17"):
        accelerate(model)
    assert "generate" not in vars(model)


def test_a_static_cache_sees_the_model_without_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = twins("llama")
    seen = []
    whole = type(model)._prefill
    monkeypatch.setattr(
        type(model), "_prefill", lambda self, *args, **kwargs: (seen.append(set(vars(self))), whole(self, *args, **kwargs))[1]
    )
    with pytest.warns(DecodeWarning, match="static"):
        model.generate(prompt(model), **CALL, cache_implementation="static")
    assert "forward" not in seen[0] and isinstance(model(prompt(model)), CausalLMOutputWithPast)
    assert "forward" in vars(model)


def test_a_wrapper_around_a_hook() -> None:
    plain, model = twins("llama")
    inner, calls = model.forward, []

    def outer(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return inner(*args, **kwargs)

    outer.__signature__ = inspect.signature(inner)
    model.forward = outer
    agree(plain, model)
    assert len(calls) == 6 and accelerate(model) is model
    agree(plain, model)
    with none_counted():
        restore(model).generate(prompt(model), **CALL)
    assert vars(model)["forward"] is outer and "generate" not in vars(model)


@pytest.mark.parametrize(
    "compiled",
    [
        lambda model: model.compile(backend="eager"),
        lambda model: model.model.layers[1].compile(backend="eager"),
        lambda model: vars(model).update(forward=torch.compile(model.forward, backend="eager")),
    ],
    ids=["model", "layer", "forward"],
)
def test_compiled_models_run_plain(compiled) -> None:
    plain, model = twins("llama")
    compiled(model)
    with pytest.warns(DecodeWarning, match="its forward is compiled"), none_counted():
        found = model.generate(prompt(model), **CALL)
    assert torch.equal(plain.generate(prompt(model), **CALL), found)
    assert str(why_not(model)).startswith("its forward is compiled")
