"""Matrix products in bulk and one by one: the same numbers, honest intervals, our errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.hardware import gpu_names, load_gpu
from shapewright.hardware.profile import SPREAD_EDGES_S
from shapewright.operators.types import LAYOUTS, Gemm
from shapewright.predict.gemm import MAX_SIZE, predict_gemm
from shapewright.predict.gemm_model import BOUNDS
from shapewright.predict.profiles import load_profile

SIZES = st.one_of(st.integers(1, 64), st.integers(1, 20_000), st.integers(1, 8192).map(lambda eighth: 8 * eighth))
PRODUCTS = st.tuples(st.one_of(st.just(1), st.integers(1, 512)), SIZES, SIZES, SIZES, st.sampled_from(LAYOUTS), st.integers(0, 4))
MIXED = {
    "batch": [1, 1, 128, 1, 64, 1, 1],
    "m": [8192, 8192, 2048, 1, 2048, 300, 4096],
    "n": [10923, 11008, 2048, 4096, 80, 50257, 10922],
    "k": [4096, 4096, 80, 11008, 2048, 64, 8192],
    "dtype": ["bf16", "fp16", "bf16", "fp8", "tf32", "fp32", "bf16"],
    "layout": ["NT", "NN", "NT", "TN", "NN", "TN", "TN"],
}


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text and text.isprintable()
    return text


@settings(max_examples=120, deadline=None)
@given(gpu=st.sampled_from(gpu_names()), products=st.lists(PRODUCTS, min_size=1, max_size=12))
def test_bulk_and_explained_products_agree(gpu: str, products: list[tuple[int, int, int, int, str, int]]) -> None:
    dtypes = sorted(load_gpu(gpu).flops_per_s)
    batch, m, n, k, layout, picks = (list(column) for column in zip(*products, strict=True))
    estimates = predict_gemm(gpu, batch=batch, m=m, n=n, k=k, layout=layout, dtype=[dtypes[pick % len(dtypes)] for pick in picks])
    assert len(estimates) == len(products)
    for i in range(len(products)):
        one = estimates.explain(i)
        for name in ("time_s", "low_s", "high_s", "limit_s"):
            assert getattr(one, name) == pytest.approx(getattr(estimates, name)[i], rel=1e-5)
        assert (one.bound_by, one.provenance) == (estimates.bound_by[i], estimates.provenance[i])
        assert sum(part.time_s for part in one.parts) == pytest.approx(one.time_s, rel=1e-9)


@settings(max_examples=120, deadline=None)
@given(gpu=st.sampled_from(gpu_names()), products=st.lists(PRODUCTS, min_size=1, max_size=40))
def test_times_lie_above_the_roofline_and_inside_their_interval(gpu: str, products: list[tuple[int, int, int, int, str, int]]) -> None:
    batch, m, n, k, layout, _ = (list(column) for column in zip(*products, strict=True))
    for library in load_gpu(gpu).libraries:
        for dtype in load_gpu(gpu).flops_per_s:
            estimates = predict_gemm(gpu, batch=batch, m=m, n=n, k=k, layout=layout, dtype=dtype, library=library)
            assert (estimates.low_s > 0).all()
            assert (estimates.low_s <= estimates.time_s).all() and (estimates.time_s <= estimates.high_s).all()
            assert (estimates.limit_s <= estimates.time_s * (1 + 1e-6)).all()
            expected = [roofline_s(load_gpu(gpu), Gemm(batch=b, m=x, n=y, k=z, dtype=dtype)) for b, x, y, z, _, _ in products]
            assert estimates.limit_s == pytest.approx(expected, rel=1e-9)


def roofline_s(gpu, gemm: Gemm) -> float:
    return max(gemm.flops / gpu.flops_per_s[gemm.dtype], gemm.bytes / gpu.memory_bytes_per_s)


@pytest.mark.parametrize("gpu", ["h200", "a100-40gb", "v100", "mi250x", "b200"])
def test_a_thousand_random_products_stay_above_the_roofline(gpu: str) -> None:
    """Dense cover of the misaligned classes, whose efficiencies carry a factor for each pattern."""
    random = np.random.default_rng(7)
    batch, m, n, k = (np.exp(random.uniform(0, np.log(limit), 4000)).astype(int) for limit in (300, 40_000, 40_000, 40_000))
    layout = np.array(LAYOUTS)[random.integers(0, 3, 4000)]
    estimates = predict_gemm(gpu, batch=batch, m=m, n=n, k=k, layout=layout, dtype="fp16")
    assert (estimates.limit_s <= estimates.time_s).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_largest_sizes_give_finite_times(layout: str) -> None:
    sizes = {"batch": [MAX_SIZE, 1, 1], "m": [MAX_SIZE, 1, MAX_SIZE], "n": [MAX_SIZE, 1, 1], "k": [MAX_SIZE, MAX_SIZE, 1]}
    for gpu in gpu_names():
        estimates = predict_gemm(gpu, **sizes, layout=layout, dtype="fp16")
        assert np.isfinite(estimates.time_s).all() and (estimates.limit_s <= estimates.time_s * (1 + 1e-6)).all()
        assert estimates.explain(0).time_s == pytest.approx(estimates.time_s[0], rel=1e-5)


def test_mixed_columns_give_the_same_as_one_by_one_in_the_same_order() -> None:
    together = predict_gemm("h200", **MIXED)
    for i in range(len(together)):
        alone = predict_gemm("h200", **{name: column[i] for name, column in MIXED.items()})
        for name in ("time_s", "low_s", "high_s", "limit_s", "bound_by", "provenance", "dtype", "layout", "batch", "m", "n", "k"):
            assert getattr(together, name)[i] == getattr(alone, name)[0], name


def test_reordered_rows_give_reordered_answers() -> None:
    order = np.random.default_rng(0).permutation(len(MIXED["m"]))
    plain = predict_gemm("h200", **MIXED)
    shuffled = predict_gemm("h200", **{name: np.array(column)[order] for name, column in MIXED.items()})
    assert shuffled.time_s.tolist() == plain.time_s[order].tolist()
    assert shuffled.bound_by.tolist() == plain.bound_by[order].tolist()


def test_more_rows_than_one_chunk_holds() -> None:
    """Chunks and classes are put back where their rows were."""
    n = np.tile([4096, 4097, 4098], 3000)
    estimates = predict_gemm("h200", m=512, n=n, k=1024)
    each = predict_gemm("h200", m=512, n=[4096, 4097, 4098], k=1024).time_s
    assert estimates.time_s == pytest.approx(np.tile(each, 3000), rel=1e-5)  # sums of 32-bit numbers in another order
    assert len(set(each)) == 3


def test_sizes_broadcast() -> None:
    grid = predict_gemm("h200", m=[[64], [8192]], n=[1024, 4096, 8192], k=4096)
    assert grid.m.tolist() == [64, 64, 64, 8192, 8192, 8192]
    assert grid.n.tolist() == [1024, 4096, 8192] * 2
    alone = predict_gemm("h200", m=8192, n=4096, k=4096).time_s[0]
    assert grid.time_s[4] == pytest.approx(alone, rel=1e-6)  # 32-bit sums of a correction depend on how many products are asked at once
    assert len(predict_gemm("h200", m=[], n=8, k=8)) == 0


def test_whole_floats_and_dtype_spellings_are_taken() -> None:
    plain = predict_gemm("h200", m=64, n=64, k=64).time_s
    assert predict_gemm("h200", m=64.0, n=np.float32(64), k=np.uint8(64), dtype="torch.bfloat16").time_s == plain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "k is 0; expected 1 to 2147483647"),
        (-3, "k is -3; expected 1 to 2147483647"),
        (1.5, "k is 1.5; expected whole numbers"),
        (2**40, "k is 1099511627776; expected 1 to 2147483647"),
        (2**70, "expected whole numbers"),
        (float("inf"), "k is inf; expected whole numbers"),
        (float("nan"), "k is nan; expected whole numbers"),
        (True, "k is True; expected whole numbers"),
        ("8", "k is '8'; expected whole numbers"),
        (None, "k is None; expected whole numbers"),
        ([64, 0], "k is 0; expected 1 to"),
        ([64, [1, 2]], "k is [64, [1, 2]]; expected whole numbers"),
    ],
)
def test_bad_sizes_are_refused(value: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        predict_gemm("h200", m=8, n=8, k=value)  # type: ignore[arg-type]
    assert message in one_line(error)
    assert error.value.field == "k"


@pytest.mark.parametrize(
    ("gpu", "changes", "message"),
    [
        ("h200", {"layout": "TT"}, "unknown layout 'TT'; did you mean"),
        ("h200", {"layout": ["NT", "nn"]}, "unknown layout 'nn'; did you mean NN"),
        ("h200", {"dtype": "bf61"}, "unknown dtype 'bf61'; did you mean bf16"),
        ("h200", {"dtype": ["bf16", "int7"]}, "unknown dtype 'int7'"),
        ("a100-40gb", {"dtype": "fp8"}, "a100-40gb has no fp8 products; it has bf16, fp16, fp32, tf32"),
        ("v100", {"dtype": "bf16"}, "v100-16gb has no bf16 products; it has fp16, fp32"),
        ("h200", {"library": "cuda12"}, "unknown library for h200 'cuda12'; did you mean cuda13"),
        ("h300", {}, "unknown GPU 'h300'; did you mean h200"),
        ("h200", {"m": [1, 2], "n": [1, 2, 3]}, "batch, m, n, k, dtype, layout have 1, 2, 3, 1, 1, 1 entries"),
    ],
)
def test_what_cannot_run_is_refused(gpu: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        predict_gemm(gpu, **{"m": 8, "n": 8, "k": 8, **changes})  # type: ignore[arg-type]
    assert message in one_line(error)


def test_the_library_picks_the_profile() -> None:
    sizes = {"m": 8192, "n": [2560, 10240], "k": 2560, "dtype": "fp16"}
    default, old, new = (predict_gemm("a100-40gb", **sizes, library=library) for library in (None, "cuda11.7", "cuda13"))
    assert default.time_s.tolist() == old.time_s.tolist()
    assert set(old.provenance) == {"calibrated"} and set(new.provenance) == {"datasheet"}
    assert (abs(new.time_s / old.time_s - 1) > 0.01).all()
    assert new.explain(0).time_s == pytest.approx(new.time_s[0], rel=1e-5)


@pytest.mark.parametrize(
    ("gpu", "dtype", "expected"),
    [
        ("h200", "bf16", "calibrated"),
        ("h200", "fp32", "datasheet"),
        ("h200", "fp8", "datasheet"),
        ("a100-80gb", "bf16", "calibrated"),
        ("v100", "fp16", "calibrated"),
        ("l40s", "bf16", "datasheet"),
        ("b200", "bf16", "datasheet"),
        ("mi355x", "fp16", "datasheet"),
    ],
)
def test_provenance_says_whether_rows_were_fitted(gpu: str, dtype: str, expected: str) -> None:
    assert predict_gemm(gpu, m=4096, n=4096, k=4096, dtype=dtype).provenance.tolist() == [expected]


def test_a_class_carried_over_is_a_datasheet_estimate() -> None:
    """Only aligned products were measured on the A100 80 GB."""
    assert predict_gemm("a100-80gb", m=4096, n=[4096, 4097], k=4096).provenance.tolist() == ["calibrated", "datasheet"]


def test_intervals_are_wider_where_nothing_was_measured() -> None:
    def width(gpu: str, n: int = 4096, dtype: str = "bf16") -> float:
        estimates = predict_gemm(gpu, m=4096, n=n, k=4096, dtype=dtype)
        return float(estimates.high_s[0] / estimates.low_s[0])

    assert width("l40s") > 1.2 * width("a100-80gb")
    assert width("h200", dtype="fp8") > 1.5 * width("h200")
    assert width("h200", dtype="fp32") > 1.5 * width("h200")
    assert width("a100-80gb", n=4097) > width("a100-40gb", n=4097, dtype="fp16")


def test_intervals_are_those_of_the_predicted_time() -> None:
    """A product takes the interval of its own class and of the bin its predicted time falls in."""
    menu = load_profile(load_gpu("h200")).menus["aligned_nt"]
    estimates = predict_gemm("h200", m=[1, 128, 2048, 16384], n=[128, 2048, 4096, 16384], k=[128, 4096, 4096, 16384])
    assert np.searchsorted(SPREAD_EDGES_S, estimates.time_s).tolist() == [0, 1, 2, 3]
    assert (estimates.low_s / estimates.time_s) == pytest.approx([spread.low for spread in menu.spreads])
    assert (estimates.high_s / estimates.time_s) == pytest.approx([spread.high for spread in menu.spreads])


@pytest.mark.parametrize(
    ("product", "bound"),
    [((8192, 8192, 8192), "compute"), ((1, 11008, 4096), "memory"), ((8, 64, 64), "launch"), ((64, 64, 2048), "latency")],
)
def test_what_bounds_a_product(product: tuple[int, int, int], bound: str) -> None:
    m, n, k = product
    assert predict_gemm("h200", m=m, n=n, k=k).bound_by.tolist() == [bound]


def test_every_bound_occurs() -> None:
    random = np.random.default_rng(3)
    m, n, k = (np.exp(random.uniform(0, np.log(20_000), 3000)).astype(int) for _ in range(3))
    assert set(predict_gemm("h200", m=m, n=n, k=k).bound_by) == set(BOUNDS)


def test_plain_core_products_know_no_alignment_and_tf32_does() -> None:
    plain, tensor = (predict_gemm("h200", m=4096, n=[4095, 4096], k=4096, dtype=dtype).time_s for dtype in ("fp32", "tf32"))
    assert plain[0] == pytest.approx(plain[1], rel=0.02)
    assert tensor[0] > 1.5 * tensor[1]


def test_fp32_products_of_an_h200_run_at_their_simt_kernels_rate() -> None:
    """Batched fp32 products of Falcon-7B's attention, measured at 4.28 and 3.33 ms; one row runs at DRAM's rate."""
    deep, wide, thin = predict_gemm(
        "h200", batch=284, m=[2048, 2048, 1], n=[2048, 64, 64], k=[64, 2048, 2048], dtype="fp32", layout="NN"
    ).time_s
    assert [deep, wide] == pytest.approx([4.28e-3, 3.33e-3], rel=0.08)
    assert thin == pytest.approx(284 * 4 * (2048 * 64 + 2048 + 64) / (4.8e12 * 0.86), rel=0.15)


def test_aligned_sizes_cost_more_when_they_grow_much() -> None:
    """Doubling any dimension never makes a product faster."""
    base = {"m": 1024, "n": 2048, "k": 4096, "batch": 1}
    for name in base:
        grown = [base[name] * 2**i for i in range(5)]
        times = predict_gemm("h200", **(base | {name: grown})).time_s
        assert (np.diff(times) > 0).all(), name
