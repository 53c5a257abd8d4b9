"""The line of progress: what it says, how wide it is, how often it comes."""

from __future__ import annotations

import io

import pytest

from shapewright.measure import progress
from shapewright.measure.progress import Progress, ProgressLine, duration_text, progress_text, rate_text


def at(done: int, **changes: float | int | None) -> Progress:
    values = {"skipped": 0, "failed": 0, "total": 2000, "rate_per_s": 0.0, "eta_s": None}
    return Progress(done=done, **{**values, **changes})  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_the_line_says() -> None:
    assert progress_text(at(0)) == "0/2000 points"
    full = at(312, skipped=100, failed=3, rate_per_s=52.4, eta_s=30.5)
    assert progress_text(full) == "412/2000 points, 3 failed, 100 there already, 52/s, 30 s to go"
    huge = at(10**12, skipped=10**12, failed=10**12, total=10**13, rate_per_s=1e9, eta_s=1e12)
    assert len(progress_text(huge)) <= 79


def test_durations_and_rates() -> None:
    assert [duration_text(each) for each in (3.2, 89, 90, 3600, 12_000)] == ["3 s", "89 s", "2 min", "60 min", "3 h 20 min"]
    assert [rate_text(each) for each in (52.4, 3.21, 0.05)] == ["52/s", "3.2/s", "3.0/min"]


def test_a_terminal_has_one_line_that_is_rewritten_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.1, 100.3])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    target = Terminal()
    line = ProgressLine(target)
    for done in (1000, 1001, 5):
        line.show(at(done))
    assert target.getvalue() == "\r1000/2000 points\r5/2000 points   "
    line.close("done")
    assert target.getvalue().endswith("\r" + " " * 13 + "\rdone\n")


def test_a_log_gets_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 110.0, 115.0, 120.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    target = io.StringIO()
    line = ProgressLine(target)
    for done in (0, 1, 2, 3):
        line.show(at(done))
    line.close()
    assert target.getvalue() == "1/2000 points\n3/2000 points\n"
