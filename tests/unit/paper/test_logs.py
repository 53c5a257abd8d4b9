"""The authors' logs as rows of figures, and predictions as the logs would have read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.hardware.load import load_gpu
from shapewright.measure.points import AttentionPoint, GemmPoint
from shapewright.paper.figure import all_figures, load_figure
from shapewright.paper.logs import AsLogged, log_rows
from shapewright.paper.reports import reports
from shapewright.paper.times import Predicted

LOGS = Path(__file__).parents[4] / "shared/data/paper"
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason="the authors' logs are not beside the repository (../shared/data/paper)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gemm.csv").write_text(
        "gpu,sweep,op,batch,m,n,k,tflops\n"
        "a100,ksweep_low,gemm,1,27648,256,4096,227.2\nv100,bsweep,bmm,8,2048,2048,2048,66.1\na100,vocab_v,gemm,1,8192,14336,51200,255.0\n"
    )
    (tmp_path / "layers.csv").write_text(
        "gpu,sweep,heads,hidden_size,micro_batch,sequence,tensor_parallel,component,unit,value\n"
        "a100,h_sweep,128,8192,4,2048,1,estimate_attention_key_query_prob,tflops,62.6\n"
        "a100,h_sweep,128,8192,4,2048,2,estimate_attention_key_query_prob,tflops,61.0\n"
        "a100,h_sweep,128,8192,4,2048,4,estimate_attention_key_value_query_transform,tflops,242.9\n"
        "a100,tp_h_sweep,128,2048,4,2048,8,attention,tflops,2.4\n"
        "a100,tp_h_sweep,128,2048,4,2048,8,attention,seconds,0.1\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("figure", "wanted"),
    [
        ("5b", [("a100-40gb", "", 256, 227.2)]),
        ("6a", [("v100-16gb", "m=2048", 8, 66.1)]),
        ("20a", [("a100-40gb", "as printed, v inside", 51200, 255.0)]),
        ("17", [("a100-40gb", "", 8192, 62.6)]),
        ("31", [("a100-40gb", "pow2=64", 8192, 62.6)]),
        ("16", [("a100-40gb", "as printed, t=8", 2048, 2.4), ("a100-40gb", "t=4", 8192, 242.9)]),
        ("7a", []),
    ],
)  # fmt: skip
def test_rows_stand_under_the_figures_own_names(folder: Path, figure: str, wanted: list[tuple[str, str, int, float]]) -> None:
    assert [(row.gpu, row.series, row.x, row.y) for row in log_rows(load_figure(figure), folder)] == wanted


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        log_rows(load_figure("5b"), tmp_path / "none")


def test_small_products_hold_the_launch_that_the_log_timed() -> None:
    """A call between two events on a V100: the profile keeps the seconds that the authors' clock adds."""
    inner = Predicted(gpu=load_gpu("v100-16gb"))
    points = [GemmPoint(m=m, n=m, k=4096, dtype="fp16", layout="NN") for m in (64, 8192)]
    (small, large), (small_logged, large_logged) = inner.of(points), AsLogged(inner=inner).of(points)
    assert small and large and small_logged and large_logged
    assert small_logged.time_s > 1.5 * small.time_s and large_logged.time_s == pytest.approx(large.time_s, rel=0.05)


def test_what_is_no_product_stays_as_it_is() -> None:
    inner = Predicted(gpu=load_gpu("a100-40gb"))
    point = AttentionPoint(batch=4, num_heads=16, num_kv_heads=16, query_len=2048, kv_len=2048, head_dim=64, dtype="fp16", backend="flash")
    assert AsLogged(inner=inner).of([point]) == inner.of([point])


@needs_logs
@pytest.mark.parametrize(
    ("figure", "gpu", "least"),
    [
        ("10a", "a100-40gb", 7), ("15", "a100-40gb", 7), ("18", "a100-40gb", 7), ("19", "a100-40gb", 7), ("20a", "a100-40gb", 7),
        ("20b", "a100-40gb", 7), ("5b", "v100-16gb", 8), ("5c", "v100-16gb", 8), ("6a", "v100-16gb", 8), ("5b", "mi250x", 8),
        ("6a", "mi250x", 8),
    ],
)  # fmt: skip
def test_predictions_lie_near_the_authors_logs(figure: str, gpu: str, least: float) -> None:
    found = [each for each in reports(load_figure(figure), [Predicted(gpu=load_gpu(gpu))], logs=LOGS) if each.source == "log"]
    assert len(found) == 1 and found[0].mean < least


@needs_logs
def test_every_logged_figure_has_rows() -> None:
    assert all(log_rows(figure, LOGS) for figure in all_figures() if figure.logs)
