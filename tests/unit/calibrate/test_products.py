"""Products of a table: defaults, spellings, whose GPU they are; and which sets are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.fit import fit_classes
from shapewright.calibrate.products import Products, may_be_of, read_products, rows_of_gpu
from shapewright.calibrate.sets import gemm
from shapewright.calibrate.table import Table, read_table
from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.predict.gemm import predict_gemm, product_rates

H200 = load_gpu("h200")


def table(tmp_path: Path, text: str) -> Table:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return read_table(path)


def test_defaults_and_spellings(tmp_path: Path) -> None:
    products = read_products(table(tmp_path, "m,n,k,us,dtype,layout\n8,16,32,2,bfloat16,nt\n1,2,3,4.5,,\n"), H200)
    assert products.batch.tolist() == [1, 1]
    assert products.dtype.tolist() == ["bf16", "bf16"] and products.layout.tolist() == ["NT", "NT"]
    assert products.time_s == pytest.approx([2e-6, 4.5e-6])
    assert products.flops.tolist() == [2 * 8 * 16 * 32, 12]


@pytest.mark.parametrize(("column", "value"), [("us", 2.5), ("latency_us", 2.5), ("time_s", 2.5e-6)])
def test_times_in_us_or_seconds(tmp_path: Path, column: str, value: float) -> None:
    assert read_products(table(tmp_path, f"m,n,k,{column}\n8,16,32,{value}\n"), H200).time_s == pytest.approx([2.5e-6])


def test_alignment_counts_bytes_not_elements(tmp_path: Path) -> None:
    """8 elements are 16 bytes in bf16 and 8 in fp8; 4 are 16 in fp32."""
    text = "m,n,k,us,dtype\n64,72,72,3,bf16\n64,72,72,3,fp8\n64,68,68,3,fp32\n64,68,68,3,bf16\n"
    regimes = gemm.regimes(read_products(table(tmp_path, text), H200))
    assert regimes["misaligned"].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m,n,k,us\n8,8,0,1\n", "rows.csv:2: k is 0; expected a whole number from 1 to 2147483647"),
        ("m,n,k,us\n8,8,99999999999,1\n", "rows.csv:2: k is 99999999999; expected a whole number from 1 to 2147483647"),
        ("m,n,k,us\n8,8,8,1\n8,8,8,0\n", "rows.csv:3: us is 0; expected a number above 0"),
        ("m,n,k,us\n8,8,8,nan\n", "rows.csv:2: us is missing; expected a number above 0"),
        ("m,n,k,us,layout\n8,8,8,1,NT\n8,8,8,1,TT\n", "rows.csv:3: unknown layout 'TT'"),
        ("m,n,k,us,dtype\n8,8,8,1,bf17\n", "rows.csv:2: unknown dtype 'bf17'"),
        ("m,n,us\n8,8,1\n", "rows.csv: has no column k; it has m, n, us"),
    ],
)
def test_rows_that_make_no_sense_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_products(table(tmp_path, text), H200)
    assert message in str(error.value)


def rows(*gpus: str) -> Table:
    count = len(gpus)
    return Table(name="a.csv", columns={"gpu": np.array(gpus), "m": np.arange(count) + 1}, lines=np.arange(count))


def test_the_gpu_is_taken_from_the_rows() -> None:
    assert rows_of_gpu(rows("NVIDIA H200", "h200"), None)[1].name == "h200"
    kept, gpu = rows_of_gpu(rows("h200", "h100", "h200"), "h100")
    assert gpu.name == "h100" and kept.columns["m"].tolist() == [2]


def test_the_gpu_is_taken_from_the_environment_or_the_flag() -> None:
    plain = Table(name="a.csv", columns={"m": np.arange(3)}, lines=np.arange(3), environment={"gpu": "NVIDIA H200"})
    assert rows_of_gpu(plain, None)[1].name == "h200"
    named = Table(name="a.csv", columns={"m": np.arange(3)}, lines=np.arange(3), environment={"gpu": "my own card"})
    assert rows_of_gpu(named, "l4")[1].name == "l4"
    with pytest.raises(InputError, match=r"a\.csv: holds rows of h200, not of h100; name the GPU"):
        rows_of_gpu(plain, "h100")


@pytest.mark.parametrize(
    ("gpus", "message"),
    [(("h200", "h100"), "holds rows of h100, h200; name one"), (("mine",), "does not say which"), (("", ""), "does not say")],
)
def test_an_unknown_gpu_must_be_named(gpus: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_of_gpu(rows(*gpus), None)


def random_products(count: int) -> Products:
    random = np.random.default_rng(0)
    m, n, k = (8 * random.integers(1, 500, count) for _ in range(3))
    answer = predict_gemm(H200, m=m, n=n, k=k)
    return Products(
        batch=np.ones(count, int), m=m, n=n, k=k, dtype=np.full(count, "bf16"), layout=np.full(count, "NT"), time_s=answer.time_s
    )  # fmt: skip


def test_rows_of_a_catalogued_gpu_may_be_those_of_a_gpu_that_the_user_describes() -> None:
    h200, h100 = load_gpu("h200"), load_gpu("h100")
    assert may_be_of("NVIDIA H200", h200) and may_be_of("some new card", h200) and not may_be_of("NVIDIA H200", h100)
    assert may_be_of("NVIDIA H200", replace(h200, name="h200-at-500-w"))


def test_classes_with_few_rows_are_not_fitted() -> None:
    assert fit_classes(random_products(39), product_rates(H200, "bf16")) == ({}, {})


def test_pooled_classes_are_fitted_as_one() -> None:
    products = random_products(120)
    said: list[str] = []
    menus, errors = fit_classes(products, product_rates(H200, "bf16"), {"aligned_nt": "aligned_nn_tn"}, progress=said.append)
    assert set(menus) == set(errors) == {"aligned_nn_tn"} and len(said) == 1
    assert said[0].startswith("fitting aligned_nn_tn to ") and said[0].endswith(" of 120 rows")
    found = errors["aligned_nn_tn"]
    assert found["rows_fitted"] + found["rows_held_out"] == 120 and len(menus["aligned_nn_tn"].spreads) == 4
    menu = menus["aligned_nn_tn"]
    assert menu.num_rows == found["rows_fitted"] and menu.correction is None
    assert menu.fit_range[0] == (1, 1) and all(8 <= low < high <= 4000 for low, high in menu.fit_range[1:4])


CSV = """set,op,dtype,layout,batch,m,n,k,us
random,linear,bf16,NT,1,8192,8192,8192,1400
random,linear,bf16,NT,1,16,8192,8191,60
random,linear,fp16,NN,1,64,256,256,3
random,bmm,bf16,NN,32,2048,128,2048,90
"""


def test_sets_part_linear_from_batched_products_and_name_their_regimes(tmp_path: Path) -> None:
    linear, batched = gemm.product_sets("x", table(tmp_path, CSV), H200, source="by hand", goal_percent=4.0)
    assert (linear.name, batched.name, linear.library) == ("x", "x-batched", "cuda13")
    assert (len(linear.measured_s), len(batched.measured_s)) == (3, 1)
    flags = {name: mask.tolist() for name, mask in linear.regimes.items()}
    assert flags == {
        "large": [True, False, False], "decode-size": [False, True, True], "aligned": [True, False, True],
        "misaligned": [False, True, False], "tiny": [False, False, True],
    }  # fmt: skip
    assert (linear.limit_s < linear.measured_s).all() and (linear.low_s < linear.predicted_s).all()


def test_a_folder_without_product_files_has_only_the_repositorys_sets(tmp_path: Path) -> None:
    assert {each.name for each in gemm.load(tmp_path)} <= {"gemm-h200-repository", "gemm-h200-repository-batched"}
    (tmp_path / "h200").mkdir()
    (tmp_path / "h200/gemm.csv").write_text(CSV)
    assert {"gemm-h200", "gemm-h200-batched"} <= {each.name for each in gemm.load(tmp_path)}
