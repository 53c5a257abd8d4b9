"""Mutated configurations of every kind: each becomes a shape that can be counted, or one line that says what is wrong."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.read import catalogue
from shapewright.read.fields import OVERRIDABLE
from shapewright.read.resolve import load, load_text
from shapewright.shape import ModelShape

#: Processor time of the thread, so that a busy machine does not count; typical inputs take milliseconds, but a slow machine may collect
#: two seconds of garbage meanwhile.
MAX_SECONDS = 10.0
MAX_MESSAGE = 400

NEOX = """{
  "pipe-parallel-size": 1, "model-parallel-size": 2, "num-layers": 24, "hidden-size": 2048, "num-attention-heads": 16,
  "num_kv_heads": 4, "seq-length": 2048, "max-position-embeddings": 2048, "norm": "layernorm", "pos-emb": "rotary",
  "rotary-pct": 0.25, "no-weight-tying": true, "gpt-j-residual": true, "make_vocab_size_divisible_by": 64, "vocab_size": 50257,
  "activation": "swiglu", "intermediate_size": 33024, "attention_config": [[["flash"], 24]], "moe_num_experts": 8, "moe_top_k": 2,
  "sliding_window_width": 512, "zero_optimization": {"stage": 1}, "train_micro_batch_size_per_gpu": 16, "fp16": {"enabled": true},
  "hidden_dropout": 0.1, "expert_interval": 2, "opt_pos_emb_offset": 2,
}
"""
MEGATRON = r"""#!/bin/bash
HIDDEN=2560
LAYERS=$((16*2))
ARGS=(
    --num-layers $LAYERS
    --hidden-size ${HIDDEN:-1024}
    --num-attention-heads 32 --group-query-attention --num-query-groups 8
    --seq-length 2048 --max-position-embeddings 2048 --swiglu --vocab-size 50257
    --num-experts 8 --moe-router-topk 2 --moe-layer-freq "([0]*1+[1]*31)"
    --window-size "(511,0)" --rotary-percent 0.5 --position-embedding-type rope
    --make-vocab-size-divisible-by 128 --hidden-dropout 0.1 --kv-channels 80
)
if [[ "$HIDDEN" -gt 1000 ]] || [[ -z "$X" ]]; then
    ARGS+=("--micro-batch-size 4")
fi
torchrun pretrain_gpt.py ${ARGS[@]} --tensor-model-parallel-size 2 2>&1 | tee "log-$(date).txt"
"""
BOMB = "a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nhidden_size: *c\n"
HF_MODELS = ("llama-2-7b", "gpt2", "pythia-70m", "falcon-7b", "mixtral-8x7b", "deepseek-v2-lite", "gemma-2-9b", "opt-350m", "qwen3-30b-a3b",
             "gpt-oss-20b", "bert-base-uncased", "phi-2")  # fmt: skip

NASTY = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 7, 64, 0.5, 2560.5, 10**9, 10**18, 2**63, -(10**30), float("nan"), float("inf")]),
    st.sampled_from([None, True, False, "", "64", "many", "1e3", "auto", "null", "$H", "a\nb", "\u2028", "é" * 50, "x" * 5000]),
    st.sampled_from(["swiglu", "rotary", [], {}, [[[]]], [1, 2], [None], {"a": {"b": [1]}}, ["sliding_attention", "full_attention"]]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.booleans(),
)


def check(text: str, where: str) -> None:
    """Either a shape whose parameters are a positive integer, or one short line; within the time."""
    start = time.thread_time()
    try:
        shape = load_text(text, name="fuzz", where=where).shape
    except InputError as error:
        message = str(error)
        assert message
        assert len(message.splitlines()) == 1, message
        assert len(message) < MAX_MESSAGE, message
    else:
        assert isinstance(shape, ModelShape)
        assert isinstance(shape.num_params, int)
        assert shape.num_params > 0
        assert sum(kind.count for kind in shape.layer_kinds) == shape.num_hidden_layers
    assert time.thread_time() - start < MAX_SECONDS


fuzz = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=700, derandomize=True)


def mutated_text(text: str, seed: random.Random, kind: int) -> str:
    """Cut, doubled, sprinkled with bytes that matter, or with a deep nest or a tag in it."""
    at = seed.randrange(len(text) + 1)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + text[seed.randrange(len(text)) :]
    if kind == 2:
        return text[:at] + "".join(seed.choices("{}[]()\"'`$\\#&*!|>%@:-,\n\t 0189aE\0\ufeff\x85", k=seed.randrange(1, 9))) + text[at:]
    if kind == 3:
        return (
            text[:at]
            + seed.choice(["[", "{", "(", "- ", "$(", "${", "$((", '"', "if [ 1 ]; then\n"]) * seed.choice([3, 70, 4000])
            + text[at:]
        )
    if kind == 4:
        return text[:at] + seed.choice(["!!python/object:os.system ", "&a ", "*a", "<<: *a\n", "---\n", "%YAML 9.9\n", BOMB]) + text[at:]
    return "".join(chr(seed.randrange(1, 0x300)) for _ in range(seed.randrange(200)))


def mutated_mapping(config: dict[str, Any], seed: random.Random, values: list[Any]) -> dict[str, Any]:
    """A few keys deleted, replaced or nested in themselves."""
    config = copy.deepcopy(config)
    for value in values:
        key = seed.choice(sorted(config) or ["hidden_size"])
        action = seed.randrange(8)
        if action == 0:
            config.pop(key, None)
        elif action == 1:
            config[seed.choice(sorted(OVERRIDABLE))] = value
        elif action == 2:
            config = {seed.choice(["text_config", "config", key]): config, "model_type": config.get("model_type")}
        else:
            config[key] = value
    return config


@fuzz
@given(model=st.sampled_from(HF_MODELS), seed=st.randoms(use_true_random=False), values=st.lists(NASTY, min_size=1, max_size=4))
def test_hugging_face_values(model: str, seed: random.Random, values: list[Any]) -> None:
    config = mutated_mapping(dict(catalogue.describe(model).config), seed, values)
    check(json.dumps(config, default=str), "config.json")


@fuzz
@given(model=st.sampled_from(HF_MODELS), seed=st.randoms(use_true_random=False), kind=st.integers(0, 5))
def test_hugging_face_text(model: str, seed: random.Random, kind: int) -> None:
    text = json.dumps(dict(catalogue.describe(model).config), indent=1)
    check(mutated_text(text, seed, kind), seed.choice(["config.json", "config"]))


@fuzz
@given(seed=st.randoms(use_true_random=False), values=st.lists(NASTY, min_size=1, max_size=4))
def test_gpt_neox_values(seed: random.Random, values: list[Any]) -> None:
    import yaml

    config = mutated_mapping(yaml.safe_load(NEOX), seed, values)
    check(yaml.safe_dump(config, allow_unicode=seed.random() < 0.5), "neox.yml")


@fuzz
@given(seed=st.randoms(use_true_random=False), kind=st.integers(0, 5))
def test_gpt_neox_text(seed: random.Random, kind: int) -> None:
    check(mutated_text(NEOX, seed, kind), seed.choice(["neox.yml", "neox"]))


@fuzz
@given(seed=st.randoms(use_true_random=False), values=st.lists(NASTY, min_size=1, max_size=3))
def test_megatron_values(seed: random.Random, values: list[Any]) -> None:
    words = MEGATRON.split(" ")
    for value in values:
        words[seed.randrange(len(words))] = str(value)
    check(" ".join(words), "run.sh")


@fuzz
@given(seed=st.randoms(use_true_random=False), kind=st.integers(0, 5))
def test_megatron_text(seed: random.Random, kind: int) -> None:
    check(mutated_text(MEGATRON, seed, kind), seed.choice(["run.sh", "run"]))


@fuzz
@given(
    model=st.sampled_from(HF_MODELS),
    changes=st.dictionaries(st.one_of(st.sampled_from(sorted(OVERRIDABLE)), st.text(max_size=8)), NASTY, min_size=1, max_size=3),
)
def test_overrides(model: str, changes: dict[str, Any]) -> None:
    try:
        shape = load(model, overrides=changes).shape
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < MAX_MESSAGE
    else:
        assert shape.num_params > 0


@pytest.mark.parametrize("model", HF_MODELS)
def test_the_models_to_mutate_are_readable(model: str) -> None:
    text = json.dumps(dict(catalogue.describe(model).config))
    assert load_text(text, name="fuzz", where="config.json").shape.num_params == load(model).shape.num_params


def test_the_scripts_to_mutate_are_readable() -> None:
    assert load_text(NEOX, name="fuzz", where="neox.yml").shape.hidden_size == 2048
    assert load_text(MEGATRON, name="fuzz", where="run.sh").shape.hidden_size == 2560
