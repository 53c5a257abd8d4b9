"""Two runs of the same points: joined by their settings, the last good row of each, changes in percent."""

from __future__ import annotations

import pytest

from shapewright.measure.points import GemmPoint, HostPoint, settings_of
from shapewright.measure.repeats import compare_runs


def row(n: int, time_s: float, **more: object) -> dict[str, object]:
    return {**settings_of(GemmPoint(m=8, n=n, k=8)), "status": "ok", "time_s": time_s, **more}


def test_points_are_joined_by_their_settings() -> None:
    first = [row(1, 1.0), row(2, 1.0), row(3, 1.0), row(4, 5.0), row(5, 1.0, status="failed")]
    second = [row(4, 4.0), row(3, 1.1), row(2, 0.98), row(6, 1.0), {**settings_of(HostPoint(what="launch")), "status": "ok", "time_s": 1.0}]
    found = compare_runs(first, second)
    assert [(pair.first["n"], round(pair.ratio, 3)) for pair in found.pairs] == [(4, 0.8), (3, 1.1), (2, 0.98)]
    assert (found.num_only_first, found.num_only_second, found.num_unusable) == (1, 2, 1)
    spread = found.kinds["gemm"]
    assert (spread.num_points, spread.median_percent, spread.worst_percent) == (3, pytest.approx(10), pytest.approx(20))
    assert spread.p90_percent == pytest.approx(18) and spread.bias_percent == pytest.approx(-2)
    assert found.pairs[0].change_percent == pytest.approx(-20)


def test_the_last_good_row_counts_and_defaults_do_not_matter() -> None:
    bare = {key: value for key, value in row(1, 2.0).items() if key in ("kind", "m", "n", "k", "status", "time_s")}
    found = compare_runs([row(1, 9.0), row(1, 1.0), row(1, 3.0, status="timed_out")], [bare])
    assert [pair.ratio for pair in found.pairs] == [2.0]


def test_rows_that_make_no_sense_are_counted() -> None:
    odd = [{"kind": "bogus", "status": "ok", "time_s": 1.0}, row(1, 0.0), row(1, True), {"status": "ok"}]
    found = compare_runs(odd, [row(1, 1.0)])
    assert found.pairs == () and found.kinds == {} and found.num_unusable == 4
