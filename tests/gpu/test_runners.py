"""Plain runners on a GPU: results against float64 on the CPU, capture in a graph, what happens where a capture fails, names of kernels."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from shapewright.measure.clock import Prepared  # noqa: E402
from shapewright.measure.devices import open_device  # noqa: E402
from shapewright.measure.kernels import kernel_names  # noqa: E402
from shapewright.measure.memory_ops import MEMORY_OPS  # noqa: E402
from shapewright.measure.points import AttentionPoint, GemmPoint, HostPoint, MemoryPoint, OptimizerPoint, Point  # noqa: E402
from shapewright.measure.runners import Bench, open_bench, prepare  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    # What torch 2.11 says while it compiles.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning", "ignore:TensorFloat32 tensor cores:UserWarning"),
]

ATTENTION: dict[str, Any] = {"batch": 2, "num_heads": 8, "num_kv_heads": 2, "query_len": 128, "kv_len": 128, "head_dim": 64}
BACKENDS = ("flash", "efficient", "cudnn", "math", "unfused")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return open_bench(open_device("cuda"))


POINTS: list[Point] = [
    GemmPoint(m=512, n=256, k=128),
    GemmPoint(m=512, n=256, k=128, batch=4, call="bmm", layout="TN"),
    GemmPoint(m=512, n=256, k=128, call="linear", split=2, order="sbk"),
    GemmPoint(m=512, n=256, k=128, dtype="tf32"),
    GemmPoint(m=512, n=256, k=128, runtime="compiled"),
    *(MemoryPoint(op=op, rows=256, width=512) for op in sorted(MEMORY_OPS)),
    *(MemoryPoint(op=op, rows=256, width=512, is_backward=True) for op in sorted(MEMORY_OPS) if MEMORY_OPS[op].backward),
    MemoryPoint(op="rms_norm", rows=256, width=512, runtime="compiled"),
    MemoryPoint(op="rms_norm", rows=256, width=512, runtime="compiled", is_backward=True),
    OptimizerPoint(num_params=10**6),
    OptimizerPoint(num_params=10**6, variant="foreach"),
    HostPoint(what="replay"),
    *(AttentionPoint(**ATTENTION, backend="unfused", is_backward=is_backward, has_dropout=True) for is_backward in (False, True)),
    *(AttentionPoint(**ATTENTION | {"num_kv_heads": 8}, backend=name, is_backward=True) for name in BACKENDS),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_points_are_captured(point: Point, bench: Bench) -> None:
    """Backward passes too: a fallback to events would time the host."""
    timing = bench.clock.time(prepare(point, bench))
    assert timing.method == "graph"
    assert 0 < timing.min_s <= timing.time_s <= timing.max_s < 1e-2


@pytest.mark.parametrize("what", ["launch", "module"])
def test_the_host_is_timed(what: Any, bench: Bench) -> None:
    timing = bench.clock.time(prepare(HostPoint(what=what), bench))
    assert timing.method == "host"
    assert 1e-7 < timing.time_s < 1e-3


@pytest.mark.parametrize("layout", ["NT", "NN", "TN"])
def test_products(layout: Any, bench: Bench) -> None:
    point = GemmPoint(m=96, n=80, k=64, batch=3, call="bmm", layout=layout)
    x, w = (each.double().cpu() for each in bench.operands.take([3 * 96 * 64, 3 * 64 * 80], "bf16", 0))
    left = x.view(3, 64, 96).transpose(1, 2) if layout == "TN" else x.view(3, 96, 64)
    right = w.view(3, 80, 64).transpose(1, 2) if layout == "NT" else w.view(3, 64, 80)
    found = prepare(point, bench).calls[0]().double().cpu()
    assert (found - left @ right).abs().max() < 0.01 * found.abs().max()


def test_fp8_products(bench: Bench) -> None:
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU multiplies no fp8")
    point = GemmPoint(m=96, n=80, k=64, dtype="fp8")
    x, w = (each.double().cpu() for each in bench.operands.take([96 * 64, 80 * 64], "fp8", 0))
    found = prepare(point, bench).calls[0]().double().cpu()
    assert (found - x.view(96, 64) @ w.view(80, 64).t()).abs().max() < 0.01 * found.abs().max()
    assert bench.clock.time(prepare(point, bench)).method == "graph"


@pytest.mark.parametrize("query_len", [1, 32, 128])
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention(backend: Any, query_len: int, bench: Bench) -> None:
    """Bottom-right causal attention; every backend agrees with the plain formula, or says why it does not run."""
    point = AttentionPoint(**ATTENTION | {"num_kv_heads": 8, "query_len": query_len}, backend=backend)
    try:
        found = prepare(point, bench).calls[0]()
    except RuntimeError as error:
        assert "refuses this attention" in str(error)
        pytest.skip(str(error))
    sizes = [2 * length * 8 * 64 for length in (query_len, 128, 128)]
    flat = [each.double().cpu() for each in bench.operands.take(sizes, "bf16", 0)]
    places, order = ((-1, 2, 8, 64), (1, 2, 0, 3)) if backend == "unfused" else ((2, -1, 8, 64), (0, 2, 1, 3))
    q, k, v = (each.view(*places).permute(*order) for each in flat)
    hidden = torch.full((query_len, 128), float("-inf"), dtype=torch.float64).triu(128 - query_len + 1)
    expected = (q @ k.transpose(2, 3) / 8 + hidden).softmax(-1) @ v
    assert (found.double().cpu().reshape(expected.shape) - expected).abs().max() < 0.03


def test_a_call_that_cannot_be_captured_is_timed_by_events(bench: Bench) -> None:
    """Nothing is left behind: memory can be freed, and the next capture works."""
    x = torch.ones(64, device="cuda")
    assert bench.clock.time(Prepared(calls=[lambda: x.sum().item()])).method == "events"
    large = torch.empty(2**28, device="cuda", dtype=torch.uint8)
    reserved = torch.cuda.memory_reserved()
    del large
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < reserved
    assert bench.clock.time(prepare(GemmPoint(m=64, n=64, k=64), bench)).method == "graph"


def test_an_error_amid_a_capture_comes_out_and_leaves_the_clock_usable(bench: Bench) -> None:
    x, made = torch.ones(64, device="cuda"), []

    def fail_later() -> None:
        made.append(x + 1)
        if torch.cuda.is_current_stream_capturing():
            raise ValueError("amid the capture")

    with pytest.raises(ValueError, match="amid the capture"):
        bench.clock.time(Prepared(calls=[fail_later]))
    assert bench.clock.time(prepare(GemmPoint(m=64, n=64, k=64), bench)).method == "graph"


def test_out_of_memory_comes_out_as_such(bench: Bench) -> None:
    point = MemoryPoint(op="pow_tensor", rows=2**20, width=2**20)
    with pytest.raises(torch.OutOfMemoryError):
        prepare(point, bench)
    assert bench.clock.time(prepare(GemmPoint(m=64, n=64, k=64), bench)).method == "graph"


def test_kernels_are_named_point_by_point(bench: Bench) -> None:
    points = [
        MemoryPoint(op="softmax", rows=64, width=512), GemmPoint(m=512, n=256, k=128), MemoryPoint(op="silu_mul", rows=64, width=512),
        MemoryPoint(op="softmax", rows=64, width=512, is_backward=True),
    ]  # fmt: skip
    calls = [prepare(point, bench).calls[0] for point in points]
    for call in calls:
        call()
    softmax, gemm, silu_mul, backward = kernel_names(calls, bench.device)
    assert "softmax" in softmax.lower()
    assert "softmax" not in gemm.lower()
    assert gemm
    assert silu_mul.count(" + ") == 1
    assert "backward" in backward.lower()
