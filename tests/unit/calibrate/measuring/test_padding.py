"""A made-up compiler that pads odd sizes and leaves the others."""

from __future__ import annotations

import pytest

from shapewright.calibrate.measuring.padding import padded_lines, padded_points
from shapewright.measure.points import GemmPoint
from unit.calibrate.measuring.made_runs import compiled_row, gemm_row


def rows(*points: GemmPoint) -> list[dict[str, object]]:
    from dataclasses import replace

    return [row for point in points for row in (gemm_row(point), compiled_row(replace(point, runtime="compiled")))]


def test_padding_is_told_by_the_kernels() -> None:
    odd, even = padded_points(rows(GemmPoint(m=64, n=64, k=4033), GemmPoint(m=64, n=64, k=4034)))
    assert (odd.is_padded, even.is_padded) == (True, False)
    assert odd.ratio == pytest.approx(1.1 / 4) and even.ratio == 1.0
    assert odd.added_kernels == "triton_poi_fused_constant_pad_nd_0"
    assert (odd.eager_kernel, odd.compiled_kernel) == ("cutlass sm75 align1", "nvjet sm90")
    assert (odd.dimensions, odd.alignment) == ("k", 1)


def test_a_product_in_one_runtime_alone_is_left_aside() -> None:
    assert padded_points([gemm_row(GemmPoint(m=64, n=64, k=4033))]) == []


def test_lines_gather_one_misaligned_dimension() -> None:
    points = padded_points(
        rows(*(GemmPoint(m=64, n=64, k=k) for k in (4033, 4035, 4034)), GemmPoint(m=63, n=64, k=63), GemmPoint(m=64, n=64, k=64))
    )
    odd, even = padded_lines(points)
    assert (odd.alignment, odd.num_points, odd.num_padded, odd.padded_ratio) == (1, 2, 2, pytest.approx(1.1 / 4))
    assert (even.alignment, even.num_points, even.num_padded, even.padded_ratio) == (2, 1, 0, None)
    assert (odd.eager_kernels, odd.compiled_kernels) == ("cutlass sm75 align1", "nvjet sm90")
