"""The document of a folder of runs: every part from its own runs, empty where there are none, and the map as a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shapewright.calibrate.measuring.calibrations import evaluations
from shapewright.calibrate.measuring.document import measuring_document
from shapewright.calibrate.measuring.shipped_map import COLUMNS, MAP_FILE, map_rows, write_map
from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint, LayerPoint
from shapewright.predict.gemm import predict_gemm
from shapewright.predict.profiles import load_profile, shipped_profile
from unit.calibrate.measuring.made_runs import attention_row, compiled_row, gemm_row, layer_row, row_of, write_run

GPU = load_gpu("h200")
SWEEP = [GemmPoint(m=1024, n=2048, k=k) for k in range(1984, 2049)]


def write_all(folder: Path) -> Path:
    """One run of every plan."""
    write_run(folder / "repeatability-1.jsonl", [gemm_row(point) for point in SWEEP[:9]])
    write_run(folder / "repeatability-2.jsonl", [gemm_row(point, factor=1.01) for point in SWEEP[:9]])
    write_run(folder / "misalignment.jsonl", map(gemm_row, SWEEP))
    both = [(SWEEP[i], GemmPoint(m=1024, n=2048, k=SWEEP[i].k, runtime="compiled")) for i in (1, 2)]
    extra = GemmPoint(m=1024, n=50257, k=2048), GemmPoint(m=1024, n=50257, k=2048, runtime="compiled")
    write_run(folder / "misalignment-compiled.jsonl", [row for a, b in (*both, extra) for row in (gemm_row(a), compiled_row(b))])
    heads = {"batch": 4, "num_heads": 32, "num_kv_heads": 32, "query_len": 2048, "kv_len": 2048}
    refused = row_of(AttentionPoint(**heads, head_dim=65, backend="cudnn"), 1.0) | {"status": "failed", "error": "no kernel"}
    write_run(folder / "heads.jsonl", [attention_row(AttentionPoint(**heads, head_dim=size)) for size in (64, 80, 128)] + [refused])
    write_run(folder / "layers.jsonl", [layer_row(LayerPoint(model="llama-2-7b"), 7e-3)])
    widths = (LayerPoint(model="llama-2-7b", changes=f"intermediate_size={width}") for width in (10923, 11008))
    write_run(folder / "prices.jsonl", [layer_row(point, time_s) for point, time_s in zip(widths, (0.021, 0.007), strict=True)])
    write_run(folder / "random.jsonl", map(gemm_row, SWEEP[:3]))
    (folder / "calibrate").mkdir()
    (folder / "calibrate/h200.cuda13.json").write_text(shipped_profile(GPU, "cuda13").read_text())
    one = {"name": "odd", "num_rows": 90, "num_held_out": 27, "before_percent": 8.0, "after_percent": 4.0, "is_adopted": True, "remark": ""}
    (folder / "calibrate/report.json").write_text(
        json.dumps({"schema_version": 1, "classes": [one], "measured_s": 101.5, "fitted_s": 40.0})
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("runs") / "h200")


def test_every_part_comes_from_its_runs(folder: Path) -> None:
    document = measuring_document(folder)
    assert document["gpu"] == "h200" and document == json.loads(json.dumps(document, allow_nan=False))
    assert [run["file"] for run in document["runs"]][:2] == ["repeatability-1.jsonl", "repeatability-2.jsonl"]
    (repeated,) = document["repeatability"]
    assert repeated["median_percent"] == pytest.approx(1.0)
    assert len(document["misalignment"]["points"]) == 65 and len(document["misalignment"]["lines"]) == 7
    assert [point["is_padded"] for point in document["padding"]["points"]] == [True, False, False]
    assert [point["head_dim"] for point in document["heads"]["points"]] == [64, 80, 128]
    assert document["heads"]["refused"][0]["error"] == "no kernel"
    assert document["layers"]["cells"][0]["measured_s"] == 7e-3
    assert document["calibrate"]["reports"][0]["file"] == "report.json"
    (heads,) = [run for run in document["runs"] if run["plan"] == "heads"]
    assert heads["statuses"] == {"failed": 1, "ok": 3} and heads["environments"][0]["gpu"] == "NVIDIA H200"


def test_a_folder_without_runs_gives_empty_parts(tmp_path: Path) -> None:
    (tmp_path / "h200").mkdir()
    document = measuring_document(tmp_path / "h200")
    assert document["runs"] == document["repeatability"] == document["misalignment"]["points"] == document["layers"]["cells"] == []
    with pytest.raises(InputError, match="no such folder"):
        measuring_document(tmp_path / "a100-80gb")


def test_profiles_are_scored_on_unseen_products() -> None:
    """A profile with a launch of its own beside the shipped one: errors are those of the predictor in force."""
    points = [GemmPoint(m=m, n=1024, k=1024) for m in (64, 256, 1024)] + [GemmPoint(m=128, n=128, k=64, batch=32, call="bmm")]
    sizes = {name: [getattr(point, name) for point in points] for name in ("batch", "m", "n", "k")}
    time_s = predict_gemm(GPU, **sizes, dtype="bf16", layout="NT").time_s
    rows = [row_of(point, float(each) / 1.1) for point, each in zip(points, time_s, strict=True)]
    found = evaluations("random", rows, GPU, {"again.json": load_profile(GPU)})
    assert [(each.profile, each.group, each.num_points) for each in found] == [
        (name, *rest) for name in ("shipped", "again.json") for rest in (("all", 4), ("linear", 3), ("batched", 1))
    ]
    assert [each.mape_percent for each in found] == pytest.approx([10.0] * 6, rel=1e-3)
    assert evaluations("random", [], GPU, {}) == []


def test_the_map_is_a_table(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the calibrate extra")
    from shapewright.calibrate.table import read_table

    document = measuring_document(folder)
    rows = map_rows(document)
    assert len(rows) == 66 and all(tuple(row) == COLUMNS for row in rows)
    (odd,) = [row for row in rows if row["k"] == 1985]
    assert (odd["kernel"], odd["is_padded"], odd["compiled_kernel"]) == ("cutlass sm75 align1", True, "nvjet sm90")
    assert odd["compiled_s"] == pytest.approx(odd["time_s"] * 1.1 / 4, rel=1e-3)
    assert (rows[-1]["n"], rows[-1]["dimension"], rows[-1]["sweep"], rows[-1]["relative"]) == (50257, "n", "", None)
    write_map(document, tmp_path / MAP_FILE)
    table = read_table(tmp_path / MAP_FILE)
    assert len(table) == 66 and table.texts("kernel")[1] == "cutlass sm75 align1"
    assert table.positive("time_s")[1] == odd["time_s"]
