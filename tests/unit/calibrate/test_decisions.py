"""Orderings and penalties on a hand-made sweep: runs are found, pairs counted, ratios compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate import decisions
from shapewright.calibrate.decisions import Sweeps, load_sweeps, orderings, penalties
from shapewright.calibrate.gemm import is_held_out
from shapewright.calibrate.products import Products

#: Two runs: n from 1021 to 1028 (1024 alone is aligned) and m from 128 to 1024.
CSV = "set,dtype,layout,batch,m,n,k,us\n" + "".join(
    [f"local_n1,bf16,NT,1,4096,{n},4096,{50 if n % 8 == 0 else 150 if n % 2 == 0 else 400}\n" for n in range(1021, 1029)]
    + [f"local_m128,bf16,NT,1,{m},4096,4096,{10 + m // 32}\n" for m in range(128, 1025, 128)]
    + [f"local_m128,bf16,NT,1,{m},4096,4096,{10 + m // 32}\n" for m in (4096, 4224)]
)


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    path = tmp_path / "local.csv"
    path.write_text(CSV)
    return load_sweeps(path, "h200")


def with_predictions(sweeps: Sweeps, predicted_s: np.ndarray) -> Sweeps:
    return Sweeps(gpu="h200", products=sweeps.products, predicted_s=predicted_s, swept=sweeps.swept, sweep=sweeps.sweep)


def test_a_run_ends_where_the_step_breaks(sweeps: Sweeps) -> None:
    assert np.bincount(sweeps.sweep).tolist() == [8, 8, 2]
    assert sweeps.swept.tolist() == ["n"] * 8 + ["m"] * 10


def test_a_perfect_prediction_orders_every_pair(sweeps: Sweeps) -> None:
    found = {(each.scope, each.rows): each for each in orderings(with_predictions(sweeps, 2 * sweeps.products.time_s))}
    assert all(each.right_percent == 100 for each in found.values())
    # n: 1024 against seven, 3 even of the other seven against 4 odd; m: 28 pairs of eight less those within 5 %.
    assert found["across", "all"].num_pairs == 7 + 3 * 4
    times = sweeps.products.time_s[8:16]
    decided = sum(max(a, b) / min(a, b) > 1.05 for i, a in enumerate(times) for b in times[i + 1 :])
    assert found["within", "all"].num_pairs == decided > 20


def test_a_reversed_or_flat_prediction_orders_none(sweeps: Sweeps) -> None:
    for predicted_s in (1e-9 / sweeps.products.time_s, np.full(18, 1e-5)):
        assert {each.right_percent for each in orderings(with_predictions(sweeps, predicted_s))} == {0.0}


def test_held_out_pairs_have_both_products_held_out(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "is_held_out", lambda n, k: np.asarray(n) <= 1024)
    found = {(each.scope, each.rows): each.num_pairs for each in orderings(sweeps)}
    # n 1021, 1022, 1023, 1024: all pairs but 1021 with 1023.
    assert found["across", "held out"] == 5 and ("within", "held out") not in found


def test_penalties_compare_with_the_aligned_neighbour(sweeps: Sweeps) -> None:
    measured_s = sweeps.products.time_s
    found = {
        each.alignment: each for each in penalties(with_predictions(sweeps, np.where(measured_s > 200e-6, 1.2 * measured_s, measured_s)))
    }
    assert {each.layout for each in found.values()} == {"NT"}
    assert (found[1].num_rows, found[1].measured_ratio, found[1].predicted_ratio) == (4, pytest.approx(8.0), pytest.approx(9.6))
    assert found[1].error_percent == pytest.approx(20.0) and found[1].mape_percent == pytest.approx(20.0)
    assert found[2].measured_ratio == pytest.approx(3.0) and found[2].error_percent == pytest.approx(0.0)
    assert found[4].num_rows == 1  # n = 1028


def test_the_split_is_that_of_the_fit() -> None:
    assert decisions.is_held_out is is_held_out


def test_runs_differ_by_layout_and_dtype() -> None:
    size = np.full(4, 64)
    products = Products(
        batch=np.ones(4, int), m=np.array([8, 16, 24, 32]), n=size, k=size, dtype=np.array(["bf16", "bf16", "fp16", "fp16"]),
        layout=np.array(["NT"] * 3 + ["NN"]), time_s=np.ones(4),
    )  # fmt: skip
    runs = decisions._runs(products, np.full(4, "m"), np.full(4, 8))
    assert runs.tolist() == [0, 0, 1, 2]
