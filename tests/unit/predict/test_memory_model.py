"""Arithmetic of memory-bound kernels: bytes, rows, lines, rereading and the L2."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapewright.hardware.profile import MemoryRate
from shapewright.predict.memory_model import Engine, moving_s

ENGINE = Engine(num_sms=100, clock_hz=1.5e9, bytes_per_s=2e12, l2_bytes=4e7, warm_bytes=0.0)
PLAIN = MemoryRate(bandwidth_share=0.8, bytes_per_clock=1000.0, fixed_s=2e-6, is_measured=True)
ROWS = replace(PLAIN, row_s=2e-6, rows_per_sm=2.0, bytes_per_clock=20.0, sharpness=8.0)


def seconds(size: float, rate: MemoryRate = PLAIN, rows: float = 0.0, engine: Engine = ENGINE) -> float:
    return float(moving_s(np.array([size]), np.array([rows]), rate, engine)[0])


def test_a_stream_takes_its_bytes_over_its_share() -> None:
    assert seconds(1.6e9) == pytest.approx(1e-3)
    assert seconds(0) == 0


def test_sms_may_be_slower_than_dram() -> None:
    """10 bytes a clock on 100 SMs at 1.5 GHz are 1.5 TB/s."""
    assert seconds(1.5e9, replace(PLAIN, bytes_per_clock=10.0)) == pytest.approx(1e-3, rel=0.01)


def test_few_rows_take_a_row_and_many_take_waves() -> None:
    """A block walks a row of 6,000 bytes in 2 us and 0.4 us; 200 rows run at once."""
    one, all_sms, waves = (seconds(6000.0 * rows, ROWS, rows) for rows in (1, 200, 2000))
    assert one == pytest.approx(2.4e-6, rel=0.01)
    assert all_sms == pytest.approx(one, rel=0.02)
    assert waves == pytest.approx(10 * one, rel=0.02)


def test_narrow_rows_share_blocks() -> None:
    narrow = replace(ROWS, narrow_row_bytes=8192.0)
    assert seconds(4096, narrow, 1) < 1e-8 < seconds(10000, narrow, 1)


def test_rows_off_the_lines_lose_bandwidth() -> None:
    rate = replace(PLAIN, unaligned=0.8)
    assert seconds(1e5 * 1000, rate, 1e5) == pytest.approx(seconds(1e5 * 1000, PLAIN, 1e5) / 0.8)
    assert seconds(1e5 * 1024, rate, 1e5) == seconds(1e5 * 1024, PLAIN, 1e5)


def test_long_rows_are_read_again() -> None:
    """Rows of 4 MB on 100 SMs do not fit a cache of 40 MB; rows of 4 KB do."""
    rate = replace(PLAIN, reread=1.0)
    assert seconds(4e9, rate, 1000) == pytest.approx(2 * seconds(4e9, PLAIN, 1000), rel=0.01)
    assert seconds(4e9, rate, 1e6) == pytest.approx(seconds(4e9, PLAIN, 1e6), rel=0.01)


def test_replayed_operands_come_from_the_l2_but_never_beat_dram() -> None:
    warm = replace(ENGINE, warm_bytes=4e7)
    rate = replace(PLAIN, l2_share=1.5)
    assert seconds(4e6, rate, engine=warm) < seconds(4e6, rate)
    assert seconds(4e8, rate, engine=warm) == pytest.approx(seconds(4e8, rate), rel=0.01)
    for size in (1e4, 4e6, 1e7, 4e7, 1e9):
        assert seconds(size, rate, engine=warm) + rate.fixed_s >= size / ENGINE.bytes_per_s


@given(size=st.floats(1, 1e10), rows=st.integers(0, 10**6), factor=st.floats(1, 100))
def test_more_bytes_in_the_same_rows_take_longer(size: float, rows: int, factor: float) -> None:
    rate = replace(ROWS, reread=1.0)
    assert seconds(size * factor, rate, rows) >= seconds(size, rate, rows) * (1 - 1e-9)
    assert seconds(size, rate, rows) >= size / ENGINE.bytes_per_s
