"""From rows to a profile in force: what made the rows is found again, the rest is kept, nothing of the user's is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import shapewright as sw
from shapewright.calibrate.calibration import Calibration, calibrate, check_place, menu_document, write_profile
from shapewright.calibrate.gemm import is_held_out
from shapewright.calibrate.products import classes_of, read_products
from shapewright.calibrate.table import read_table
from shapewright.errors import InputError, MissingError
from shapewright.hardware.load import load_gpu
from shapewright.hardware.profile import Spread, profile_from_json
from shapewright.predict.gemm import predict_gemm
from shapewright.predict.profiles import FOLDER, FOLDER_VARIABLE, load_profile
from unit.calibrate.synthetic import TRUTH, products, write_rows

ROWS = products(500, seed=1)
FAILED = {"m": 8, "n": 8, "k": 8, "error": "out of memory"}
WIDE = {"dtype": "fp32", "layout": "NT", "batch": 1, "m": 64, "n": 64, "k": 64, "us": 9.0}
IMPOSSIBLE = {"dtype": "bf16", "layout": "NT", "batch": 1, "m": 8192, "n": 8192, "k": 8192, "us": 1.0}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The synthetic rows fitted once; beside them a failed row, one of fp32 and one faster than the GPU can be."""
    path = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS, FAILED, WIDE, IMPOSSIBLE)
    return calibrate(path, "h200")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user's profiles."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def held_out_error(gpu: str = "h200") -> float:
    """Mean error in percent on fresh held-out products of the same truth, by the profile in force."""
    rows = products(600, seed=2)
    rows = rows.take(np.flatnonzero(is_held_out(rows.n, rows.k)))
    return float(100 * np.abs(predict_gemm(gpu, m=rows.m, n=rows.n, k=rows.k).time_s / rows.time_s - 1).mean())


def test_what_made_the_rows_is_found_again(folder: Path, fitted: Calibration) -> None:
    before = held_out_error()
    path, previous = write_profile(fitted.document, folder / "h200.cuda13.json")
    assert previous is None
    assert before > 25 and held_out_error() < 6
    path.unlink()
    assert held_out_error() == before


def test_only_usable_rows_are_fitted_and_the_others_counted(fitted: Calibration) -> None:
    answer = fitted
    assert (answer.num_rows, answer.num_failed) == (500, 1)
    assert sorted(answer.left_out.values()) == [1, 1]
    assert any("fp16" in reason for reason in answer.left_out) and any("roofline" in reason for reason in answer.left_out)


def test_errors_before_and_after_are_of_held_out_rows(fitted: Calibration) -> None:
    (fit,) = fitted.classes
    held = int(is_held_out(ROWS.n, ROWS.k).sum())
    assert (fit.name, fit.num_rows, fit.num_held_out, fit.is_adopted) == ("aligned_nt", 500, held, True)
    assert fit.before_percent is not None and fit.after_percent is not None
    assert fit.before_percent > 25 and fit.after_percent < 6


def test_what_the_rows_do_not_cover_is_kept(fitted: Calibration) -> None:
    shipped = json.loads((FOLDER / "h200.cuda13.json").read_text())
    document = fitted.document
    for part in ("memory", "attention", "collectives", "power", "launch_host_s", "spreads"):
        assert document[part] == shipped[part]
    changed = {name for name, menu in document["menus"].items() if menu != shipped["menus"].get(name)}
    assert changed == {"aligned_nt"}


def test_the_profile_says_where_it_comes_from(fitted: Calibration) -> None:
    document = fitted.document
    origin = document["calibration"]
    assert origin["rows_used"] == 500 and origin["environment"]["torch"] == "2.11.0+cu130" and origin["versions"]["scipy"]
    assert origin["range"]["m"] == [int(ROWS.m.min()), int(ROWS.m.max())]
    assert origin["range"]["flops"][1] == pytest.approx((2.0 * ROWS.m * ROWS.n * ROWS.k).max())
    assert document["sources"][0].startswith("500 products of rows.jsonl, fitted 20") and "cuda 13.0" in document["sources"][0]
    accuracy = document["accuracy"]["aligned_nt"]
    assert accuracy["rows_fitted"] + accuracy["rows_held_out"] == 500
    profile = profile_from_json(document)
    assert (profile.provenance, profile.inherited_from, profile.menus["aligned_nt"].num_rows) == (
        "calibrated",
        None,
        accuracy["rows_fitted"],
    )


def test_on_another_gpu_nothing_carried_counts_as_measured(folder: Path, tmp_path: Path) -> None:
    """A B200 has no rows of its own: what it takes from a relative must not become "calibrated" beside the new products."""
    gpu = load_gpu("b200")
    answer = calibrate(write_rows(tmp_path / "rows.jsonl", products(300, seed=3), gpu="unknown card"), "b200")
    assert load_profile(gpu).provenance == "datasheet"
    assert answer.path is not None
    write_profile(answer.document, answer.path)
    profile = load_profile(gpu)
    assert (profile.provenance, profile.inherited_from, profile.path) == ("calibrated", None, str(answer.path))
    assert profile.menus["aligned_nt"].num_rows > 100
    assert {menu.num_rows for name, menu in profile.menus.items() if name != "aligned_nt"} == {0}
    times = sw.explain("llama-2-7b", gpu, tensor_parallel=2, dtype="bf16").operators
    assert {time.estimate.provenance for time in times if time.operator.kind != "gemm"} == {"datasheet"}
    assert "calibrated" in {time.estimate.provenance for time in times if time.operator.kind == "gemm"}
    answers = predict_gemm(gpu, m=8192, n=[8192, 8193], k=8192)
    assert answers.provenance.tolist() == ["calibrated", "datasheet"]
    assert profile.fitted_dtypes == ("bf16",)


def test_a_new_library_starts_from_the_default_one(folder: Path, tmp_path: Path) -> None:
    answer = calibrate(write_rows(tmp_path / "rows.jsonl", ROWS), "h200", "cuda14")
    assert answer.path == folder / "h200.cuda14.json" and answer.base.endswith("h200.cuda13.json")
    with pytest.raises(InputError, match="unknown library"):
        load_profile(load_gpu("h200"), "cuda14")
    write_profile(answer.document, answer.path)
    assert load_profile(load_gpu("h200"), "cuda14").path == str(answer.path)
    assert load_profile(load_gpu("h200")).path == ""
    assert not any(rate.is_measured for rate in load_profile(load_gpu("h200"), "cuda14").memory.values())


def test_a_fit_that_is_no_better_is_not_adopted(folder: Path, tmp_path: Path) -> None:
    """60 rows of noise around what is predicted already cannot be bettered by 40 of them."""
    rows = products(60, seed=4)
    answer = predict_gemm("h200", m=rows.m, n=rows.n, k=rows.k)
    exact = type(rows)(batch=rows.batch, m=rows.m, n=rows.n, k=rows.k, time_s=answer.time_s, groups=rows.groups)
    calibration = calibrate(write_rows(tmp_path / "rows.jsonl", exact), "h200")
    assert not calibration.is_better
    assert [each.remark for each in calibration.classes] == ["fit no better, kept"]


def test_rows_of_another_gpu_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    mine = [json.loads(line) for line in write_rows(tmp_path / "a.jsonl", products(120, seed=7)).read_text().splitlines()]
    rows = [row | {"gpu": "h200"} for row in mine if "m" in row]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, rows[0] | {"gpu": "l4"}, rows[1] | {"gpu": "h100"}]))
    answer = calibrate(path, "h200")
    assert (answer.num_rows, answer.left_out) == (120, {"of another GPU": 2})


def test_an_environment_with_nan_makes_a_readable_profile(folder: Path, tmp_path: Path) -> None:
    text = write_rows(tmp_path / "a.jsonl", products(120, seed=7)).read_text().splitlines()
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(['{"environment": {"clock_mhz": NaN}}', *(line for line in text if "environment" not in line)]))
    answer = calibrate(path, "h200")
    written, _ = write_profile(answer.document, answer.path)
    assert json.loads(written.read_text())["calibration"]["environment"] == {"clock_mhz": "NaN"}


def test_rows_of_a_dtype_that_the_gpu_lacks_name_the_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", products(50, seed=5), gpu="some card")
    with pytest.raises(InputError, match=r"rows\.jsonl: v100-16gb has no bf16 products; it has fp16, fp32"):
        calibrate(path, "v100-16gb")


def test_classes_follow_the_gpus_own_alignment(tmp_path: Path) -> None:
    """Products of n = 8 x odd are misaligned on a GPU that wants 32 bytes, in the fit as in the prediction."""
    table = read_table(write_rows(tmp_path / "rows.jsonl", products(60, seed=8)))
    every = read_products(table, load_gpu("h200"))
    odd = replace(every, n=every.n // 8 * 8 | 8, k=every.k // 16 * 16 + 16)
    assert set(classes_of(odd, 2)[0].tolist()) == {"aligned_nt"} and set(classes_of(odd, 2, 32)[0].tolist()) == {"half"}


def test_what_was_there_is_kept_under_a_number(tmp_path: Path) -> None:
    path = tmp_path / "h200.cuda13.json"
    path.write_text("by hand")
    assert write_profile({"a": 1}, path) == (path, tmp_path / "h200.cuda13.json.1")
    assert write_profile({"a": 2}, path) == (path, tmp_path / "h200.cuda13.json.2")
    assert [file.read_text().split() for file in sorted(tmp_path.iterdir())] == [
        ["{", '"a":', "2", "}"],
        ["by", "hand"],
        ["{", '"a":', "1", "}"],
    ]


def test_places_that_cannot_hold_a_profile_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="no folder for your profiles; name a file with --out"):
        write_profile({}, None)
    for refuse in (check_place, lambda path: write_profile({}, path)):
        with pytest.raises(InputError, match="its folder does not exist; create it first"):
            refuse(tmp_path / "none/a.json")
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    with pytest.raises(MissingError, match="no folder for your profiles"):
        check_place(None)
    with pytest.raises(InputError, match="is not a regular file"):
        write_profile({}, tmp_path)


@pytest.mark.parametrize(
    ("gpu", "library", "message"),
    [
        ("h100", None, "holds rows of h200, not of h100; name the GPU that was measured with --gpu"),
        ("h200", "../evil", "library is '../evil'; expected letters, digits, dots and hyphens, such as cuda13"),
    ],
)
def test_rows_of_another_gpu_and_odd_names_are_refused(tmp_path: Path, gpu: str, library: str | None, message: str) -> None:
    with pytest.raises(InputError) as error:
        calibrate(write_rows(tmp_path / "rows.jsonl", products(50, seed=5)), gpu, library)
    assert str(error.value).endswith(message)


def test_too_few_rows_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"too few usable rows \(aligned_nt 39\); at least 40 bf16 or fp16 products of one alignment class"
    ):
        calibrate(write_rows(tmp_path / "rows.jsonl", products(39, seed=6)), "h200")
    with pytest.raises(InputError, match=r"too few usable rows \(none\)"):
        calibrate(write_rows(tmp_path / "few.jsonl", products(1, seed=6).take(np.array([], int)), WIDE), "h200")


def test_a_menu_reads_back_as_it_was_written(fitted: Calibration) -> None:
    data = menu_document(replace(TRUTH, spreads=(Spread(low=0.9, high=1.1),) * 4))
    document = dict(fitted.document)
    document["menus"] = {**document["menus"], "aligned_nt": data}
    again = profile_from_json(json.loads(json.dumps(document))).menus["aligned_nt"]
    assert again.candidates == TRUTH.candidates and again.launch_s == TRUTH.launch_s and again.grain == TRUTH.grain
