"""From operators to layers and steps: pipelines, replicas, the host's launches, tokens and FLOPs per second."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import shapewright as sw
from shapewright.hardware.load import load_gpu
from shapewright.predict.estimate import Estimate, Provenance, TimePart
from shapewright.predict.explanation import Explanation, OperatorTime
from shapewright.predict.profiles import load_profile
from shapewright.predict.step import num_launches, overall_provenance

GPT3 = sw.load_shape("gpt3-2.7b")
LLAMA = sw.load_shape("llama-2-7b")
MODELS = ("gpt3-2.7b", "llama-2-7b", "mixtral-8x7b", "gemma-2-9b", "phi-2", "deepseek-v2-lite")
PHASES = ("train", "forward", "prefill", "decode")


def micro_batch_s(answer: Explanation) -> float:
    return sum(time.total_s for time in answer.operators if time.operator.part != "optimizer")


def once_s(answer: Explanation) -> float:
    return sum(time.total_s for time in answer.operators if time.operator.part == "optimizer")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", PHASES)
def test_operators_add_up_to_the_step(model: str, phase: str) -> None:
    answer = sw.explain(model, "h200", phase=phase)
    assert math.fsum(time.total_s for time in answer.operators) == pytest.approx(answer.step.gpu_s, rel=1e-9)
    assert answer.step.time_s == answer.step.gpu_s
    assert math.fsum(time.share for time in answer.operators) == pytest.approx(1)
    assert answer.step.low_s < answer.step.time_s < answer.step.high_s
    assert 0 < answer.step.mfu < 1


@pytest.mark.parametrize("model", MODELS)
def test_flops_listed_are_the_flops_of_the_step(model: str) -> None:
    answer = sw.explain(model, "h200")
    assert sum(time.operator.flops * time.operator.count for time in answer.operators) == pytest.approx(answer.step.flops, rel=1e-12)
    assert answer.step.mfu == pytest.approx(answer.step.flops_per_s / answer.gpu.flops_per_s["bf16"])
    assert answer.step.tokens_per_s == pytest.approx(4 * 2048 / answer.step.time_s)


@pytest.mark.parametrize("model", MODELS)
def test_layers_and_what_surrounds_them_add_up(model: str) -> None:
    answer = sw.explain(model, "h200")
    layers = sum((layer.forward.time_s + layer.backward.time_s) * layer.kind.count for layer in answer.layers if layer.backward)
    outside = {"embedding", "head", "step"}
    assert layers == pytest.approx(sum(time.total_s for time in answer.operators if time.operator.layer not in outside))
    counts = [layer.kind.count for layer in answer.layers]
    assert counts == sorted(counts, reverse=True) and sum(counts) == answer.shape.num_hidden_layers
    assert answer.layer == answer.layers[0]


def test_the_most_frequent_layer_stands_first_though_it_runs_later() -> None:
    """DeepSeek-V3: three dense layers, then 58 with experts."""
    answer = sw.explain("deepseek-v3", "h200")
    assert [(layer.kind.mlp, layer.kind.count) for layer in answer.layers] == [("moe", 58), ("dense", 3)]


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 4), (2, 1), (4, 8), (8, 2)])
def test_a_pipeline_waits_for_its_stages(stages: int, micro_batches: int) -> None:
    answer = sw.explain(GPT3, "h200", pipeline_parallel=stages, micro_batch=2, global_batch=2 * micro_batches)
    one, once = micro_batch_s(answer), once_s(answer)
    assert once > 0
    assert answer.step.time_s == pytest.approx((micro_batches + stages - 1) * one + once)
    assert answer.step.bubble_s == pytest.approx((stages - 1) * one)
    assert answer.step.tokens_per_s == pytest.approx(2 * micro_batches * 2048 / answer.step.time_s)


def test_more_micro_batches_hide_the_bubble() -> None:
    few, many = (sw.explain(GPT3, "h200", pipeline_parallel=4, micro_batch=2, global_batch=2 * count).step for count in (4, 64))
    assert many.tokens_per_s > 1.5 * few.tokens_per_s
    assert many.mfu > 1.5 * few.mfu


def test_replicas_scale_the_tokens() -> None:
    one, four, eight = (sw.explain(GPT3, "h200", data_parallel=size).step for size in (1, 4, 8))
    assert 3.5 < four.tokens_per_s / one.tokens_per_s < 4
    assert 7 < eight.tokens_per_s / one.tokens_per_s < 8
    assert eight.flops == 8 * one.flops
    # Every replica also exchanges gradients.
    assert one.time_s < four.time_s < eight.time_s


def test_splitting_the_model_does_not_change_its_flops() -> None:
    one, split = (
        sw.explain(GPT3, "h200", **sizes).step for sizes in ({}, {"tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 2})
    )
    assert split.flops == 2 * one.flops
    assert split.mfu == pytest.approx(split.flops / (split.time_s * 8 * 989.4e12))


def test_gradient_accumulation_repeats_the_micro_batch_only() -> None:
    once, repeated = (sw.explain(GPT3, "h200", micro_batch=4, global_batch=4 * count) for count in (1, 16))
    assert repeated.step.time_s == pytest.approx(16 * micro_batch_s(repeated) + once_s(repeated))
    assert repeated.step.flops == 16 * once.step.flops
    assert repeated.step.tokens_per_s > once.step.tokens_per_s


def test_training_is_three_forward_passes_of_flops() -> None:
    for attention in ("unfused", "flash"):
        train, forward = (sw.explain(GPT3, "h200", phase=phase, attention=attention) for phase in ("train", "forward"))
        assert train.step.flops == pytest.approx(3 * forward.step.flops, rel=1e-12)
        layer = train.layer
        assert layer.backward is not None
        assert layer.backward.flops == pytest.approx(2 * layer.forward.flops, rel=1e-12)


def test_recomputation_costs_time_and_no_model_flops() -> None:
    plain, again = (sw.explain(GPT3, "h200", recompute=kind) for kind in ("none", "full"))
    assert again.step.flops == plain.step.flops
    assert again.layer.backward is not None and plain.layer.backward is not None
    assert again.layer.backward.time_s == pytest.approx(plain.layer.backward.time_s + plain.layer.forward.time_s)
    assert again.layer.backward.flops == plain.layer.backward.flops
    assert again.step.mfu < plain.step.mfu


def test_only_training_has_a_backward_pass() -> None:
    for phase in ("forward", "prefill", "decode"):
        answer = sw.explain(LLAMA, "h200", phase=phase)
        assert answer.layer.backward is None and once_s(answer) == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", PHASES)
def test_runtimes_are_ordered(model: str, phase: str) -> None:
    """Eager is the same kernels or the host's launches; compiled has fewer kernels and fewer bytes.

    A norm fused with the residual sum moves the sum's bytes at the norm's rate, which on the H200 may cost the last percent.
    """
    graph, eager, compiled = (sw.explain(model, "h200", phase=phase, runtime=name).step for name in ("graph", "eager", "compiled"))
    assert eager.time_s == max(eager.gpu_s, eager.host_s) >= graph.time_s
    assert eager.gpu_s == graph.gpu_s and graph.host_s == compiled.host_s == 0
    assert compiled.time_s < graph.time_s
    assert compiled.num_launches < graph.num_launches == eager.num_launches
    assert compiled.flops == graph.flops


def test_eager_decode_waits_for_the_host() -> None:
    """Hugging Face decodes Llama-2-7B at 47 to 50 tokens/s on an H200; its memory would allow three times as much."""
    eager, graph = (sw.explain(LLAMA, "h200", phase="decode", micro_batch=1, context=512, runtime=name) for name in ("eager", "graph"))
    assert 35 < eager.step.tokens_per_s < 65
    assert eager.step.host_s == eager.step.time_s
    spread = load_profile(load_gpu("h200")).spreads["host"]
    assert eager.step.low_s == pytest.approx(eager.step.host_s * spread.low)
    assert eager.step.high_s == pytest.approx(eager.step.host_s * spread.high)
    assert graph.step.tokens_per_s > 2.5 * eager.step.tokens_per_s
    weights_s = 2 * 6.607e9 / graph.gpu.memory_bytes_per_s  # all but the input embedding, read once a token
    compiled = sw.explain(LLAMA, "h200", phase="decode", micro_batch=1, context=512, runtime="compiled")
    assert weights_s < compiled.step.time_s < graph.step.time_s < 2.5 * weights_s


def test_training_a_large_model_does_not() -> None:
    eager = sw.explain(LLAMA, "h200", runtime="eager").step
    assert eager.host_s < eager.gpu_s == eager.time_s


def test_launches_are_counted_by_kernel() -> None:
    answer = sw.explain(LLAMA, "h200", phase="decode", micro_batch=1)
    assert answer.step.num_launches == sum(num_launches(time.operator) * time.operator.count for time in answer.operators)
    norm = next(time.operator for time in answer.operators if time.operator.name == "norm1")
    product = next(time.operator for time in answer.operators if time.operator.name == "mlp_down")
    assert num_launches(norm) > 1 and num_launches(product) == 1


def test_every_micro_batch_is_launched_anew() -> None:
    one, four = (sw.explain("gpt2", "h200", runtime="eager", micro_batch=1, sequence=64, global_batch=count).step for count in (1, 4))
    answer = sw.explain("gpt2", "h200", runtime="eager", micro_batch=1, sequence=64, global_batch=4)
    once = sum(num_launches(time.operator) * time.operator.count for time in answer.operators if time.operator.part == "optimizer")
    batch = sum(num_launches(time.operator) * time.operator.count for time in answer.operators) - once
    assert four.num_launches == 4 * batch + once
    # So short a step waits for the host, and four micro-batches wait four times.
    assert four.time_s == four.host_s > 3.5 * one.time_s


def test_decode_slows_down_with_context() -> None:
    times = [
        sw.explain("llama-3.1-8b", "h200", phase="decode", micro_batch=8, context=context).step.time_s for context in (1, 512, 8192, 65536)
    ]
    assert times == sorted(times) and times[-1] > 1.5 * times[0]


def test_decode_makes_one_token_for_each_sequence() -> None:
    small, large = (sw.explain(LLAMA, "h200", phase="decode", micro_batch=size, context=512).step for size in (1, 16))
    assert small.tokens_per_s == pytest.approx(1 / small.time_s) and large.tokens_per_s == pytest.approx(16 / large.time_s)
    # Weights are read once for all of them.
    assert large.time_s < 1.5 * small.time_s


def test_prefill_makes_logits_of_the_last_token_only() -> None:
    prefill, forward = (sw.explain(LLAMA, "h200", phase=phase) for phase in ("prefill", "forward"))
    rows = [next(time.operator.work for time in answer.operators if time.operator.name == "logits").m for answer in (prefill, forward)]
    assert rows == [4, 4 * 2048]
    assert prefill.step.flops == pytest.approx(forward.step.flops - 2 * 4 * 2047 * 4096 * 32000, rel=1e-12)
    assert prefill.step.tokens_per_s == pytest.approx(4 * 2048 / prefill.step.time_s)


def test_errors_of_one_kind_go_together_and_of_different_kinds_do_not() -> None:
    answer = sw.explain(LLAMA, "h200")
    whole = sum((time.estimate.high_s - time.estimate.time_s) * time.operator.count for time in answer.operators)
    above = answer.step.high_s - answer.step.time_s
    by_kind: dict[str, float] = {}
    for time in answer.operators:
        kind = type(time.operator.work).__name__
        by_kind[kind] = by_kind.get(kind, 0) + (time.estimate.high_s - time.estimate.time_s) * time.operator.count
    assert max(by_kind.values()) < above < whole


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 1), (1, 64), (4, 8)])
def test_the_interval_weighs_operators_as_often_as_they_run(stages: int, micro_batches: int) -> None:
    answer = sw.explain(GPT3, "h200", pipeline_parallel=stages, global_batch=4 * micro_batches)
    below: dict[str, float] = {}
    for time in answer.operators:
        calls = time.operator.count * (1 if time.operator.part == "optimizer" else micro_batches + stages - 1)
        kind = type(time.operator.work).__name__
        below[kind] = below.get(kind, 0) + (time.estimate.time_s - time.estimate.low_s) * calls
    assert answer.step.time_s - answer.step.low_s == pytest.approx(math.hypot(*below.values()))


def with_share(provenance: Provenance, share: float) -> OperatorTime:
    estimate = Estimate(
        time_s=share, low_s=share, high_s=share, limit_s=share, bound_by="compute", provenance=provenance,
        parts=(TimePart(name="all", time_s=share, reason=""),),
    )  # fmt: skip
    operator = sw.explain("gpt2", "h200", phase="decode").operators[0].operator
    return OperatorTime(operator=replace(operator, count=1), estimate=estimate, share=share)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"calibrated": 1.0}, "calibrated"),
        ({"calibrated": 0.97, "datasheet": 0.03}, "calibrated"),
        ({"calibrated": 0.9, "datasheet": 0.1}, "datasheet"),
        ({"measured": 0.5, "calibrated": 0.5}, "calibrated"),
        ({"measured": 1.0}, "measured"),
    ],
)
def test_the_weakest_share_worth_naming_speaks_for_the_whole(shares: dict[Provenance, float], expected: str) -> None:
    assert overall_provenance([with_share(provenance, share) for provenance, share in shares.items()]) == expected
