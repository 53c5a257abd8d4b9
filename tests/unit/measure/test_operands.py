"""Random operands: distribution, alignment, distinct copies, and what the pool cannot hold."""

from __future__ import annotations

import pytest

from shapewright.measure import operands as module
from shapewright.measure.operands import ALIGNMENT_BYTES, Operands, rounded, torch_dtype
from unit.measure.benches import CPU, SHORT


@pytest.fixture
def operands(monkeypatch: pytest.MonkeyPatch) -> Operands:
    """With a pool of 64 KiB."""
    monkeypatch.setattr(module, "CPU_POOL_BYTES", 2**16)
    return Operands(CPU, SHORT)


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16", "fp8"])
def test_numbers_are_normal_and_aligned(operands: Operands, dtype: str) -> None:
    one, other = operands.take([1001, 333], dtype, 0)
    assert (one.dtype, other.dtype) == (torch_dtype(dtype),) * 2
    assert (len(one), len(other)) == (1001, 333)
    assert (other.data_ptr() - one.data_ptr()) % ALIGNMENT_BYTES == 0
    values = one.float()
    assert abs(values.mean()) < 0.2
    assert 0.8 < values.std() < 1.2


def test_copies_do_not_overlap(operands: Operands) -> None:
    found = [each for copy in range(3) for each in operands.take([100, 50], "bf16", copy)]
    for tensor in found:
        tensor.fill_(0)
    for number, tensor in enumerate(found):
        tensor.fill_(number + 1)
    assert [tensor.unique().tolist() for tensor in found] == [[number + 1] for number in range(6)]


def test_copies_exceed_twice_the_cache(operands: Operands) -> None:
    assert operands.copies([2048], "bf16", element_bytes=2) == 2  # 4 KiB each, cache 4 KiB
    assert operands.copies([2047], "bf16", element_bytes=2) == 2
    assert operands.copies([1], "bf16", element_bytes=2) == SHORT.max_copies
    assert operands.copies([2**20], "bf16", element_bytes=2) == 1


def test_a_set_larger_than_the_pool_is_drawn_anew(operands: Operands) -> None:
    assert operands.copies([2**16], "bf16", element_bytes=2) == 1
    found = operands.take([2**16], "bf16", 0)[0]
    assert len(found) == 2**16
    assert found.data_ptr() != operands.take([2**16], "bf16", 0)[0].data_ptr()


def test_every_copy_that_is_offered_fits_the_pool(operands: Operands) -> None:
    for size in (1, 127, 128, 129, 5000, 32768):
        count = operands.copies([size, size], "bf16", element_bytes=2)
        assert [len(each) for each in operands.take([size, size], "bf16", count - 1)] == [size, size]


def test_tf32_shares_the_numbers_of_fp32(operands: Operands) -> None:
    assert operands.take([8], "tf32", 0)[0].data_ptr() == operands.take([8], "fp32", 0)[0].data_ptr()


def test_rounded() -> None:
    assert [rounded(size, 2) for size in (1, 128, 129)] == [128, 128, 256]
