"""Engines over live tiny models on the CPU: all make the tokens that Hugging Face makes, and none changes the model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shapewright.decode import bench_engines
from shapewright.decode.bench_check import against_exact, checks, largest_difference
from shapewright.decode.bench_engines import Cell, Task, make_engine, task_for
from shapewright.decode.bench_gptfast import GptFast
from shapewright.decode.bench_models import build_model, recipe_for
from shapewright.decode.bench_read import Read
from shapewright.errors import InputError
from shapewright.measure.devices import open_device

from .bench_fakes import FAMILIES, LLAMA, config_file

CELL = Cell(batch=2, context=9, new_tokens=6, warmup_tokens=4)
CPU = open_device("cpu")


def live_task(folder: Path, family: str = "llama", dtype: str = "fp32") -> Task:
    name = config_file(folder, FAMILIES[family])
    model = build_model(recipe_for(name), CPU, name=name, dtype=dtype, positions=CELL.capacity)
    return task_for(model, CELL, CPU)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return live_task(tmp_path)


class Ours:
    """The package's face, as the bench sees it."""

    def __init__(self) -> None:
        self.models = []

    def accelerate(self, model: Any) -> Any:
        self.models.append(model)
        return model

    def restore(self, model: Any) -> Any:
        self.models.remove(model)
        return model

    def decode(self, model: Any, ids: Any, *, max_new_tokens: int) -> Any:
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens)


@pytest.mark.parametrize("name", ["hf-eager", "hf-static-compile", "gpt-fast", "ours-generate", "ours-loop"])
def test_engines_agree(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Ours()
    monkeypatch.setattr(bench_engines, "_ours", lambda: ours)
    expected = make_engine("hf", task).generate(6)
    engine = make_engine(name, task)
    assert torch.equal(engine.generate(6), expected) and expected.shape == (2, 6)
    assert torch.equal(engine.generate(1), expected[:, :1])
    engine.close()
    assert not ours.models


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "llama"])
def test_the_compiled_loop_runs_every_family(family: str, tmp_path: Path) -> None:
    task = live_task(tmp_path, family)
    assert torch.equal(make_engine("gpt-fast", task).generate(6), make_engine("hf", task).generate(6))


def test_the_loop_compiles_without_a_break(task: Task) -> None:
    engine = make_engine("gpt-fast", task)
    assert isinstance(engine, GptFast)
    expected = engine.generate(6)
    torch._dynamo.reset()
    engine._next = torch.compile(engine._step, fullgraph=True, dynamic=False, backend="aot_eager")
    assert torch.equal(engine.generate(6), expected)


def test_layers_of_different_windows_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from shapewright import load_shape

    task = live_task(tmp_path)
    mixed = replace(task, model=replace(task.model, shape=load_shape("gemma-2-2b")))
    with pytest.raises(InputError, match="differ in their window"):
        make_engine("gpt-fast", mixed)


def test_each_engine_has_a_model_of_its_own(task: Task) -> None:
    eager: Any = make_engine("hf-eager", task)
    assert eager._model is not task.model.model and task.model.model.config._attn_implementation == "sdpa"
    assert eager._model.config._attn_implementation == "eager"
    assert eager._model.lm_head.weight is task.model.model.lm_head.weight


def test_prompts_are_the_same_in_every_run_and_rows_differ(task: Task) -> None:
    assert torch.equal(task.ids, task_for(task.model, CELL, CPU).ids)
    assert task.ids.shape == (2, 9) and not torch.equal(task.ids[0], task.ids[1])


def test_logits_are_those_after_the_given_tokens(task: Task) -> None:
    engine: Any = make_engine("hf", task)
    tokens = torch.tensor([[5, 6, 7], [8, 9, 10]])
    whole = task.model.model(torch.cat([task.ids, tokens], 1)).logits
    assert torch.allclose(engine.logits(tokens), whole[:, 8:11], atol=1e-5)


def test_checks_find_a_wrong_model(task: Task) -> None:
    class Wrong:
        note = ""

        def generate(self, num_tokens: int) -> Any:
            return torch.full((2, num_tokens), LLAMA["vocab_size"])  # no such token

        def logits(self, tokens: Any) -> Any:
            return 2 * hf.logits(tokens)

    hf: Any = make_engine("hf", task)
    engines = [("hf", hf), ("hf-eager", make_engine("hf-eager", task)), ("gpt-fast", make_engine("gpt-fast", task)), ("ours-loop", Wrong())]
    eager, fast, wrong = checks(task, engines)

    assert (eager.engine, eager.num_tokens, eager.num_equal_tokens, eager.status) == ("hf-eager", 8, 8, "ok")
    assert eager.max_relative_difference is not None and eager.max_relative_difference < 1e-5
    assert fast.num_equal_tokens == 8 and fast.max_relative_difference is None
    assert wrong.num_equal_tokens == 0 and wrong.max_relative_difference == pytest.approx(1.0)
    assert {found.max_relative_error for found in (eager, fast, wrong)} == {None}


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_held_against_fp32(dtype: str, tmp_path: Path) -> None:
    """Hugging Face's eager attention rounds elsewhere than its sdpa, and errs about as much."""
    task = live_task(tmp_path, dtype=dtype)
    [found] = checks(task, [("hf-eager", make_engine("hf-eager", task))])
    assert found.status == "ok" and found.max_relative_error is not None and found.hf_max_relative_error is not None
    assert 0 < found.max_relative_error < 2 * found.hf_max_relative_error < 0.2
    assert found.num_sure_tokens is not None and 0 < found.num_sure_tokens == found.num_sure_tokens_right
    assert {each.dtype for each in task.model.model.parameters()} == {torch.bfloat16 if dtype == "bf16" else torch.float16}


def test_without_room_for_fp32_nothing_is_held_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.nn.Module) -> None:
        raise torch.OutOfMemoryError

    task = live_task(tmp_path, dtype="bf16")
    monkeypatch.setattr(torch.nn.Module, "float", full)
    [found] = checks(task, [("hf-eager", make_engine("hf-eager", task))])
    assert (found.status, found.max_relative_error, found.num_sure_tokens) == ("ok", None, None)
    assert found.max_relative_difference is not None


def test_a_sure_token_that_is_missed_is_counted() -> None:
    """Leads of 1 and 0.3, where Hugging Face errs by 0.2: the second could as well be rounding."""
    exact = torch.tensor([[[2.0, 1.0, 0.0], [0.3, 0.0, -2.0]]])
    hf = exact + torch.tensor([0.2, 0.0, 0.0])
    swapped = exact.roll(1, dims=-1)
    assert against_exact(swapped, hf, exact) == {
        "max_relative_error": pytest.approx(1.15),
        "hf_max_relative_error": pytest.approx(0.1),
        "num_sure_tokens": 1,
        "num_sure_tokens_right": 0,
    }
    assert against_exact(exact, hf, exact)["num_sure_tokens_right"] == 1


def test_a_check_that_fails_is_one_that_says_so(task: Task) -> None:
    def fail(num_tokens: int) -> None:
        raise ValueError("no\nmore")

    [found] = checks(task, [("gpt-fast", SimpleNamespace(generate=fail))])
    assert (found.status, found.error, found.num_equal_tokens) == ("failed", "ValueError: no", 0)


def test_one_wrong_logit_of_one_step_is_the_largest_difference() -> None:
    expected = torch.ones(2, 3, 4)
    expected[1, 2, 0] = -8.0
    logits = expected.clone()
    logits[1, 2, 3] += 2.0
    assert largest_difference(logits, expected) == 0.25


def test_the_ceiling_reads_every_byte_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    whole_sum = torch.Tensor.sum
    monkeypatch.setattr(torch.Tensor, "sum", lambda self: lengths.append(self.numel()) or whole_sum(self))
    Read(CPU, 3 * 64 * 2**20 + 40).generate(2)
    assert 4 * sum(lengths) == 2 * (3 * 64 * 2**20 + 40)
