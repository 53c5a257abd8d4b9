"""Published products by source: which rows are taken, how layouts and protocols are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.sets import authors, thin, transfer
from shapewright.calibrate.sources import source_rows
from shapewright.calibrate.table import read_table

pa = pytest.importorskip("pyarrow", reason="Parquet needs the calibrate extra")
COLUMNS = ("source", "gpu", "op", "dtype", "layout", "batch", "m", "n", "k", "latency_us", "notes", "suspect")


def write_published(folder: Path, rows: list[tuple[object, ...]]) -> None:
    from pyarrow import parquet

    (folder / "gpu").mkdir()
    columns = {name: [row[index] for row in rows] for index, name in enumerate(COLUMNS)}
    parquet.write_table(pa.table(columns), folder / "gpu/gemm.parquet")


def write_paper(folder: Path, gemm: str = "", layers: str = "") -> None:
    (folder / "paper").mkdir()
    if gemm:
        (folder / "paper/gemm.csv").write_text("gpu,sweep,op,batch,m,n,k,tflops\n" + gemm)
    if layers:
        header = "gpu,sweep,heads,hidden_size,micro_batch,sequence,tensor_parallel,component,unit,value\n"
        (folder / "paper/layers.csv").write_text(header + layers)


def deepbench(layout: str, n: int = 512, suspect: str = "") -> tuple[object, ...]:
    return ("deepbench", "V100-SXM2-16GB", "linear", "fp16", layout, 1, 64, n, 1024, 20.0, "", suspect)


def test_layouts_are_ours_and_suspect_rows_are_left_out(tmp_path: Path) -> None:
    write_published(tmp_path, [deepbench("TN"), deepbench("NN"), deepbench("NT"), deepbench("NN", suspect="bw_l2")])
    (rows,) = source_rows(tmp_path)
    assert rows.products.layout.tolist() == ["NT", "NN", "TN"]
    assert rows.products.time_s.tolist() == pytest.approx([20e-6] * 3)


def test_tunings_with_bias_are_a_source_of_their_own_and_fp32_outputs_are_none(tmp_path: Path) -> None:
    def tuning(notes: str) -> tuple[object, ...]:
        return ("hipblaslt_logic", "MI250X-GCD", "linear", "fp16", "NN", 1, 16, 768, 4608, 11.4, notes, "")

    write_published(
        tmp_path,
        [tuning("aldebaran_Cijk_Ailk_Bljk_HHS_BH"), tuning("aldebaran_Cijk_Ailk_Bljk_HSS_BH"), tuning("aldebaran_HHS_BH_Bias_HAH_SAV")],
    )
    found = {each.source: len(each.products) for each in source_rows(tmp_path)}
    assert found == {"hipblaslt_logic": 1, "hipblaslt_logic with bias, fp16": 1}


def test_an_empty_folder_gives_no_set(tmp_path: Path) -> None:
    assert thin.load(tmp_path) == transfer.load(tmp_path) == authors.load(tmp_path) == ()


def test_the_authors_rate_becomes_a_time(tmp_path: Path) -> None:
    write_paper(tmp_path, gemm="v100,m_sweep,gemm,1,1024,1024,4096,50.0\n")
    (rows,) = source_rows(tmp_path)
    assert rows.gpu.name == "v100-16gb"
    assert rows.products.time_s[0] == pytest.approx(2 * 1024 * 1024 * 4096 / 50e12)


def test_thin_sets_add_what_the_source_timed_besides(tmp_path: Path) -> None:
    """The authors' events add their fixed time to the predictor's GPU time."""
    write_paper(tmp_path, gemm="v100,m_sweep,gemm,1,1024,1024,4096,50.0\nv100,m_sweep,gemm,1,8192,8192,8192,80.0\n")
    (rows,) = source_rows(tmp_path, {"v100-16gb"})
    mapped = thin.mapped_rows(rows)
    from shapewright.calibrate.products import predicted

    extra = mapped.time_s - predicted(rows.products, rows.gpu).time_s
    assert extra[0] == pytest.approx(extra[1])
    assert 5e-6 < extra[0] < 60e-6


def test_left_out_sets_score_each_gpu_that_has_rows(tmp_path: Path) -> None:
    write_published(tmp_path, [deepbench("NN", n=n) for n in range(256, 4096, 256)])
    found = transfer.load(tmp_path)
    assert [each.name for each in found] == ["left-out-v100-16gb"]
    assert (found[0].low_s <= found[0].predicted_s).all()
    assert (found[0].predicted_s <= found[0].high_s).all()


def test_operators_of_a_layer_have_the_shapes_of_table_2(tmp_path: Path) -> None:
    names = ("key_value_query_transform", "key_query_prob", "prob_times_values", "linear_projection")
    lines = [f"a100,h_sweep,128,8192,4,2048,2,estimate_attention_{name},tflops,200.0" for name in names]
    lines += [f"a100,h_sweep,128,8192,4,2048,2,estimate_mlp_{name},tflops,200.0" for name in ("h_to_4h", "4h_to_h")]
    write_paper(tmp_path, layers="\n".join(lines) + "\n")
    products = authors.layer_products(read_table(tmp_path / "paper/layers.csv"))
    found = list(zip(*(getattr(products, name).tolist() for name in ("batch", "m", "n", "k", "layout")), strict=True))
    assert found == [
        (1, 8192, 12288, 8192, "NT"), (256, 2048, 2048, 64, "NT"), (256, 2048, 64, 2048, "NN"),
        (1, 8192, 8192, 4096, "NT"), (1, 8192, 16384, 8192, "NT"), (1, 8192, 8192, 16384, "NT"),
    ]  # fmt: skip


def test_sweeps_hold_what_their_scripts_timed(tmp_path: Path) -> None:
    """The sums of products lack softmax and dropout; a layer of tp_h_sweep runs whole whatever its tensor_parallel."""
    lines = [
        f"a100,{sweep},128,{h},4,2048,{t},{block},seconds,{0.05 + h * 1e-6}"
        for sweep, t in (("h_sweep", 1), ("tp_h_sweep", 1), ("tp_h_sweep", 8))
        for h in range(8192, 16384, 1024)
        for block in ("attention", "mlp", "transformer")
    ]
    write_paper(tmp_path, layers="\n".join(lines) + "\n")
    sets = {each.name: each for each in authors.load(tmp_path)}
    assert list(sets) == ["authors-attention", "authors-mlp", "authors-layer"]
    attention = sets["authors-attention"]
    products, whole = attention.regimes["h_sweep"], attention.regimes["tp_h_sweep"]
    # 6.5 passes over 4 x 128 x 2048 x 2048 fp16 scores at 1.555 TB/s take 13 ms at least.
    assert (attention.limit_s[whole][:8] - attention.limit_s[products] > 8e-3).all()
    assert np.array_equal(attention.limit_s[whole][:8], attention.limit_s[whole][8:])


def test_of_a_run_the_plain_products_of_16_bits_are_taken(tmp_path: Path) -> None:
    """Compiled products, fp8, other kinds and failed rows are left aside; times are as they stand."""
    from dataclasses import replace

    from shapewright.calibrate.sources import run_products
    from shapewright.measure.points import GemmPoint, HostPoint
    from unit.calibrate.measuring.made_runs import gemm_row, row_of, write_run

    plain = GemmPoint(m=64, n=128, k=256)
    kept = [plain, replace(plain, dtype="fp16", layout="TN"), replace(plain, batch=4, call="bmm")]
    left = [replace(plain, runtime="compiled"), replace(plain, dtype="fp8"), replace(plain, call="linear", split=2)]
    rows = [gemm_row(point) | {"num_calls": 200} for point in (*kept, *left)]
    rows += [row_of(HostPoint(what="launch"), 1e-6), gemm_row(replace(plain, m=65)) | {"status": "crashed", "error": "killed"}]
    write_run(tmp_path / "misalignment.jsonl", rows)
    products = run_products(read_table(tmp_path / "misalignment.jsonl"))
    assert products.time_s.tolist() == [gemm_row(point)["time_s"] for point in kept]
    assert products.layout.tolist() == ["NT", "TN", "NT"] and products.batch.tolist() == [1, 1, 4]
