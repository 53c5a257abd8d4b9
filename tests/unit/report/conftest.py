"""Hand-made answers with round numbers, so that what is shown can be checked by eye: an explanation, and a run of the linter."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from shapewright.hardware.gpu import Gpu
from shapewright.lint.finding import Finding, Fix, Price
from shapewright.lint.linter import Linted
from shapewright.lint.rule import load_rules
from shapewright.operators.memory import MemoryUse
from shapewright.operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryPass, Operator, Work
from shapewright.predict.estimate import Estimate, TimePart
from shapewright.predict.explanation import Explanation, LayerTime, OperatorTime, PassTime, StepTime
from shapewright.read.source import LoadedShape
from shapewright.report.lint_run import LintRun
from shapewright.shape import ModelShape
from shapewright.workload import Workload

SHAPE = ModelShape(
    name="toy", hidden_size=512, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=8, head_dim=64,
    intermediate_size=1536, vocab_size=50304, max_position_embeddings=2048,
)  # fmt: skip
GPU = Gpu(
    name="toy-gpu", full_name="Toy GPU 16 GB", vendor="nvidia", architecture="ampere", num_sms=100, clock_hz=1e9,
    memory_bytes=16_000_000_000, memory_bytes_per_s=1e12, l2_bytes=40_000_000, shared_memory_bytes=163_840, tdp_w=300.0,
    flops_per_s=MappingProxyType({"bf16": 100e12, "fp32": 10e12}), vector_flops_per_s=10e12,
    sources=MappingProxyType({"num_sms": "https://example.org/toy"}),
)  # fmt: skip
WORKS: tuple[tuple[str, str, str, Work], ...] = (
    ("qkv", "gemm", "forward", Gemm(m=8192, n=1536, k=512)),
    ("scores", "bmm", "forward", Gemm(batch=32, m=2048, n=2048, k=64, layout="NN")),
    ("experts", "grouped_gemm", "forward", GroupedGemm(num_rows=16384, num_groups=8, num_active_groups=8.0, n=1536, k=512)),
    ("norm", "norm", "forward", MemoryPass(pattern="norm", read_bytes=8e6, written_bytes=8e6)),
    ("attention", "attention", "backward", FlashAttention(
        batch=4, num_heads=8, num_kv_heads=8, query_len=2048, kv_len=2048, qk_head_dim=64, v_head_dim=64, is_backward=True)),
    ("gradients", "collective", "backward", Collective(name="all_reduce", message_bytes=1e8, group_size=8)),
)  # fmt: skip


def timed(name: str, kind: str, part: str, work: Work, share: float) -> OperatorTime:
    """An operator of 4 calls of 100 us, 90 us of them the roofline's."""
    estimate = Estimate(
        time_s=1e-4, low_s=9.5e-5, high_s=1.1e-4, limit_s=9e-5, bound_by="memory" if kind == "norm" else "compute", provenance="datasheet",
        parts=(TimePart(name="launch", time_s=2e-6, reason="one kernel"), TimePart(name="work", time_s=9.8e-5, reason="the rest")),
        reasons=("aligned to 64 elements", "tile 128 x 256", "7.7 waves, the last 70 % full"),
    )  # fmt: skip
    operator = Operator(name=name, kind=kind, layer="full+dense", part=part, work=work, count=4)  # type: ignore[arg-type]
    return OperatorTime(operator=operator, estimate=estimate, share=share)


def explanation(*, workload: Workload | None = None, memory_bytes: float = 1e9) -> Explanation:
    asked = workload or Workload(dtype="bf16")
    backward = PassTime(time_s=8e-4, flops=4e10) if asked.phase == "train" else None
    return Explanation(
        shape=SHAPE,
        workload=asked,
        gpu=GPU,
        operators=tuple(timed(*row, share=1 / len(WORKS)) for row in WORKS),
        layers=(LayerTime(kind=SHAPE.layer_kinds[0], forward=PassTime(time_s=4e-4, flops=2e10), backward=backward),),
        step=StepTime(
            time_s=0.02, low_s=0.019, high_s=0.022, flops=1e12, tokens_per_s=409_600.0, mfu=0.5, gpu_s=0.02, host_s=0.0,
            bubble_s=0.0, num_launches=24,
        ),
        memory=MemoryUse(
            parameters=memory_bytes, gradients=1e9, optimizer_states=6e9, activations=2e9, kv_cache=0.0, workspace=0.0
        ),
        provenance="datasheet",
        notes=("the toy has no notes of its own",),
    )  # fmt: skip


@pytest.fixture
def make_explanation():
    return explanation


def finding(**changes: Any) -> Finding:
    """A vocabulary that costs 40.5 of 357 ms on one GPU, less on another, and nothing clear of the noise on two more."""
    prices = (
        Price(gpu="h200", cost_s=0.0405, step_s=0.357, low=0.102, high=0.126, is_raised=True),
        Price(gpu="a100-40gb", cost_s=0.051, step_s=0.858, low=0.05, high=0.07, is_raised=True),
        Price(gpu="v100-16gb", cost_s=0.004, step_s=1.2, low=-0.001, high=0.008, is_raised=False),
        Price(gpu="mi250x", cost_s=0.0, step_s=math.inf, low=0.0, high=0.0, is_raised=False),
    )
    fix = Fix(
        values=(("vocab_size", 50304),), params_change=4.5e-5, step_s=(0.316, 0.807, 1.196, math.nan),
        shares=(0.1134, 0.0594, 0.0033, math.nan), is_safe=True, is_workload=False
    )  # fmt: skip
    values: dict[str, Any] = {
        "code": "SW101", "name": "VocabNotPadded", "model": "toy", "file": "gpt/config.json", "line": 3, "field": "vocab_size",
        "value": 50257, "message": "vocab_size 50257 is odd: the logit products leave the tensor cores' fast path",
        "prices": prices, "fixes": (fix,),
    }  # fmt: skip
    return Finding(**values | changes)


STEPS = (("h200", 0.357), ("a100-40gb", 0.858), ("v100-16gb", 1.2), ("mi250x", 0.9))
TEXT = '{\n  "n_embd": 512,\n  "vocab_size": 50257,\n  "n_layer": 4\n}\n'


def linted(*findings: Finding, origin: str = "gpt/config.json") -> Linted:
    return Linted(loaded=LoadedShape(shape=SHAPE, origin=origin), findings=findings, step_s=STEPS)


def lint_run(*models: Linted, **changes: Any) -> LintRun:
    """A run over `models`; without any, over one with one finding."""
    run = LintRun(rules=load_rules(), fail_over=0.01)
    for each in models or (linted(finding()),):
        run = run.added(each, texts={"gpt/config.json": TEXT})
    return replace(run, **changes)


@pytest.fixture
def make_finding():
    return finding


@pytest.fixture
def make_linted():
    return linted


@pytest.fixture
def make_run():
    return lint_run
