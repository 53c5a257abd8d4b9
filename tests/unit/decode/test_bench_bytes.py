"""Bytes of a step: Llama-2-7B's and OPT-6.7B's as worked out by hand, and those that a live model's tensors and cache hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright import load_shape
from shapewright.decode.bench_bytes import mean_tokens, read_cache_bytes, read_weight_bytes
from shapewright.decode.bench_models import build_model, recipe_for
from shapewright.errors import InputError
from shapewright.measure.devices import open_device

from .bench_fakes import FAMILIES, config_file


def test_weights_of_llama_2_7b() -> None:
    h, inner, vocabulary, layers = 4096, 11008, 32000, 32
    by_hand = layers * (4 * h * h + 3 * h * inner + 2 * h) + h + vocabulary * h
    assert by_hand == 6_607_343_616
    assert read_weight_bytes(load_shape("llama-2-7b"), 2) == 2 * by_hand


def test_a_tied_table_is_read_whole_and_learned_positions_are_not() -> None:
    h, inner, vocabulary, layers = 4096, 16384, 50272, 32
    by_hand = layers * (4 * h * h + 2 * h * inner + 4 * h + inner + h + 4 * h) + 2 * h + vocabulary * h
    assert read_weight_bytes(load_shape("opt-6.7b"), 2) == 2 * by_hand


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_the_live_model(family: str, tmp_path: Path) -> None:
    name = config_file(tmp_path, FAMILIES[family])
    built = build_model(recipe_for(name), open_device("cpu"), name=name, dtype="fp32", positions=16)
    model = built.model
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    positions = [each for path, each in model.named_parameters() if "wpe" in path or "embed_positions" in path]
    gathered = {id(each) for each in positions} | ({id(table)} if table is not head else set())
    held = sum(each.nbytes for each in model.parameters() if id(each) not in gathered)
    assert read_weight_bytes(built.shape, 4) == held


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt"])
def test_the_cache_is_that_of_the_live_model(family: str, tmp_path: Path) -> None:
    import torch

    name = config_file(tmp_path, FAMILIES[family])
    built = build_model(recipe_for(name), open_device("cpu"), name=name, dtype="fp32", positions=16)
    cache = built.model(torch.zeros(3, 11, dtype=torch.int64), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert read_cache_bytes(built.shape, 4, batch=3, tokens=11) == held


def test_a_window_ends_what_is_read(tmp_path: Path) -> None:
    shape = recipe_for(config_file(tmp_path, FAMILIES["mistral"])).shape
    assert read_cache_bytes(shape, 2, batch=1, tokens=100) == read_cache_bytes(shape, 2, batch=1, tokens=8)


def test_the_mean_is_over_the_timed_steps() -> None:
    # A call for 4 tokens ends with step 3; steps 4 to 11 are timed, and step j attends to context + j tokens.
    assert mean_tokens(9, warmup_tokens=4, new_tokens=8) == sum(9 + step for step in range(4, 12)) / 8


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(InputError, match="is a mixture of experts"):
        read_weight_bytes(load_shape("mixtral-8x7b"), 2)
