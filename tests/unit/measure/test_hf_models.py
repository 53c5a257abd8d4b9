"""Models of transformers from a config alone: parameters as counted, nothing fetched, what is missing or refused said plainly."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import replace
from typing import Any

import pytest

from shapewright.errors import InputError, MissingError
from shapewright.measure.devices import Device
from shapewright.measure.hf_fields import recipe_of, resized
from shapewright.measure.hf_models import build, require_memory

META = Device(name="meta", gpu="none", l2_bytes=1, memory_bytes=10**9)


@pytest.mark.parametrize(
    "model", ["llama-2-7b", "gpt3-2.7b", "gpt2-xl", "pythia-1b", "opt-350m", "phi-2", "gemma-2-2b", "falcon-7b", "bert-base-uncased"]
)
def test_a_model_has_the_parameters_that_its_shape_counts(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    recipe = resized(recipe_of(model), num_layers=2, vocab_size=256, positions=2048)

    built = build(recipe, META, dtype="bf16", attention="sdpa")

    assert sum(each.numel() for each in {id(each): each for each in built.parameters()}.values()) == recipe.shape.num_params
    assert built.config._attn_implementation == "sdpa"
    assert str(next(built.parameters()).dtype) == "torch.bfloat16"


def test_an_attention_that_transformers_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="no sdpa attention for bloom; use attention eager"):
        build(resized(recipe_of("bloom-560m"), num_layers=1, vocab_size=256), META, dtype="bf16", attention="sdpa")


def test_fields_that_transformers_refuses_are_an_input_error() -> None:
    recipe = resized(recipe_of("llama-2-7b"), num_layers=1, vocab_size=256)
    with pytest.raises(InputError, match="transformers refuses this llama"):
        build(replace(recipe, values={**recipe.values, "hidden_act": 7}), META, dtype="bf16", attention="sdpa")


def test_fp8_is_refused() -> None:
    with pytest.raises(InputError, match="fp8"):
        build(recipe_of("llama-2-7b"), META, dtype="fp8", attention="sdpa")


def test_absent_transformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match="pip install transformers"):
        build(recipe_of("llama-2-7b"), META, dtype="bf16", attention="sdpa")


def test_what_the_device_cannot_hold_is_refused_before_it_is_allocated() -> None:
    require_memory(10**9, META, "a model")
    with pytest.raises(MemoryError, match="out of memory before allocation: a model needs at least 1000000001 bytes"):
        require_memory(10**9 + 1, META, "a model")
