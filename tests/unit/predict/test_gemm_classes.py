"""Alignment classes: which leading dimensions count in each layout, and the name of the pattern that is at fault.

The leading dimensions of (x, w, y) are k, k, n in NT; k, n, n in NN; m, n, n in TN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shapewright.hardware.load import load_gpu
from shapewright.operators.types import LAYOUTS, Gemm
from shapewright.predict.gemm import predict_gemm
from shapewright.predict.gemm_classes import CLASSES, classify_products, gemm_class, pattern_factors
from shapewright.predict.gemm_model import LAYOUT_CODES

COUNTING = {"NT": {"k", "n"}, "NN": {"k", "n"}, "TN": {"m", "n"}}
ALIGNED = {"NT": "aligned_nt", "NN": "aligned_nn_tn", "TN": "aligned_nn_tn"}
VECTOR = {1: 16, 2: 8, 4: 4}  # elements of 16 bytes


def classify(layout: str, size_bytes: int = 2, *, batch: int = 1, m: int = 4096, n: int = 4096, k: int = 4096) -> tuple[str, str]:
    columns = (np.array([value]) for value in (batch, m, n, k, LAYOUT_CODES[layout]))
    names, patterns = classify_products(*columns, size_bytes)
    return str(names[0]), str(patterns[0])


@pytest.mark.parametrize("size_bytes", [1, 2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dimension", ["m", "n", "k"])
def test_which_dimensions_count(layout: str, dimension: str, size_bytes: int) -> None:
    counts = dimension in COUNTING[layout]
    half_off = 4096 + VECTOR[size_bytes] // 2  # 8 bytes
    four_bytes_off = 4096 + 4 // size_bytes
    assert classify(layout, size_bytes, **{dimension: 4096 + VECTOR[size_bytes]})[0] == ALIGNED[layout]
    for off in (half_off, four_bytes_off):
        assert classify(layout, size_bytes, **{dimension: off})[0] == ("half" if counts else ALIGNED[layout])
    lowest = "half" if size_bytes == 4 else "odd"  # an odd number of fp32 elements is still a multiple of 4 bytes
    assert classify(layout, size_bytes, **{dimension: 4097})[0] == (lowest if counts else ALIGNED[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batched_products_have_a_class_of_their_own_while_aligned(layout: str) -> None:
    assert classify(layout, batch=128) == ("batched", "")
    assert classify(layout, batch=128, n=4098)[0] == "half"
    assert classify(layout, batch=128, n=4097)[0] == "odd"


def test_the_worst_dimension_decides() -> None:
    assert classify("NT", n=4097, k=4098)[0] == "odd"
    assert classify("NT", n=4098, k=4097)[0] == "odd"
    assert classify("NT", n=4100, k=4098)[0] == "half"


@pytest.mark.parametrize(
    ("layout", "sizes", "pattern"),
    [
        ("NT", {"n": 4097}, "NT:8:1"),
        ("NT", {"n": 4098}, "NT:8:2"),
        ("NT", {"n": 4100}, "NT:8:2"),
        ("NT", {"k": 4097}, "NT:1:8"),
        ("NT", {"k": 4098}, "NT:2:8"),
        ("NT", {"k": 4098, "n": 4097}, "NT:2:1"),
        ("NN", {"n": 4097}, "NN:1:1"),
        ("NN", {"n": 4098}, "NN:2:2"),
        ("NN", {"k": 4098}, "NN:2:8"),
        ("NN", {"k": 4097, "n": 4098}, "NN:1:2"),
        ("TN", {"m": 4097}, "TN:1:8"),
        ("TN", {"n": 4097}, "TN:1:1"),
        ("TN", {"m": 4098, "k": 4097}, "TN:2:8"),
        ("NT", {"batch": 128, "k": 20}, "NTb:2:8"),
        ("NT", {}, ""),
        ("TN", {"k": 4097}, ""),
    ],
)
def test_patterns_name_layout_operands_and_output(layout: str, sizes: dict[str, int], pattern: str) -> None:
    assert classify(layout, **sizes)[1] == pattern


def test_arrays_and_single_products_agree() -> None:
    random = np.random.default_rng(1)
    m, n, k = (random.integers(1, 40, 300) * random.choice([1, 8], 300) for _ in range(3))
    batch = random.choice([1, 1, 12], 300)
    codes = random.integers(0, 3, 300)
    names, _ = classify_products(batch, m, n, k, codes, 2)
    singles = [
        gemm_class(Gemm(batch=int(b), m=int(x), n=int(y), k=int(z), layout=LAYOUTS[c]), 2)[0]
        for b, x, y, z, c in zip(batch, m, n, k, codes, strict=True)
    ]
    assert [CLASSES[code] for code in singles] == names.tolist()
    assert set(names) == set(CLASSES)


def test_factors_reach_their_pattern_and_no_other() -> None:
    factors = pattern_factors({"NT:8:1": 0.5})
    assert (factors == 0.5).sum() == 1 and (factors == 1).sum() == len(factors) - 1
    assert factors[gemm_class(Gemm(m=8, n=4097, k=4096), 2)[1]] == 0.5
    assert factors[gemm_class(Gemm(m=8, n=4096, k=4097), 2)[1]] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_misaligned_products_of_an_mi250x_run_as_aligned_ones_do(layout: str) -> None:
    """The authors' sweep of n (m = 27648, k = 4096): medians of 79.1, 79.0 and 79.1 TFLOP/s at multiples of 2, 4 and 8.

    Odd products were measured on its sister, the MI210: k = 9,375 runs at 126 TFLOP/s, k = 4,000 at 131.
    """
    aligned, half, odd = predict_gemm("mi250x", m=8192, n=[4096, 4098, 4097], k=4096, dtype="fp16", layout=layout).time_s
    assert [half, odd] == pytest.approx([aligned, aligned], rel=0.15)


@pytest.mark.parametrize("gpu", ["a100-40gb", "a100-80gb", "h100", "h200", "v100"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_products_are_ordered_by_class_on_every_fitted_gpu(gpu: str, layout: str) -> None:
    aligned, half, odd = predict_gemm(gpu, m=8192, n=[4096, 4098, 4097], k=4096, dtype="fp16", layout=layout).time_s
    assert 1.05 * aligned < half and 1.2 * half < odd


@pytest.mark.parametrize(
    ("layout", "aligned", "slower"),
    [("NT", "m", ("n", "k")), ("NN", "m", ("n", "k")), ("TN", "k", ("n", "m"))],
)
def test_large_products_slow_down_where_it_counts(layout: str, aligned: str, slower: tuple[str, str]) -> None:
    """H200, 4096 -> 4098 and 4097: medians of 760 against about 240 and 95 to 140 TFLOP/s."""
    base = {"m": 4096, "n": 4096, "k": 4096}

    def time_s(**changes: int) -> float:
        return float(predict_gemm("h200", layout=layout, **(base | changes)).time_s[0])

    assert time_s(**{aligned: 4097}) < 1.1 * time_s()
    for name in slower:
        assert 2.3 < time_s(**{name: 4098}) / time_s() < 4.5
        assert 4.5 < time_s(**{name: 4097}) / time_s() < 11


def test_a_gpu_of_wider_vectors_calls_more_products_misaligned() -> None:
    """A GPU file that asks for 128 bytes takes 64 fp16 elements; a width that is no power of two counts as the one below."""
    gemm = Gemm(m=8192, n=4104, k=4096)
    assert CLASSES[gemm_class(gemm, 2)[0]] == CLASSES[gemm_class(gemm, 2, 24)[0]] == "aligned_nt"
    assert CLASSES[gemm_class(gemm, 2, 128)[0]] == "half"
    assert CLASSES[gemm_class(replace(gemm, n=4160), 2, 128)[0]] == "aligned_nt"


def test_alignment_bytes_of_a_gpu_decide() -> None:
    h200 = load_gpu("h200")
    wide = replace(h200, alignment_bytes=128)
    assert predict_gemm(wide, m=8192, n=4104, k=4096).time_s[0] > 1.5 * predict_gemm(h200, m=8192, n=4104, k=4096).time_s[0]
    assert "n = 4104 is not a multiple of 64" in predict_gemm(wide, m=8192, n=4104, k=4096).explain().reasons[0]
