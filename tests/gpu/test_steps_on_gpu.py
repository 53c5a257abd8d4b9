"""Layers, models and collectives on a GPU: kernels are counted, memory is measured, and the sum of kernels stays below the wall time."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from shapewright.measure.clock import Clock, Protocol  # noqa: E402
from shapewright.measure.devices import Card, open_device  # noqa: E402
from shapewright.measure.operands import Operands  # noqa: E402
from shapewright.measure.points import CollectivePoint, LayerPoint, ModelPoint  # noqa: E402
from shapewright.measure.runners import Bench, collectives, measure, prepare  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    # What torch 2.11 says while it compiles.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning", "ignore:TensorFloat32 tensor cores:UserWarning"),
]
SMALL = "hidden_size=1024,num_attention_heads=8,intermediate_size=2816"
PHASES: tuple[Any, ...] = ("forward", "train")


def gpu_bench() -> Bench:
    device, protocol = open_device(), Protocol(round_s=0.05)
    return Bench(device=device, clock=Clock(device, protocol), card=Card(device), operands=Operands(device, protocol))


@pytest.mark.parametrize("source", ["hf", "reference"])
def test_kernels_and_memory_of_a_layer(source: Any) -> None:
    if source == "hf":
        pytest.importorskip("transformers")
    points = [LayerPoint(model="llama-2-7b", changes=SMALL, source=source, phase=phase, sequence=1024, rounds=3) for phase in PHASES]

    forward, train = (outcome.columns for outcome in measure(points, gpu_bench()))

    assert 15 <= float(forward["num_launches"]) < float(train["num_launches"]) < 400
    assert 0 < float(forward["kernel_s"]) < float(train["kernel_s"])
    assert float(forward["kernel_s"]) < 1.1 * float(forward["time_s"])
    assert 0 < float(forward["peak_memory_bytes"]) < float(train["peak_memory_bytes"])


def test_a_model_decodes_eager_and_compiled() -> None:
    pytest.importorskip("transformers")
    runtimes: tuple[Any, ...] = ("eager", "compiled")
    for runtime in runtimes:
        point = ModelPoint(model="llama-2-7b", changes=SMALL, phase="decode", context=512, num_layers=2, runtime=runtime, rounds=3)
        outcome = measure([point], gpu_bench())[0]
        assert outcome.error is None
        assert float(outcome.columns["num_launches"]) > 10
        assert outcome.columns["cache"] == ("static" if runtime == "compiled" else "dynamic")


def test_what_exceeds_the_memory_is_an_error_of_its_own_and_leaves_none_held() -> None:
    bench = gpu_bench()
    held = torch.cuda.memory_allocated()
    too_large = LayerPoint(model="llama-2-7b", source="reference", phase="train", micro_batch=4096, sequence=65536, rounds=1)
    fits = LayerPoint(model="llama-2-7b", changes=SMALL, source="reference", sequence=512, rounds=1)

    found = measure([too_large, fits], bench)

    assert "out of memory" in str(found[0].error).lower()
    assert found[1].error is None
    assert torch.cuda.memory_allocated() <= held + 2**26


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch sees fewer than 2 GPUs")
def test_collectives_of_two_gpus() -> None:
    names: tuple[Any, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
    try:
        for name in names:
            prepared = prepare(CollectivePoint(name=name, message_bytes=2**24, group_size=2), gpu_bench())
            assert prepared.timing is not None
            assert (prepared.timing.method, prepared.facts["backend"]) == ("events", "nccl")
    finally:
        collectives._GROUP.end()
