"""Whole models on the CPU: every phase, the cache that must not grow, and what a row holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shapewright.errors import InputError
from shapewright.measure.hf_fields import recipe_of, resized
from shapewright.measure.hf_models import build
from shapewright.measure.points import ModelPoint
from shapewright.measure.runners import measure, model
from unit.measure.benches_of_steps import step_bench

TINY = "hidden_size=64,num_attention_heads=4,intermediate_size=128,vocab_size=300"
PHASES: tuple[Any, ...] = ("forward", "train", "prefill", "decode")


def point(name: str = "llama-2-7b", **more: Any) -> ModelPoint:
    sizes: dict[str, Any] = {"changes": TINY, "micro_batch": 2, "sequence": 12, "context": 7, "num_layers": 2, "dtype": "fp32", "rounds": 2}
    return ModelPoint(model=name, **{**sizes, **more})


@pytest.mark.parametrize("name", ["llama-2-7b", "gpt2-xl", "opt-1.3b", "gemma-2-2b"])
def test_every_phase_of_a_model(name: str) -> None:
    found = measure([point(name, phase=phase) for phase in PHASES], step_bench())

    for phase, outcome in zip(PHASES, found, strict=True):
        assert outcome.error is None, phase
        row = outcome.columns
        tokens = 2 if phase == "decode" else 24
        assert float(row["tokens_per_s"]) == pytest.approx(tokens / float(row["time_s"]), rel=1e-4)
        assert (row["num_replays"], row["layers_built"], row["num_together"]) == (2, 2, 4)
        assert row.get("cache") == ("dynamic" if phase == "decode" else None)
        assert row["num_params"] == resized(recipe_of(name, TINY), num_layers=2).shape.num_params


def test_training_moves_the_weights_unless_no_optimizer_is_asked_for() -> None:
    bench = step_bench()
    for optimizer, is_moved in (("fused", True), ("foreach", True), ("none", False)):
        each = point(phase="train", optimizer=optimizer)
        live = build(resized(recipe_of(each.model, each.changes), num_layers=1), bench.device, dtype="fp32", attention="sdpa")
        before = live.lm_head.weight.detach().clone()
        model._train(live, live, each, bench)()
        assert torch.equal(before, live.lm_head.weight) is not is_moved
        assert live.lm_head.weight.grad is None


@pytest.mark.parametrize("name", ["llama-2-7b", "gemma-2-2b", "gpt2-xl"])
@pytest.mark.parametrize("runtime", ["eager", "compiled"])
def test_a_decode_step_starts_from_the_same_cache_each_time(name: str, runtime: Any) -> None:
    bench, each = step_bench(), point(name, phase="decode", runtime=runtime)
    live = build(resized(recipe_of(name, TINY), num_layers=2, positions=71), bench.device, dtype="fp32", attention="sdpa")
    logits: list[torch.Tensor] = []
    lengths: list[int] = []

    def run(*, past_key_values: Any, **named: Any) -> Any:
        lengths.append(int(past_key_values.get_seq_length()))
        output = live(past_key_values=past_key_values, **named)
        logits.append(output.logits)
        return output

    step = model._decode(live, run, each, bench)
    for _ in range(model.ROOM + 2):
        step()

    assert lengths[0] == 7
    if runtime == "eager":
        assert set(lengths) == {7}
        assert all(torch.equal(logits[0], later) for later in logits)
    else:  # the static cache fills up, then starts anew
        assert max(lengths) < 7 + model.ROOM
        torch.testing.assert_close(logits[0], logits[model.ROOM], rtol=1e-5, atol=1e-5)


def test_prefill_makes_the_last_tokens_logits_alone() -> None:
    bench = step_bench()
    live = build(resized(recipe_of("llama-2-7b", TINY), num_layers=1), bench.device, dtype="fp32", attention="sdpa")
    shapes: list[Any] = []

    def run(**named: Any) -> Any:
        output = live(**named)
        shapes.append((output.logits.shape, output.past_key_values.get_seq_length()))
        return output

    model._prefill(live, run, point(), bench)()

    assert shapes == [((2, 1, 300), 12)]


def test_an_encoder_has_no_cache_to_fill() -> None:
    found = measure([point("bert-base-uncased", phase="decode"), point("bert-base-uncased", rounds=1)], step_bench())

    assert isinstance(found[0].error, InputError)
    assert "is an encoder" in str(found[0].error)
    assert found[1].error is None


def test_a_model_beyond_the_memory_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "build", lambda *_, **__: pytest.fail("it was built"))

    found = measure([point(changes="", num_layers=0, phase="train")], step_bench(memory_bytes=2**34))

    assert isinstance(found[0].error, MemoryError)
    assert "train of llama-2-7b" in str(found[0].error)
