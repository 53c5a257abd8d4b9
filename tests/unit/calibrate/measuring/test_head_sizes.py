"""Attention whose time goes by the head size rounded up to 16, and its products of a made-up GPU."""

from __future__ import annotations

import pytest

from shapewright.calibrate.measuring.head_sizes import SCORES, VALUES, head_lines, head_points
from shapewright.measure.points import AttentionPoint, GemmPoint, MemoryPoint
from unit.calibrate.measuring.made_runs import attention_row, gemm_row, row_of


def attention(head_dim: int, backend: str = "flash", *, is_backward: bool = False) -> AttentionPoint:
    common = {"batch": 4, "num_heads": 32, "num_kv_heads": 32, "query_len": 2048, "kv_len": 2048}
    return AttentionPoint(**common, head_dim=head_dim, backend=backend, is_backward=is_backward)  # type: ignore[arg-type]


def test_a_head_size_is_compared_with_the_line_between_sizes_that_fit() -> None:
    points = head_points(attention_row(attention(size)) for size in (64, 72, 80, 100, 128))
    assert [point.head_dim for point in points] == [64, 72, 80, 100, 128]
    assert [point.relative for point in points] == pytest.approx([1, 80 / 72, 1, 112 / 100, 1])


def test_small_head_sizes_are_compared_with_the_least_that_fits() -> None:
    small, _, _ = head_points(attention_row(attention(size)) for size in (8, 64, 128))
    assert small.relative == pytest.approx(16 / 64)


def test_passes_stand_in_one_order_and_other_kinds_aside() -> None:
    rows = [row_of(MemoryPoint(op="add", rows=8, width=8), 1.0)]
    rows += [attention_row(attention(64, backend, is_backward=back)) for backend in ("cudnn", "flash", "unfused") for back in (True, False)]
    names = [point.pass_name for point in head_points(rows)]
    assert names == ["unfused", "unfused backward", "flash", "flash backward", "cudnn"]


def test_products_are_told_apart_by_layout_and_gathered_by_alignment() -> None:
    scores = [GemmPoint(batch=128, m=2048, n=2048, k=size, call="bmm", layout="NT") for size in range(64, 97)]
    values = [GemmPoint(batch=128, m=2048, n=size, k=2048, call="bmm", layout="NN") for size in range(64, 97)]
    lines = head_lines(head_points(gemm_row(point) for point in (*scores, *values)))
    assert [(line.pass_name, line.alignment) for line in lines] == [(name, a) for name in (SCORES, VALUES) for a in (1, 2, 4, 8, 16)]
    assert [line.relative for line in lines] == pytest.approx([4, 2, 2, 1, 1] * 2)
    assert [line.num_points for line in lines] == [16, 8, 4, 2, 3] * 2


def test_a_pass_without_a_size_that_fits_is_left_out() -> None:
    assert head_points([attention_row(attention(72))]) == []
