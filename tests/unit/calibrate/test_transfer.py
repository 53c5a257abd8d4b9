"""Constants shared by GPUs: found again from rows that they made, left-out fits that see no row of the GPU left out, protocols."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from shapewright.calibrate import thin
from shapewright.calibrate.gemm import Rows
from shapewright.calibrate.transfer import (
    FAMILY_FACTORS,
    Sample,
    SharedFit,
    family,
    fit_from_json,
    fit_json,
    fit_pooled,
    fit_protocol,
    fit_thin,
    start_values,
)
from shapewright.hardware.load import load_gpu
from shapewright.predict.gemm import product_rates

CANDIDATES = (((128, 128), 0), ((128, 256), 0), ((64, 64), 1))


def sample(gpu: str, source: str = "replay", count: int = 120) -> Sample:
    """Products of random sizes, not timed yet."""
    found = load_gpu(gpu)
    random = np.random.default_rng(len(gpu))
    m, n, k = (64 * random.integers(1, 100, count) for _ in range(3))
    ones = np.ones(count, np.int64)
    rows = Rows(batch=ones, m=m, n=n, k=k, time_s=np.ones(count), groups=np.full(count, ""))
    return Sample(gpu=found, source=source, rates=product_rates(found, "fp16"), rows=rows)


def timed(each: Sample, fit: SharedFit) -> Sample:
    """The rows as `fit` times them."""
    return replace(each, rows=replace(each.rows, time_s=fit.predicted_s(each)))


def truth(samples: list[Sample], **changed: float) -> SharedFit:
    values = start_values(samples, {"events": 20e-6}) | changed
    return SharedFit(values=values, candidates=CANDIDATES, grain=64)


def test_families() -> None:
    assert [family(load_gpu(name)) for name in ("v100-16gb", "l4", "h100", "b200", "mi300x")] == [
        "cuda",
        "cuda",
        "hopper",
        "hopper",
        "rocm",
    ]


def test_a_family_factor_speeds_up_only_its_family() -> None:
    samples = [sample("a100-80gb"), sample("h100")]
    plain, lifted = truth(samples), truth(samples, **{"hopper:efficiency": 1.1})
    assert np.array_equal(plain.kernel_s(samples[0]), lifted.kernel_s(samples[0]))
    assert (plain.kernel_s(samples[1]) >= lifted.kernel_s(samples[1])).all()
    assert plain.kernel_s(samples[1]).sum() > lifted.kernel_s(samples[1]).sum()


def test_a_pooled_fit_predicts_a_gpu_that_it_has_not_seen() -> None:
    seen = [sample("a100-80gb"), sample("v100-16gb")]
    made = truth(seen, launch_s=4e-6, bandwidth_share=0.7, prologue_s=1e-6)
    fit = fit_pooled([timed(each, made) for each in seen], start_values(seen, {}), num_candidates=8, evaluations=6)
    unseen = sample("a100-40gb")
    error = np.abs(fit.kernel_s(unseen) / made.kernel_s(unseen) - 1)
    assert np.median(error) < 0.06


def test_a_left_out_fit_does_not_see_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rows of the GPU left out say, the constants of the others stay the same."""
    monkeypatch.setattr(thin, "fit_pooled", lambda samples, start, grain: [each.gpu.name for each in samples])
    samples = [sample("a100-80gb"), sample("h100"), sample("mi250x")]
    rest = [each for each in samples if each.gpu.name not in thin.LEFT_OUT["h100"]]
    assert thin.fit_shared(rest, "aligned", "nvidia") == ["a100-80gb"]
    assert thin.fit_shared(rest, "aligned", "amd") == ["a100-80gb", "mi250x"]


def test_both_a100_are_left_out_together() -> None:
    assert set(thin.LEFT_OUT["a100-80gb"]) == {"a100-80gb", "a100-40gb"}


def test_a_protocol_is_found_and_no_kernel_constant_moves() -> None:
    each = sample("v100-16gb", source="events")
    known = truth([each])
    read = replace(known, values=dict(known.values) | {"offset:events": 35e-6, "pace:events/v100-16gb": 1.2})
    start = {"offset:events": 20e-6, "pace:events/v100-16gb": 1.0}
    fit = fit_protocol([timed(each, read)], known, start)
    assert fit.values["offset:events"] == pytest.approx(35e-6, rel=0.1)
    assert fit.values["pace:events/v100-16gb"] == pytest.approx(1.2, rel=0.02)
    assert fit.menu(each.gpu) == known.menu(each.gpu)


def test_a_thin_fit_corrects_its_prior_a_little_at_a_time() -> None:
    each = sample("v100-16gb", count=30)
    prior = truth([each])
    slow = replace(prior, values=dict(prior.values) | {"bandwidth_share": 0.6})
    fit = fit_thin([timed(each, slow)], prior, {}, evaluations=8)
    before = np.abs(np.log(prior.kernel_s(each) / slow.kernel_s(each))).mean()
    after = np.abs(np.log(fit.kernel_s(each) / slow.kernel_s(each))).mean()
    assert after < 0.5 * before
    assert all(fit.values[f"cuda:{name}"] == prior.values[f"cuda:{name}"] for name in FAMILY_FACTORS["cuda"])


def test_a_share_that_a_family_factor_lowers_can_rise_again() -> None:
    """The bound of a share is 1 for what the GPU reaches, not for the constant that its family's factor multiplies."""
    each = sample("mi250x", count=60)
    prior = truth([each], bandwidth_share=0.9, **{"rocm:bandwidth_share": 0.3, "rocm:efficiency": 1.1, "rocm:cycles": 0.8})
    settled = prior.settled("rocm")
    assert np.allclose(settled.kernel_s(each), prior.kernel_s(each))
    assert not any(name.startswith("rocm:") for name in settled.values)
    quick = replace(settled, values=dict(settled.values) | {"bandwidth_share": 0.8})
    assert fit_thin([timed(each, quick)], prior, {}).values["bandwidth_share"] > 0.5


def test_a_source_adds_less_than_its_shortest_row() -> None:
    """One row that no kernel explains must not lengthen all others."""
    each = sample("mi250x", source="events", count=40)
    prior = truth([each])
    time_s = timed(each, prior).rows.time_s
    odd = replace(each, rows=replace(each.rows, time_s=np.append(time_s[:-1], 5 * time_s.max())))
    fit = fit_thin([odd], prior, {"offset:events": 20e-6}, evaluations=8)
    assert fit.values["offset:events"] <= odd.rows.time_s.min()


def test_a_fit_survives_json() -> None:
    each = sample("mi250x")
    fit = truth([each])
    again = fit_from_json(json.loads(json.dumps(fit_json(fit))))
    assert again.candidates == fit.candidates
    assert np.allclose(again.kernel_s(each), fit.kernel_s(each), rtol=1e-4)
