"""The engines that `shapewright decode` compares, each over the same weights and the same prompts.

- `hf`: `generate` as it is, dynamic cache, sdpa. `hf-eager`: the same with eager attention.
- `hf-static-compile`: `generate(cache_implementation="static")`, which compiles the step by its own defaults. Its cache has just the slots
  of the cell, to its favour: every step reads them all.
- `gpt-fast`: a compiled loop without a host in it (`bench_gptfast`).
- `ours-generate`: `accelerate(model)`, then `generate` as it is. `ours-loop`: `decode(model, ids)`.
- `read`: reads the same bytes and does nothing else (`bench_read`).

All of them answer one call, `generate(num_tokens)`: prompt in, that many new tokens out. So one clock fits all: see `bench_cell`.
Each works on a twin of the model, which shares the weights and nothing else, so that they can run in turn in one process.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import unknown_name
from ..measure.devices import Device
from .bench_bytes import mean_tokens, read_cache_bytes, read_weight_bytes
from .bench_models import BenchModel, twin
from .bench_rows import ENGINES

SEED = 1
#: Engines that go through `torch.compile`.
COMPILING = frozenset({"hf-static-compile", "gpt-fast"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`batch` prompts of `context` tokens; `new_tokens` timed steps after `warmup_tokens` that are not."""

    batch: int
    context: int
    new_tokens: int = 128
    warmup_tokens: int = 16

    @property
    def capacity(self) -> int:
        """Tokens of a row at the end."""
        return self.context + self.warmup_tokens + self.new_tokens


class Engine(Protocol):
    """What the bench asks of each."""

    note: str
    """What to know of it; "" for nothing."""

    def generate(self, num_tokens: int) -> Any:
        """New tokens `[batch, num_tokens]` after the prompts (None from `read`); may return before the device is done."""

    def close(self) -> None:
        """Let go of everything but the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an engine is made for."""

    model: BenchModel
    cell: Cell
    ids: Any
    """Prompts `[batch, context]` on the device."""
    device: Device

    @property
    def weight_bytes(self) -> int:
        """Weights that a step reads."""
        return read_weight_bytes(self.model.shape, _element_bytes(self.model))

    @property
    def cache_bytes(self) -> int:
        """Keys and values that a timed step reads, mean."""
        tokens = mean_tokens(self.cell.context, warmup_tokens=self.cell.warmup_tokens, new_tokens=self.cell.new_tokens)
        return read_cache_bytes(self.model.shape, _element_bytes(self.model), batch=self.cell.batch, tokens=tokens)


MakeEngine = Callable[[str, Task], Engine]


def task_for(model: BenchModel, cell: Cell, device: Device) -> Task:
    """The cell with its prompts: random tokens, the same in every run."""
    import torch

    random = torch.Generator().manual_seed(SEED)
    ids = torch.randint(0, model.shape.vocab_size, (cell.batch, cell.context), generator=random)
    return Task(model=model, cell=cell, ids=ids.to(device.name), device=device)


def make_engine(name: str, task: Task) -> Engine:
    """The engine called `name`; it may compile or capture now, or at its first call."""
    if name not in _MAKERS:
        raise unknown_name("engine", name, ENGINES)
    return _MAKERS[name](task)


def forget_compiled() -> None:
    """Drop what was compiled for earlier cells: recompiling for each length would reach torch's limit, after which nothing compiles."""
    import torch

    torch._dynamo.reset()
    trees = sys.modules.get("torch._inductor.cudagraph_trees")
    if trees is not None and torch.cuda.is_available():
        trees.reset_cudagraph_trees()
    gc.collect()


class Generate:
    """`model.generate`, greedily."""

    def __init__(self, model: Any, ids: Any, *, on_close: Callable[[Any], object] | None = None, note: str = "", **options: Any) -> None:
        self.note = note
        self._model, self._ids, self._mask, self._options, self._on_close = model, ids, ids.new_ones(ids.shape), options, on_close

    def generate(self, num_tokens: int) -> Any:
        """New tokens `[batch, num_tokens]`."""
        return self._generated(num_tokens)[:, self._ids.shape[1] :]

    def logits(self, tokens: Any) -> Any:
        """Logits `[batch, T, vocab_size]` in fp32 from which each of `tokens` `[batch, T]` would be chosen, after those before it."""
        import torch
        from transformers import LogitsProcessorList

        context = self._ids.shape[1]

        def choose(input_ids: Any, scores: Any) -> Any:
            chosen = tokens[:, input_ids.shape[1] - context, None]
            return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

        processors = LogitsProcessorList([choose])  # pyright: ignore[reportArgumentType]
        out = self._generated(tokens.shape[1], logits_processor=processors, output_logits=True, return_dict_in_generate=True)
        return torch.stack(out.logits, 1)

    def close(self) -> None:
        """Undo what was done to the model, and let go of it."""
        if self._on_close is not None:
            self._on_close(self._model)
        del self._model

    def _generated(self, num_tokens: int, **more: Any) -> Any:
        return self._model.generate(self._ids, attention_mask=self._mask, max_new_tokens=num_tokens, **self._options, **more)


class Loop:
    """`shapewright.decode.decode`, greedily."""

    def __init__(self, model: Any, ids: Any) -> None:
        self.note, self._model, self._ids = "", model, ids

    def generate(self, num_tokens: int) -> Any:
        """New tokens `[batch, num_tokens]`."""
        return _ours().decode(self._model, self._ids, max_new_tokens=num_tokens)[:, -num_tokens:]

    def close(self) -> None:
        """Give the model its own ways back."""
        _ours().restore(self._model)
        del self._model


def _ours() -> Any:
    """The package that is measured."""
    import shapewright.decode

    return shapewright.decode


def _hf(task: Task) -> Engine:
    return Generate(twin(task.model.model), task.ids)


def _hf_eager(task: Task) -> Engine:
    model = twin(task.model.model)
    model.set_attn_implementation("eager")
    return Generate(model, task.ids)


def _hf_static(task: Task) -> Engine:
    note = "" if task.device.is_gpu else "not compiled on a CPU"
    slots = {"cache_implementation": "static", "max_cache_len": task.cell.capacity}
    return Generate(twin(task.model.model), task.ids, note=note, **slots)


def _gpt_fast(task: Task) -> Engine:
    from .bench_gptfast import GptFast

    return GptFast(twin(task.model.model), task.model.shape, task.ids, capacity=task.cell.capacity)


def _ours_generate(task: Task) -> Engine:
    return Generate(_accelerated(task), task.ids, on_close=_ours().restore)


def _ours_loop(task: Task) -> Engine:
    return Loop(_accelerated(task), task.ids)


def _accelerated(task: Task) -> Any:
    """A model that decodes our way; of what it cannot do it warns, and the bench notes it."""
    return _ours().accelerate(twin(task.model.model))


def _read(task: Task) -> Engine:
    from .bench_read import Read

    return Read(task.device, task.weight_bytes + task.cache_bytes)


def _element_bytes(model: BenchModel) -> int:
    from ..dtypes import load_dtype

    return load_dtype(model.dtype).size_bytes


_MAKERS: Mapping[str, Callable[[Task], Engine]] = {
    "hf": _hf,
    "hf-eager": _hf_eager,
    "hf-static-compile": _hf_static,
    "gpt-fast": _gpt_fast,
    "ours-generate": _ours_generate,
    "ours-loop": _ours_loop,
    "read": _read,
}
