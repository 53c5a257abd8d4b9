"""A decode loop in the style of gpt-fast, as a baseline: static cache, one compiled step that chooses its token too, one CUDA graph.

After "Accelerating Generative AI with PyTorch II: GPT, Fast" (pytorch.org, 2023): `torch.compile` with coordinate descent tuning, which
turns products of batch 1 into reductions bound by memory. Written here over the model's own forward, so that it runs every family; to
its favour the cache has just the slots that the cell needs (read whole at each step), and the graph is captured once and replayed without
guards or a look at the host. The prompt's pass is Hugging Face's own, its cache copied in.

Shapes: keys and values `[batch, num_key_value_heads, capacity, head_dim]` a layer, mask `[1, 1, 1, capacity]`, tokens `[batch, 1]`.
Errors: `InputError` for a model whose layers differ in their window. On a CPU the step runs as it is, neither compiled nor captured.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import InputError
from ..shape import ModelShape

#: Inductor's: without it a product of one row stays a library's.
COMPILE_OPTIONS = {"coordinate_descent_tuning": True}
_WARM_UPS = 3


class Slots:
    """What a forward asks of a cache: put new keys and values into their slot, hand out all slots."""

    def __init__(self, shape: ModelShape, like: Any, *, batch: int, capacity: int) -> None:
        size = (batch, shape.num_key_value_heads, capacity, shape.head_dim)
        self.keys = [like.new_zeros(size) for _ in range(shape.num_hidden_layers)]
        self.values = [like.new_zeros(size) for _ in range(shape.num_hidden_layers)]
        self.slot = like.new_zeros(1, dtype=like.new_zeros(0).long().dtype)
        """The slot, and position, of the token that is fed."""

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Store one token of a layer."""
        self.keys[layer].index_copy_(2, self.slot, keys)
        self.values[layer].index_copy_(2, self.slot, values)
        return self.keys[layer], self.values[layer]

    def get_seq_length(self, *_: Any) -> int:
        """Not asked for where mask and positions are given."""
        return 0

    def fill(self, cache: Any) -> None:
        """Take over the keys and values of a prompt; a layer with a window has only its last ones."""
        length = cache.get_seq_length()
        for mine, theirs in ((self.keys, "keys"), (self.values, "values")):
            for layer, source in zip(mine, cache.layers, strict=True):
                states = getattr(source, theirs)
                layer[:, :, length - states.shape[2] : length].copy_(states)
        self.slot.fill_(length)


class GptFast:
    """The loop over one model, for prompts `ids` `[batch, context]` and at most `capacity` tokens a row."""

    def __init__(self, model: Any, shape: ModelShape, ids: Any, *, capacity: int) -> None:
        self.note = "" if ids.is_cuda else "neither compiled nor captured on a CPU"
        self._model, self._ids, self._window = model, ids, _window(shape)
        like = next(model.parameters())
        self._slots = Slots(shape, like, batch=len(ids), capacity=capacity)
        self._token = ids.new_zeros(len(ids), 1)
        self._made = ids.new_zeros(len(ids), capacity + 1)
        self._places = ids.new_tensor(range(capacity))
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        self._next: Callable[[], Any] = self._captured() if ids.is_cuda else self._step

    def generate(self, num_tokens: int) -> Any:
        """New tokens `[batch, num_tokens]`."""
        import torch

        context = self._ids.shape[1]
        with torch.no_grad():
            out = self._model(input_ids=self._ids, use_cache=True, **self._last)
            self._slots.fill(out.past_key_values)
            self._token.copy_(out.logits[:, -1:].argmax(-1))
            self._made[:, context : context + 1] = self._token
            for _ in range(num_tokens - 1):
                self._next()
        return self._made[:, context : context + num_tokens].clone()

    def close(self) -> None:
        """Let go of model, cache and graph."""
        del self._next, self._slots, self._model

    def _step(self) -> None:
        """Feed the token, choose the next one."""
        slot = self._slots.slot
        seen = self._places <= slot
        if self._window is not None:
            seen = seen & (self._places > slot - self._window)
        logits = self._model(
            input_ids=self._token,
            position_ids=slot[None].expand(len(self._token), 1),
            attention_mask=seen[None, None, None],
            past_key_values=self._slots,
            use_cache=True,
        ).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
        self._token.copy_(token)
        self._made.index_copy_(1, slot + 1, token)
        slot.add_(1)

    def _captured(self) -> Callable[[], Any]:
        """The step, compiled and in a graph."""
        import torch

        step = torch.compile(self._step, fullgraph=True, dynamic=False, options=dict(COMPILE_OPTIONS))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):  # compiles, tunes, and lets the libraries allocate outside the graph
                self._slots.slot.zero_()
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            step()
        return graph.replay


def _window(shape: ModelShape) -> int | None:
    """Keys that every layer sees; None: all."""
    windows = {shape.window(kind.attention) for kind in shape.layer_kinds}
    if len(windows) > 1:
        raise InputError(f"layers of {shape.name} differ in their window", hint="measure it without gpt-fast")
    return windows.pop()
