"""The correction of the tile model: its features, its bounds, where it ends, and that one product and many get the same answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Correction, KernelMenu, profile_from_json
from shapewright.operators.types import Gemm
from shapewright.predict.gemm import estimate_gemm, predict_gemm
from shapewright.predict.gemm_correction import MAX_WASTE, NUM_FEATURES, SIDES, correction, decode, encode, features, forward, range_weight
from shapewright.predict.gemm_model import Rates
from shapewright.predict.profiles import load_profile

H200 = load_gpu("h200")
RATES = Rates(num_sms=132, flops_per_s=1e15, bytes_per_s=4.8e12, size_bytes=2, output_bytes=2)
SIZES = st.integers(1, 70000)


def columns(*sizes: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.array(column, np.int64) for column in zip(*sizes, strict=True))  # type: ignore[return-value]


def constant(factor: float, bound: float = 1.0) -> Correction:
    """A network that answers ln(factor) to everything."""
    hidden = (np.zeros((2, NUM_FEATURES), np.float32), np.ones((2, 1), np.float32))
    return encode((hidden, (np.full((1, 2), np.log(factor) / 2, np.float32), np.zeros((1, 1), np.float32))), bound)


def menu(name: str = "aligned_nt", **changes: object) -> KernelMenu:
    return replace(load_profile(H200).menus[name], **changes)  # type: ignore[arg-type]


def log_factor(own: KernelMenu, sizes: tuple[int, int, int, int]) -> float:
    return float(correction(own, columns(sizes), np.zeros(1, int), np.array([1e-5], np.float32), RATES, is_fp16=False)[0])


@given(batch=st.integers(1, 300), m=SIZES, n=SIZES, k=SIZES, layout=st.integers(0, 2))
def test_features_are_finite_and_wastes_lie_between_one_and_the_limit(batch: int, m: int, n: int, k: int, layout: int) -> None:
    x = features(columns((batch, m, n, k)), np.array([layout]), np.array([1e-5], np.float32), RATES, is_fp16=True)
    wastes = x[6 + 12 + 4 :, 0]
    assert x.shape == (NUM_FEATURES, 1) and np.isfinite(x).all()
    assert (wastes >= 1 - 1e-6).all() and (wastes <= MAX_WASTE).all()


def test_a_whole_tile_wastes_nothing_and_one_more_row_does() -> None:
    full, over = (
        features(columns((1, m, 256, 64)), np.zeros(1, int), np.array([1e-5], np.float32), RATES, is_fp16=False)[22:, 0] for m in (192, 193)
    )
    at = SIDES.index(192)
    assert full[at] == 1 and over[at] == pytest.approx(384 / 193)


def test_weights_survive_being_kept_in_a_profile() -> None:
    random = np.random.default_rng(0)
    shapes = ((8, NUM_FEATURES), (4, 8), (1, 4))
    network = tuple((random.standard_normal(shape).astype("f4"), random.standard_normal((shape[0], 1)).astype("f4")) for shape in shapes)
    x = random.standard_normal((NUM_FEATURES, 50)).astype(np.float32)
    kept = decode(encode(network, 0.7))
    assert np.abs(forward(kept, x.copy()) - forward(network, x.copy())).max() < 0.01 * np.abs(forward(network, x.copy())).max() + 0.05


def test_a_factor_beyond_the_bound_is_held_at_it() -> None:
    own = menu(correction=constant(3.0, bound=0.5))
    assert log_factor(own, (1, 512, 512, 512)) == pytest.approx(0.5)
    assert log_factor(menu(correction=constant(1.2)), (1, 512, 512, 512)) == pytest.approx(np.log(1.2), abs=1e-3)


def test_nothing_is_left_of_the_correction_twice_beyond_the_fitted_range() -> None:
    own = menu(fit_range=((1, 1), (1, 1024), (64, 1024), (64, 1024), (1, 1e12)))
    inside, at_the_edge, beyond, far = range_weight(
        columns((1, 512, 512, 512), (1, 1024, 64, 64), (1, 1448, 512, 512), (1, 2049, 512, 512)), own
    )
    assert inside == 1 and at_the_edge == 1 and beyond == pytest.approx(0.5, abs=0.01) and far == 0


@settings(max_examples=60, deadline=None)
@given(m=SIZES, n=SIZES, k=st.integers(1, 40000), layout=st.sampled_from(["NT", "NN", "TN"]), dtype=st.sampled_from(["bf16", "fp16"]))
def test_one_product_and_the_same_among_many_get_the_same_answer(m: int, n: int, k: int, layout: str, dtype: str) -> None:
    many = predict_gemm(H200, m=[m, 64], n=[n, 64], k=[k, 64], layout=layout, dtype=dtype)
    one = estimate_gemm(Gemm(m=m, n=n, k=k, dtype=dtype, layout=layout), H200, load_profile(H200))  # type: ignore[arg-type]
    assert one.time_s == pytest.approx(many.time_s[0], rel=1e-4) and one.provenance == many.provenance[0]
    assert sum(part.time_s for part in one.parts) == pytest.approx(one.time_s, rel=1e-9)
    assert one.low_s <= one.time_s <= one.high_s and many.time_s[0] >= many.limit_s[0] * (1 - 1e-6)


def test_the_correction_is_a_part_with_its_reason() -> None:
    profile = load_profile(H200)
    changed = replace(profile, menus={**profile.menus, "aligned_nt": menu(correction=constant(1.3))})
    plain = replace(profile, menus={**profile.menus, "aligned_nt": menu(correction=None)})
    gemm = Gemm(m=4096, n=4096, k=4096, dtype="bf16", layout="NT")
    with_it, without = (estimate_gemm(gemm, H200, each) for each in (changed, plain))
    part = next(part for part in with_it.parts if part.name == "correction")
    assert part.time_s == pytest.approx(0.3 * without.time_s, rel=2e-3) and "1.30x" in part.reason
    assert "correction +30%" in with_it.reasons and not [part for part in without.parts if part.name == "correction"]


def test_outside_the_fitted_range_an_estimate_is_a_datasheets_and_wider() -> None:
    inside, outside = (predict_gemm(H200, m=m, n=4096, k=4096) for m in (4096, 2_000_000))
    assert (inside.provenance[0], outside.provenance[0]) == ("calibrated", "datasheet")
    assert outside.high_s[0] / outside.low_s[0] > 1.2 * inside.high_s[0] / inside.low_s[0]


def test_a_profile_whose_weights_do_not_fit_its_widths_is_refused() -> None:
    import json

    from shapewright.predict.profiles import FOLDER

    data = json.loads((FOLDER / "h200.cuda13.json").read_text())
    data["menus"]["aligned_nt"]["correction"] = {"widths": [NUM_FEATURES, 4, 1], "weights": "AAAA", "bound": 0.5}
    with pytest.raises(Exception, match="a correction of widths"):
        profile_from_json(data)
