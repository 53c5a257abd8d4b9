"""The greedy choice and the step's bookkeeping, in the interpreter, against torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shapewright.decode.step import Step
from unit.decode.kernels.plain import drawn
from unit.decode.kernels.small import attention_of, decoder_of, step_of


def chosen(logits: Tensor, *, length: int = 3, first: int = 1, positions: list[int] | None = None) -> Step:
    """A step that has chosen from `logits` `[batch, vocab]`."""
    batch, vocab = logits.shape
    step = step_of(decoder_of(attention_of(dtype=logits.dtype), vocab_size=vocab), batch, 4)
    step.logits.copy_(logits)
    step.buffers.length.fill_(length)
    step.buffers.first.fill_(first)
    step.buffers.tokens.fill_(-1)
    step.buffers.generated.fill_(-1)
    step.buffers.positions.copy_(torch.tensor(positions or [0] * batch))
    step.choose()
    return step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("vocab", [1, 2, 17, 1023, 1024, 1025, 2051, 17000])
def test_the_largest(vocab: int, dtype: torch.dtype) -> None:
    logits = drawn(2, vocab, seed=5, dtype=dtype)
    assert torch.equal(chosen(logits).buffers.tokens, logits.argmax(-1))


@pytest.mark.parametrize("place", [0, 1023, 1024, 16383, 16384, 16999])
def test_every_block_is_looked_at(place: int) -> None:
    logits = torch.full((1, 17000), -3.0)
    logits[0, place] = -2.0
    assert chosen(logits).buffers.tokens.tolist() == [place]


@pytest.mark.parametrize("places", [(0, 1), (5, 1029), (1023, 1024), (40, 16400), (2048, 16999)])
def test_of_equal_ones_the_first(places: tuple[int, int]) -> None:
    logits = torch.zeros(1, 17000)
    logits[0, list(places)] = 2.0
    assert chosen(logits).buffers.tokens.tolist() == [places[0]]


def test_all_equal() -> None:
    assert chosen(torch.full((2, 3000), 0.25)).buffers.tokens.tolist() == [0, 0]


@pytest.mark.parametrize("vocab", [1, 7, 2051])
def test_nothing_but_minus_infinity(vocab: int) -> None:
    assert chosen(torch.full((2, vocab), float("-inf"))).buffers.tokens.tolist() == [0, 0]


def test_minus_infinity_everywhere_but_once() -> None:
    logits = torch.full((1, 2051), float("-inf"))
    logits[0, 1500] = -1e30
    assert chosen(logits).buffers.tokens.tolist() == [1500]


@pytest.mark.parametrize(
    "values",
    [{7: "nan"}, {7: "nan", 1030: "nan"}, {1030: "nan", 2: "1e9"}, {3: "nan", 1030: "inf"}, {3: "inf", 1030: "nan"}, {3: "inf", 5: "-nan"}],
)
def test_nan_is_the_largest_as_in_torch(values: dict[int, str]) -> None:
    logits = drawn(1, 2051, seed=6)
    for place, value in values.items():
        logits[0, place] = float(value)
    assert torch.equal(chosen(logits).buffers.tokens, logits.argmax(-1))


@pytest.mark.parametrize("values", [(-0.0, 0.0), (0.0, -0.0)])
def test_both_zeros_are_one(values: tuple[float, float]) -> None:
    logits = torch.full((1, 2051), -1.0)
    logits[0, 7], logits[0, 1040] = values
    assert chosen(logits).buffers.tokens.tolist() == [7]


def test_negative_ones_and_the_smallest() -> None:
    for pair in ((-1e-40, -1e-38), (-3.4e38, float("-inf")), (1e-45, 0.0), (-2.0, -2.0000002)):
        logits = torch.full((1, 40), float("-inf"))
        logits[0, 9], logits[0, 4] = pair
        assert chosen(logits).buffers.tokens.tolist() == [9]


def test_infinity() -> None:
    logits = drawn(1, 40, seed=6)
    logits[0, 33] = float("inf")
    assert chosen(logits).buffers.tokens.tolist() == [33]


def test_the_state_moves_on() -> None:
    logits = drawn(3, 11, seed=7)
    buffers = chosen(logits, length=3, first=1, positions=[3, 0, 2]).buffers
    assert buffers.positions.tolist() == [4, 1, 3]
    assert buffers.length.tolist() == [4]
    assert buffers.first.tolist() == [1]
    assert torch.equal(buffers.generated[2], logits.argmax(-1))
    assert (buffers.generated[[0, 1, 3]] == -1).all()


@pytest.mark.parametrize(("length", "first"), [(4, 0), (9, 2), (0, 1)])
def test_no_token_is_written_outside_of_generated(length: int, first: int) -> None:
    buffers = chosen(drawn(2, 11, seed=7), length=length, first=first).buffers
    assert (buffers.generated == -1).all()
    assert (buffers.tokens >= 0).all()


def test_counters_end_at_zero() -> None:
    step = chosen(drawn(3, 40, seed=8))
    assert not step.argmax_counters.any()
    step.choose()
    assert step.buffers.length.tolist() == [5]
    assert step.buffers.generated[3].tolist() == step.buffers.tokens.tolist()
