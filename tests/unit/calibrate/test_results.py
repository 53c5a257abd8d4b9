"""The accuracy document: its form, what is skipped and refused, and that the shipped one is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate import results
from shapewright.calibrate.results import (
    BINS_PER_DECADE,
    accuracy_document,
    density,
    document_of,
    document_text,
    file_document,
    of_gpu,
    set_modules,
    shipped_document,
)
from shapewright.calibrate.scored import ScoredSet
from shapewright.calibrate.table import MissingFileError
from shapewright.errors import InputError

ROWS = "batch,m,n,k,dtype,layout,us\n" + "".join(
    f"1,{m},4096,{k},bf16,NT,{8 + m // 64}\n" for m in (64, 128, 256) for k in range(64, 4096, 64)
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


def small_set(name: str = "gemm-x", gpu: str = "h200") -> ScoredSet:
    time_s = np.array([1e-6, 2e-6, 1e-3])
    return ScoredSet(
        name=name, gpu=gpu, library="", source="by hand", split="none", goal_percent=None, measured_s=time_s, predicted_s=1.1 * time_s,
        low_s=time_s, high_s=2 * time_s, limit_s=time_s / 2, is_held_out=np.array([True, True, False]), regimes={},
    )  # fmt: skip


def test_a_file_is_scored_whole(rows: Path) -> None:
    document = file_document(rows, gpu="h200")
    (scored,) = document["sets"]
    assert (scored["name"], scored["scored"], scored["gpu"], scored["overall"]["num_rows"]) == ("rows.csv", "all", "h200", 3 * 63)
    assert 0 < scored["num_fitted"] < 3 * 63 and scored["overall"]["line_mape_percent"] is not None
    assert sum(count for _, _, count in scored["density"]) == 3 * 63


def test_a_file_without_rows_or_gpu_is_refused(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(InputError, match="does not say which GPU was measured; name one with --gpu"):
        file_document(rows)
    empty = tmp_path / "empty.csv"
    empty.write_text("m,n,k,us\n")
    with pytest.raises(InputError, match="holds no measured row"):
        file_document(empty, gpu="h200")


def test_density_counts_every_scored_row() -> None:
    cells = density(small_set(), np.array([True, True, True]))
    edges = [10 ** (np.array([x, x + 1]) / BINS_PER_DECADE) for x, _, _ in cells]
    assert sum(count for _, _, count in cells) == 3 and len(cells) == 3
    for time_s, (low, high) in zip((1e-6, 2e-6, 1e-3), edges, strict=True):
        assert low <= time_s * (1 + 1e-9) and time_s < high * (1 + 1e-9)


def test_text_reads_back_and_numbers_are_short() -> None:
    document = document_of([small_set("b"), small_set("a")])
    assert json.loads(document_text(document)) == document
    assert [each["name"] for each in document["sets"]] == ["a", "b"]
    assert document["sets"][0]["overall"]["mape_percent"] == 10.0
    assert "\n" not in document_text({"a": [[1, 2], [3, 4]]}).split(":")[1].strip("\n}")


def test_sets_without_a_held_out_row_are_left_out() -> None:
    kept = ScoredSet(**{name: getattr(small_set(), name) for name in ScoredSet.__slots__} | {"is_held_out": np.zeros(3, bool)})
    assert document_of([kept])["sets"] == []


def test_the_part_of_one_gpu() -> None:
    document = document_of([small_set("a", "h200"), small_set("b", "h100")], decisions={"orderings": [{"gpu": "h200"}], "penalties": []})
    part = of_gpu(document, "h100")
    assert [each["name"] for each in part["sets"]] == ["b"] and part["decisions"] == {"orderings": [], "penalties": []}
    with pytest.raises(InputError, match="no accuracy is known of l4; known: h100, h200"):
        of_gpu(document, "l4")


class Module:
    """A module of `sets` in a test."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def load(self, folder: Path) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_missing_files_are_named_and_skipped_and_broken_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "good": Module((small_set(),)), "gone": Module(MissingFileError("no such file", where="x.csv")),
        "older": Module(FileNotFoundError("y.csv")), "helper": object(),
    }  # fmt: skip
    monkeypatch.setattr(results, "set_modules", lambda: tuple(modules))
    monkeypatch.setattr(results.importlib, "import_module", lambda name: modules[name.rpartition(".")[2]])
    document = accuracy_document(tmp_path)
    skipped = {each["file"]: each["reason"] for each in document["skipped"]}
    assert skipped["gone"] == "x.csv: no such file" and skipped["older"] == "y.csv" and skipped["gpu/gemm.parquet"] == "not there"
    assert [each["name"] for each in document["sets"]] == ["gemm-x"] and "helper" not in skipped
    with pytest.raises(InputError, match="holds no measured set of l4"):
        accuracy_document(tmp_path, gpu="l4")
    modules["good"].answer = InputError("m is 0", where="x.csv:3")
    with pytest.raises(InputError, match=r"x\.csv:3: m is 0"):
        accuracy_document(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; name the folder that holds h200/, gpu/ and paper/"):
        accuracy_document(tmp_path / "none")


def test_modules_of_sets_are_found() -> None:
    assert "gemm" in set_modules() and all(not name.startswith("_") for name in set_modules())


def test_the_shipped_document_is_whole() -> None:
    document = shipped_document()
    assert document["schema_version"] == results.SCHEMA_VERSION and document["skipped"] == []
    names = [each["name"] for each in document["sets"]]
    assert names == sorted(set(names)) and {"gemm-h200", "gemm-h200-batched", "gemm-a100-80gb", "gemm-h100"} <= set(names)
    for each in document["sets"]:
        assert each["scored"] == "held out" and each["source"] and each["split"]
        assert sum(count for _, _, count in each["density"]) == each["overall"]["num_rows"]
        for score in (each["overall"], *each["regimes"].values()):
            assert 0 <= score["median_percent"] <= score["p90_percent"] and 0 <= score["coverage_percent"] <= 100
    assert {each["scope"] for each in document["decisions"]["orderings"]} == {"across", "within"}
    assert {(each["layout"], each["alignment"]) for each in document["decisions"]["penalties"]} == {
        (layout, elements) for layout in ("NT", "NN", "TN") for elements in (4, 2, 1)
    }
