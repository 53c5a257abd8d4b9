"""A step behind a graph, where there is none (the CPU)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import Dispatch, Table, hardware_of
from shapewright.decode.graphs import CapturedStep, make_step
from shapewright.decode.layers import Decoder
from shapewright.decode.step import Step
from unit.decode.kernels.plain import drawn
from unit.decode.kernels.small import attention_of, decoder_of


def ready() -> tuple[Decoder, Buffers]:
    """Six random slots; two rows, the second of which begins at slot 2."""
    decoder = decoder_of(attention_of(heads=2, kv_heads=2, rotary_dim=8))
    buffers = Buffers(decoder, 2, 12)
    buffers.cache.copy_(drawn(*buffers.cache.shape, seed=4))
    buffers.starts.copy_(torch.tensor([0, 2]))
    buffers.positions.copy_(6 - buffers.starts)
    buffers.length.fill_(6)
    buffers.first.fill_(6)
    buffers.tokens.copy_(torch.tensor([3, 9]))
    return decoder, buffers


def batch_of_one(decoder: Decoder, buffers: Buffers) -> Buffers:
    """The first row alone, which runs on GEMVs."""
    one = Buffers(decoder, 1, buffers.capacity)
    one.cache.copy_(buffers.cache[:, :, :1])
    for name in ("tokens", "positions", "starts"):
        getattr(one, name).copy_(getattr(buffers, name)[:1])
    one.length.copy_(buffers.length)
    one.first.copy_(buffers.first)
    return one


def test_without_a_graph_it_is_the_step() -> None:
    """Three greedy steps of each: the same tokens, logits and cache; `run` leaves the state alone."""
    decoder, buffers = ready()
    captured = make_step(decoder, buffers, Table())
    captured.run()
    assert buffers.length.tolist() == [6]
    _, others = ready()
    plain = Step(decoder, others, Dispatch(hardware_of(decoder.device), Table()))
    for _ in range(3):
        captured.run_greedy()
        plain.run_greedy()
    assert buffers.length.tolist() == [9]
    assert buffers.positions.tolist() == [9, 7]
    for name in ("generated", "cache", "tokens"):
        assert torch.equal(getattr(buffers, name), getattr(others, name))
    assert torch.equal(captured.logits, plain.logits)


def test_logits_are_one_tensor() -> None:
    decoder, buffers = ready()
    step = make_step(decoder, buffers, Table())
    logits = step.logits
    step.run_greedy()
    assert step.logits is logits
    assert isinstance(step, CapturedStep) and step.graph is None


def test_a_graph_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Graph:
        replays = 0

        def replay(self) -> None:
            Graph.replays += 1

    step = make_step(*ready(), Table())
    captured: list[Graph] = []
    monkeypatch.setattr(step, "_captured", lambda: captured.append(Graph()) or captured[-1])
    step.can_capture = True
    for _ in range(3):
        step.run_greedy()
    assert len(captured) == 1 and Graph.replays == 3


def test_what_is_made_of_weights_alone_has_a_graph_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs at once where it is asked for, before the next step where something was forgotten, and not otherwise."""
    replayed: list[str] = []

    class Graph:
        def __init__(self, name: str) -> None:
            self.name = name

        def replay(self) -> None:
            replayed.append(self.name)

    decoder, buffers = ready()
    layer_norm = replace(decoder.final_norm, kind="layer")
    step = make_step(replace(decoder, final_norm=layer_norm), batch_of_one(decoder, buffers), Table())
    assert len(step.step.constants) == 1
    step.refresh()
    assert step.step.is_stale

    def captured() -> Graph:
        step.step.run_greedy()
        step.refreshing = Graph("constants")  # type: ignore[assignment]
        return Graph("step")

    monkeypatch.setattr(step, "_captured", captured)
    step.can_capture = True
    step.run_greedy()
    step.run_greedy()
    step.forget()
    step.refresh()
    step.run_greedy()
    step.forget()
    step.run_greedy()
    assert replayed == ["step", "step", "constants", "step", "constants", "step"]
