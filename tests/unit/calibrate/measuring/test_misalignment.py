"""The map of a made-up GPU: leading dimensions that are no multiple of 8 cost 2 times, odd ones 4 times."""

from __future__ import annotations

import pytest

from shapewright.calibrate.measuring.misalignment import alignment_of, map_lines, misalignment_map, needs, pair_lines
from shapewright.measure.points import GemmPoint
from unit.calibrate.measuring.made_runs import LEADING, NVJET, gemm_row, row_of

BASE = {"m": 1024, "n": 2048, "k": 4096}
LAYOUTS = ("NT", "NN", "TN")


def sweep(dimension: str, layout: str, dtype: str = "bf16", step: int = 1) -> list[GemmPoint]:
    sizes = range(BASE[dimension] - 64 * step, BASE[dimension] + 1, step)
    return [GemmPoint(**(BASE | {dimension: size}), layout=layout, dtype=dtype) for size in sizes]  # type: ignore[arg-type]


ROWS = [gemm_row(point) for layout in LAYOUTS for dimension in "mnk" for point in sweep(dimension, layout)]


@pytest.mark.parametrize(("size", "expected"), [(4033, 1), (4034, 2), (4036, 4), (4040, 8), (4048, 16), (4064, 32), (4096, 64), (64, 64)])
def test_alignment_is_the_power_of_two(size: int, expected: int) -> None:
    assert alignment_of(size) == expected


def test_every_product_of_every_sweep_is_on_the_map() -> None:
    points = misalignment_map(ROWS)
    assert len(points) == 9 * 65
    assert {point.sweep for point in points} == {"1024 x 2048 x 4096"}
    assert [point.k for point in points if (point.layout, point.dimension) == ("NT", "k")] == list(range(4032, 4097))
    assert {point.residue for point in points} == set(range(64))


def test_ratios_are_those_that_the_rows_were_made_with() -> None:
    for line in map_lines(misalignment_map(ROWS)):
        slow = {1: 4.0, 2: 2.0, 4: 2.0}.get(line.alignment, 1.0) if line.dimension in LEADING[line.layout] else 1.0
        assert (line.relative, line.low, line.high) == pytest.approx((slow, slow, slow))
        assert line.padded == pytest.approx(slow, rel=0.07)
        assert ("sm75" in line.kernels) == (slow == 4) and ("sm80" in line.kernels) == (slow == 2)


def test_needed_alignments_by_layout() -> None:
    found = {(each.layout, each.dimension): (each.alignment, each.worst) for each in needs(map_lines(misalignment_map(ROWS)))}
    for layout in LAYOUTS:
        for dimension in "mnk":
            expected = (8, pytest.approx(4.0)) if dimension in LEADING[layout] else (1, 1.0)
            assert found[layout, dimension] == expected


def test_padded_compares_with_the_next_multiple() -> None:
    """A size 32 above the lower end is nearer to neither end: time a FLOP goes by the upper one, as `padded` does."""
    rows = [row_of(point, 1.0) for point in sweep("m", "NT")]
    (point,) = [each for each in misalignment_map(rows) if each.m == 992]
    assert point.padded == 1.0 and point.relative == pytest.approx(1024 / 992)


def test_a_sweep_without_an_end_above_has_no_padded_time() -> None:
    points = misalignment_map(gemm_row(point) for point in sweep("m", "NT")[:40])
    assert all((point.padded is None) == (point.m > 960) for point in points)


def test_fp8_goes_in_steps_of_16() -> None:
    points = misalignment_map(gemm_row(point) for point in sweep("k", "NT", "fp8", 16))
    assert {point.alignment for point in points} == {16, 32, 64} and len(points) == 65
    (need,) = needs(map_lines(points))
    assert (need.dtype, need.alignment, need.worst) == ("fp8", 16, 1.0)


def test_other_products_are_no_sweep() -> None:
    """Few sizes, other dimensions off, compiled ones, batches: none is on the map."""
    few = [gemm_row(GemmPoint(m=m, n=2048, k=2048)) for m in range(1000, 1010)]
    off = [gemm_row(GemmPoint(m=m, n=2047, k=2048)) for m in range(960, 1025)]
    compiled = [gemm_row(GemmPoint(m=m, n=2048, k=2048, runtime="compiled")) for m in range(960, 1025)]
    batched = [gemm_row(GemmPoint(m=m, n=2048, k=2048, batch=2, call="bmm")) for m in range(960, 1025)]
    assert misalignment_map([*few, *off, *compiled, *batched]) == []


def test_two_dimensions_off_are_compared_with_the_worse_one() -> None:
    """NN cares for n and k: both odd cost no more than one odd; here twice as much is made of it."""
    sizes = (2047, 2048)
    points = [GemmPoint(m=1024, n=n, k=k, layout="NN") for n in sizes for k in sizes]
    rows = [gemm_row(point, factor=2.0 if point.n % 2 and point.k % 2 else 1.0) for point in points]
    (line,) = pair_lines(rows)
    assert (line.dimensions, line.num_points, line.dtype, line.layout) == ("n and k", 1, "bf16", "NN")
    assert line.ratio == pytest.approx(2.0)
    assert pair_lines(rows[:-1]) != [] and pair_lines([row for row in rows if row["k"] == 2047]) == []


def test_a_kernel_that_is_not_known_leaves_a_line_without_one() -> None:
    rows = [gemm_row(point) | {"kernel": ""} for point in sweep("m", "NT")]
    assert {line.kernels for line in map_lines(misalignment_map(rows))} == {""}
    assert NVJET.startswith("nvjet")
