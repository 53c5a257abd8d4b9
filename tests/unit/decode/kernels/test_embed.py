"""Embedding and positions, in the interpreter, against plain indexing."""

from __future__ import annotations

import pytest
import torch

from unit.decode.kernels.plain import drawn
from unit.decode.kernels.small import attention_of, decoder_of, step_of

DTYPES = [torch.float32, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden_size", [1, 6, 64, 1030])
def test_tokens(hidden_size: int, dtype: torch.dtype) -> None:
    """The first and the last row; a width of more than one block."""
    decoder = decoder_of(attention_of(hidden_size, dtype), vocab_size=11)
    step = step_of(decoder, 3, 4)
    step.buffers.tokens.copy_(torch.tensor([10, 0, 7]))
    step.residual.fill_(float("nan"))
    step.calls[0]()
    assert torch.equal(step.residual, decoder.embedding[[10, 0, 7]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 2])
def test_learned_positions(offset: int, dtype: torch.dtype) -> None:
    """Added in fp32 and rounded once."""
    table = drawn(9, 6, seed=40, dtype=dtype)
    decoder = decoder_of(attention_of(6, dtype), position_embedding=table, position_offset=offset)
    step = step_of(decoder, 3, 4)
    step.buffers.tokens.copy_(torch.tensor([5, 5, 1]))
    step.buffers.positions.copy_(torch.tensor([0, 3, 8 - offset]))
    step.residual.fill_(float("nan"))
    step.calls[0]()
    expected = decoder.embedding[[5, 5, 1]].double() + table[[offset, 3 + offset, 8]].double()
    assert torch.equal(step.residual, expected.to(dtype))
