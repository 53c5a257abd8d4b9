"""Engines that take the time they are told, and a clock that believes them; and tiny models as config files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapewright.decode.bench_engines import Cell, Task
from shapewright.decode.bench_models import BenchModel, recipe_for
from shapewright.measure.devices import Device, open_device

LLAMA: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 96,
    "max_position_embeddings": 32,
}
OPT: Mapping[str, Any] = {
    "model_type": "opt",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "word_embed_proj_dim": 32,
    "vocab_size": 96,
    "max_position_embeddings": 16,
}
NEOX: Mapping[str, Any] = {
    "model_type": "gpt_neox",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 96,
    "rotary_pct": 0.25,
    "max_position_embeddings": 32,
}
GPT2: Mapping[str, Any] = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96, "n_positions": 16}
MISTRAL: Mapping[str, Any] = {**LLAMA, "model_type": "mistral", "sliding_window": 8}
FAMILIES = {"llama": LLAMA, "opt": OPT, "gpt_neox": NEOX, "gpt2": GPT2, "mistral": MISTRAL}
CELL = Cell(batch=2, context=9, new_tokens=8, warmup_tokens=4)
PROMPT_S = 5.0


def config_file(folder: Path, fields: Mapping[str, Any] = LLAMA) -> str:
    """A config.json that a user might name."""
    path = folder / f"{fields['model_type']}.json"
    path.write_text(json.dumps(fields))
    return str(path)


def shape_task(folder: Path, cell: Cell = CELL, fields: Mapping[str, Any] = LLAMA, **more: Any) -> Task:
    """A task without a live model, for engines that need none."""
    recipe = recipe_for(config_file(folder, fields))
    model = BenchModel(name="tiny", family=recipe.model_type, shape=recipe.shape, model=None, dtype="fp32", **more)
    return Task(model=model, cell=cell, ids=None, device=open_device("cpu"))


class LostDevice(Device):
    """A GPU after an illegal access."""

    __slots__ = ()

    def synchronize(self) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def empty_cache(self) -> None:
        self.synchronize()


class QuietDevice(Device):
    """A GPU of which nothing is asked."""

    __slots__ = ()

    def synchronize(self) -> None:
        """Nothing runs."""

    def empty_cache(self) -> None:
        """Nothing is held."""


QUIET = QuietDevice(name="cuda:0", gpu="quiet", l2_bytes=1, memory_bytes=2**40)
LOST = LostDevice(name="cpu", gpu="lost", l2_bytes=1, memory_bytes=2**40)


@dataclass(slots=True)
class World:
    """Fake time, what was called, and how many engines are alive. `step_s`: seconds of a step by engine, one a call."""

    step_s: Callable[[str], float] = lambda name: 1.0
    faults: dict[str, Callable[[World, int], None]] = field(default_factory=dict)
    now_s: float = 0.0
    calls: list[tuple[str, int]] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)

    def make(self, name: str, task: Task) -> FakeEngine:
        self.alive.add(name)
        return FakeEngine(self, name)

    def wall_s(self, call: Callable[[], object]) -> float:
        """What the bench's clock does."""
        before = self.now_s
        call()
        return self.now_s - before


class FakeEngine:
    """Takes `PROMPT_S`, then its time a step; fails as the world says."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.note = world, name, ""

    def generate(self, num_tokens: int) -> None:
        self.world.calls.append((self.name, num_tokens))
        if self.name in self.world.faults:
            self.world.faults[self.name](self.world, num_tokens)
        self.world.now_s += PROMPT_S + num_tokens * self.world.step_s(self.name)

    def close(self) -> None:
        self.world.alive.discard(self.name)
