"""The linter's noise: what ships makes sense, is found by GPU and kind, and holds what was measured.

Measured: h200/local.csv, short sweeps of an H200 that nothing was fitted to, beside the repository in ../shared/data (skipped where it is
not).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate import neighbours
from shapewright.calibrate.neighbours import Pairs
from shapewright.calibrate.products import Products, predicted, read_products
from shapewright.calibrate.table import read_table
from shapewright.errors import InputError
from shapewright.hardware.gpu import Gpu
from shapewright.hardware.load import load_gpu
from shapewright.lint.noise import FILE, PAIR_KINDS, PairKind, is_near_change, load_noise, noise_from_toml, ratio_noise

SWEEPS = Path(__file__).parents[4] / "shared/data/h200/local.csv"
needs_sweeps = pytest.mark.skipif(not SWEEPS.is_file(), reason="measured sweeps are not beside the repository (../shared/data)")
#: 80 % of the pairs lie between the 10th and the 90th percentile; a band round 0 holds at least about that.
LEAST_INSIDE = 0.72


@pytest.fixture(scope="module")
def h200() -> Gpu:
    return load_gpu("h200")


def test_every_gpu_of_the_file_is_in_the_catalogue() -> None:
    assert [load_gpu(name).name for name in load_noise().gpus] == list(load_noise().gpus)


@pytest.mark.parametrize("kind", PAIR_KINDS)
@pytest.mark.parametrize("gpu", ["h200", "h100", "a100-40gb", "v100-16gb", "mi250x", "rtx-4090", "mi355x"])
def test_every_kind_has_a_noise_on_every_gpu(gpu: str, kind: PairKind) -> None:
    device = load_gpu(gpu)
    near, far = ratio_noise(kind, device), ratio_noise(kind, device, is_near=False)
    # Two measurements of one product agree within 2.4 % at the 90th percentile; half the time is no price any more.
    assert 0.024 <= near <= far < 0.5


def test_a_measured_gpu_is_known_better_than_a_datasheet() -> None:
    measured = ratio_noise("gemm_same_class", load_gpu("h200"))
    assert measured == load_noise().gpus["h200"]["gemm_same_class"].near
    assert measured < ratio_noise("gemm_same_class", load_gpu("rtx-4090"))
    assert measured < ratio_noise("gemm_same_class", load_gpu("h200"), "datasheet")


def test_a_kind_without_rows_is_as_on_gpus_without_rows() -> None:
    """All published products of an H100 are aligned."""
    assert "gemm_across_classes" not in load_noise().gpus["h100"]
    assert ratio_noise("gemm_across_classes", load_gpu("h100")) == load_noise().unmeasured["nvidia"]["gemm_across_classes"].near


def test_a_datasheet_estimate_is_no_better_known_than_the_gpus_own_pairs() -> None:
    for name, table in load_noise().gpus.items():
        for kind in table:
            assert ratio_noise(kind, load_gpu(name), "datasheet", is_near=False) >= ratio_noise(kind, load_gpu(name), is_near=False)


def test_an_unknown_kind_is_refused_with_the_nearest(h200: Gpu) -> None:
    with pytest.raises(InputError, match="gemm_same_clas") as refused:
        ratio_noise("gemm_same_clas", h200)  # type: ignore[arg-type]
    assert "gemm_same_class" in str(refused.value)


@pytest.mark.parametrize(("before", "after", "near"), [(50257, 50304, True), (50304, 50257, True), (32, 20, False), (100, 106, True)])
def test_near_means_a_few_percent_either_way(before: float, after: float, near: bool) -> None:
    assert is_near_change(before, after) is near


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[unmeasured.amd]", "[unmeasured.intel]"),
        ("gemm_same_class", "gemm_same"),
        ("near = 0.", "near = 7."),
        ("near = 0.", "near = -0."),
    ],
)
def test_a_file_that_makes_no_sense_is_not_taken(old: str, new: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        noise_from_toml(FILE.read_text(encoding="utf-8").replace(old, new))


@pytest.fixture(scope="module")
def sweeps(h200: Gpu) -> Products:
    return read_products(read_table(SWEEPS), h200)


@needs_sweeps
@pytest.mark.parametrize("change", [(1.0, 1.06), (1.06, 2.0)], ids=["near", "far"])
@pytest.mark.parametrize("kind", ["gemm_same_class", "gemm_across_classes"])
def test_the_band_holds_measured_neighbours(kind: PairKind, change: tuple[float, float], sweeps: Products, h200: Gpu) -> None:
    predicted_s = predicted(sweeps, h200).time_s
    rank = neighbours.misalignment(sweeps, h200)
    pairs: Pairs = {"gemm_same_class": neighbours.same_class, "gemm_across_classes": neighbours.across_classes}[kind](
        neighbours.product_pairs(sweeps, change), rank
    )
    half_width = ratio_noise(kind, h200, is_near=change[0] == 1.0)
    errors = np.abs(pairs.errors(sweeps.time_s, predicted_s))
    assert len(pairs) > 1000
    for layout in ("NT", "NN", "TN"):
        own = errors[sweeps.layout[pairs.first] == layout]
        if len(own) >= 100:  # few runs of TN are misaligned
            assert (own <= half_width).mean() >= LEAST_INSIDE, (layout, len(own))
    # A band that held everything would silence what is true.
    assert (errors <= half_width).mean() <= 0.95
