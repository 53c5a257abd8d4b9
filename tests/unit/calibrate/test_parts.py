"""Memory-bound kernels and attention of a made-up card are found again from its rows; too few rows change nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from shapewright.calibrate.parts import fit_parts, is_sure
from shapewright.calibrate.sampling import calibration_points, reach_of
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Profile, profile_from_json
from shapewright.measure.operators import works_of
from shapewright.measure.points import AttentionPoint, MemoryPoint, settings_of
from shapewright.operators.types import FlashAttention, MemoryChain, MemoryPass
from shapewright.predict.attention import estimate_attention
from shapewright.predict.memory_bound import estimate_memory
from shapewright.predict.profiles import FOLDER, FOLDER_VARIABLE, load_profile

H200 = load_gpu("h200")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    return load_profile(H200)


def rows_of(profile: Profile, count: int) -> list[dict[str, object]]:
    """What a card that answers as `profile` would leave behind, with 1 % of noise."""
    random, rows = np.random.default_rng(0), []
    for point in calibration_points(reach_of(H200), 0, count):
        if not isinstance(point, MemoryPoint | AttentionPoint):
            continue
        time_s = 0.0
        for work in works_of(point):
            if isinstance(work, FlashAttention):
                time_s += estimate_attention(work, H200, profile, is_replayed=False).time_s
            elif isinstance(work, MemoryPass | MemoryChain):
                time_s += estimate_memory(work, H200, profile).time_s
        rows.append({**settings_of(point), "status": "ok", "time_s": time_s * float(np.exp(0.01 * random.standard_normal()))})
    return rows


def test_another_card_is_found_again(shipped: Profile) -> None:
    slower = {name: replace(rate, bandwidth_share=0.5, fixed_s=4e-6) for name, rate in shipped.memory.items()}
    kernels = tuple(
        replace(kernel, efficiency=kernel.efficiency / 2) if kernel.use == "backward" else kernel for kernel in shipped.attention.kernels
    )
    truth = replace(shipped, memory=slower, attention=replace(shipped.attention, kernels=kernels))
    parts = fit_parts(rows_of(truth, 9000), H200, shipped)
    fits = {each.name: each for each in parts.fits}
    for name in ("memory: elementwise", "memory: copy", "attention: backward 64", "attention: backward 128"):
        each = fits[name]
        assert each.is_adopted and each.before_percent is not None and each.after_percent is not None
        assert each.before_percent > 15 and each.after_percent < 5
    json.dumps([asdict(each) for each in parts.fits])
    rate = parts.document["memory"]["elementwise"]
    assert rate["is_measured"] and rate["num_rows"] > 0
    assert rate["bandwidth_share"] == pytest.approx(0.5, rel=0.05) and rate["fixed_s"] == pytest.approx(4e-6, rel=0.1)
    data = {**json.loads((FOLDER / "h200.cuda13.json").read_text()), **parts.document}
    assert profile_from_json(data).memory["copy"].is_measured


def test_few_rows_and_right_constants_change_nothing(shipped: Profile) -> None:
    assert fit_parts(rows_of(shipped, 450), H200, shipped).document == {}
    kept = fit_parts(rows_of(shipped, 3000), H200, shipped)
    assert not any(each.is_adopted for each in kept.fits if each.name.startswith("memory"))


def test_failed_rows_are_left_out_and_the_host_is_told(shipped: Profile) -> None:
    rows = [{**row, "status": "failed", "error": "x"} for row in rows_of(shipped, 450)]
    host = {"kind": "host", "what": "launch", "status": "ok", "time_s": 3e-6}
    parts = fit_parts([*rows, host], H200, shipped)
    assert (parts.document, parts.fits, parts.host_s) == ({}, (), {"launch": 3e-6})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((20.0, 22.0, 18.0, 21.0, 19.0, 20.0), (5.0, 6.0, 5.0, 4.0, 6.0, 5.0), True),
        # Less on the mean, by one row alone.
        ((90.0, 5.0, 5.0, 5.0, 5.0, 5.0), (5.0, 6.0, 6.0, 6.0, 6.0, 6.0), False),
        ((5.0, 5.0), (6.0, 7.0), False),
    ],
)
def test_a_gain_must_exceed_its_scatter(before: tuple[float, ...], after: tuple[float, ...], expected: bool) -> None:
    # A truth value of numpy would be no JSON.
    assert is_sure(np.array(before), np.array(after), np.ones(len(before), bool)) is expected
