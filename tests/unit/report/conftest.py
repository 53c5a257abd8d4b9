"""A hand-made `Explanation` with every kind of work and round numbers, so that what is shown can be checked by eye."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from shapewright.hardware.gpu import Gpu
from shapewright.operators.memory import MemoryUse
from shapewright.operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryPass, Operator, Work
from shapewright.predict.estimate import Estimate, TimePart
from shapewright.predict.explanation import Explanation, LayerTime, OperatorTime, PassTime, StepTime
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
