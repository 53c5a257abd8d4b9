"""A step behind graphs, where there are none (the CPU): which launches a length chooses, and that both compute the same."""

from __future__ import annotations

import torch

from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import SHORT, Table
from shapewright.decode.graphs import CapturedStep, make_step
from shapewright.decode.layers import Decoder
from shapewright.decode.step import Step
from unit.decode.kernels.plain import drawn, error_of
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


def test_few_slots_and_many_compute_the_same() -> None:
    """Three greedy steps each: the same tokens, logits and cache; `run` leaves the state alone."""
    results = []
    for length in (6, SHORT, None):
        decoder, buffers = ready()
        step = make_step(decoder, buffers, Table())
        step.run(length)
        assert buffers.length.tolist() == [6]
        for index in range(3):
            step.run_greedy(None if length is None else length + index)
        assert buffers.length.tolist() == [9]
        assert buffers.positions.tolist() == [9, 7]
        results.append((step.logits.clone(), buffers.cache.clone(), buffers.generated.clone()))
    for logits, cache, generated in results[1:]:
        assert error_of(logits, results[0][0]) < 1e-5
        assert error_of(cache, results[0][1]) < 1e-5
        assert torch.equal(generated, results[0][2])


def test_the_length_chooses() -> None:
    decoder, buffers = ready()
    asked: list[tuple[str, bool]] = []

    class Recorded(Step):
        def run(self, *, is_short: bool = False) -> None:
            asked.append(("run", is_short))

        def run_greedy(self, *, is_short: bool = False) -> None:
            asked.append(("greedy", is_short))

    step = make_step(decoder, buffers, Table())
    step.step.__class__ = Recorded
    for length in (0, SHORT - 1, SHORT, None):
        step.run_greedy(length)
        step.run(length)
    assert [is_short for kind, is_short in asked if kind == "greedy"] == [True, True, False, False]
    assert [is_short for kind, is_short in asked if kind == "run"] == [True, True, False, False]


def test_logits_are_one_tensor() -> None:
    decoder, buffers = ready()
    step = make_step(decoder, buffers, Table())
    logits = step.logits
    step.run_greedy(6)
    assert step.logits is logits
    assert isinstance(step, CapturedStep) and not step.graphs
