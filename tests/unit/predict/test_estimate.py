"""An estimate's parts add up, or it cannot be made."""

from __future__ import annotations

import pytest

from shapewright.predict.estimate import Estimate, TimePart


def estimate(*parts: float, time_s: float) -> Estimate:
    return Estimate(
        time_s=time_s, low_s=time_s, high_s=time_s, limit_s=time_s / 4, bound_by="compute", provenance="datasheet",
        parts=tuple(TimePart(name=str(i), time_s=part, reason="") for i, part in enumerate(parts)), reasons=("aligned",),
    )  # fmt: skip


def test_parts_must_add_up() -> None:
    assert estimate(3.0, -1.0, time_s=2.0).time_s == 2.0
    with pytest.raises(AssertionError):
        estimate(3.0, 1.0, time_s=2.0)


def test_speed_of_light_is_the_share_of_the_roofline() -> None:
    assert estimate(2.0, time_s=2.0).speed_of_light == 0.25


def test_reasons_are_added_at_the_end_and_empty_ones_left_out() -> None:
    first = estimate(2.0, time_s=2.0)
    assert first.with_reasons("", "split-K 4").reasons == ("aligned", "split-K 4")
    assert first.reasons == ("aligned",)
