"""Every kind of work finds its model; long runs, experts and repeated operators."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from shapewright.errors import InputError
from shapewright.hardware import gpu_names, load_gpu, load_node
from shapewright.operators.types import Collective, FlashAttention, Gemm, GroupedGemm, MemoryChain, MemoryPass, Operator
from shapewright.predict.attention import estimate_attention
from shapewright.predict.collectives import estimate_collective
from shapewright.predict.estimate import Estimate, TimePart
from shapewright.predict.gemm import estimate_gemm
from shapewright.predict.memory_bound import estimate_memory
from shapewright.predict.operators import Machine, estimate_operators
from shapewright.predict.profiles import load_profile

BIG = Gemm(m=8192, n=11008, k=4096)
MISALIGNED = Gemm(m=8192, n=10923, k=4096)
FLAT = Gemm(m=16, n=11008, k=4096)
PASS = MemoryPass(pattern="norm", read_bytes=1e8, written_bytes=1e8)
FLASH = FlashAttention(batch=4, num_heads=32, num_kv_heads=32, query_len=2048, kv_len=2048, qk_head_dim=128, v_head_dim=128)
EXPERTS = GroupedGemm(num_rows=16384, num_groups=8, num_active_groups=8.0, n=14336, k=4096)


def machine(gpu: str = "h200", node: str | None = None) -> Machine:
    loaded = load_gpu(gpu)
    return Machine(gpu=loaded, profile=load_profile(loaded), node=load_node(node) if node else None)


def power_part(estimate: Estimate) -> TimePart | None:
    return next((part for part in estimate.parts if part.name == "power"), None)


def test_each_kind_of_work_goes_to_its_model() -> None:
    h200 = machine(node="dgx-h200")
    reduce = Collective(name="all_reduce", message_bytes=1e8, group_size=8)
    chain = MemoryChain(passes=(PASS, PASS))
    assert h200.estimate(FLAT) == estimate_gemm(FLAT, h200.gpu, h200.profile)
    assert h200.estimate(PASS) == estimate_memory(PASS, h200.gpu, h200.profile)
    assert h200.estimate(chain) == estimate_memory(chain, h200.gpu, h200.profile)
    assert h200.estimate(reduce) == estimate_collective(reduce, h200.node, h200.gpu, h200.profile)
    a100 = machine("a100-40gb")
    assert a100.estimate(FLASH) == estimate_attention(FLASH, a100.gpu, a100.profile, is_replayed=False)


def test_a_collective_on_a_lone_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="several GPUs need a node"):
        machine().estimate(Collective(name="all_reduce", message_bytes=1e8, group_size=8))


def test_busy_kernels_slow_down_at_the_power_limit() -> None:
    """H200: products at 770 to 807 TFLOP/s run 1.15 to 1.23 times as long in a long run; misaligned and flat ones keep their clock."""
    h200 = machine()
    burst, sustained = estimate_gemm(BIG, h200.gpu, h200.profile), h200.estimate(BIG)
    factor = sustained.time_s / burst.time_s
    assert 1.15 < factor < 1.24
    assert sustained.low_s / burst.low_s == pytest.approx(factor) == pytest.approx(sustained.high_s / burst.high_s)
    part = power_part(sustained)
    assert part is not None and part.time_s == pytest.approx(sustained.time_s - burst.time_s)
    assert sustained.reasons == (*burst.reasons, f"power limit +{factor - 1:.0%}")
    assert sustained.limit_s == burst.limit_s
    for work in (MISALIGNED, FLAT):
        assert h200.estimate(work) == estimate_gemm(work, h200.gpu, h200.profile)


def test_the_droop_grows_from_its_threshold() -> None:
    h200 = machine()
    power = h200.profile.power
    for work in (BIG, FLASH, EXPERTS, Gemm(m=2048, n=2048, k=2048), Gemm(m=512, n=4096, k=4096)):
        estimate = h200.estimate(work)
        part = power_part(estimate)
        burst_s = estimate.time_s - (part.time_s if part else 0)
        flops = work.executed_flops if isinstance(work, FlashAttention) else work.flops
        busy = flops / (burst_s * h200.gpu.flops_per_s["bf16"])
        assert estimate.time_s / burst_s == pytest.approx(
            1 + power.slope * max(0, busy - power.threshold) / (1 + power.held_per_tflop * flops / 1e12)
        )


@pytest.mark.parametrize("gpu", ["a100-40gb", "a100-80gb", "v100", "mi250x"])
def test_gpus_measured_under_load_do_not_droop_again(gpu: str) -> None:
    assert power_part(machine(gpu).estimate(replace(BIG, dtype="fp16"))) is None


def test_experts_in_one_kernel_are_a_batched_product() -> None:
    h200 = machine()
    grouped, batched = h200.estimate(EXPERTS), h200.estimate(Gemm(batch=8, m=2048, n=14336, k=4096))
    assert grouped.time_s == pytest.approx(batched.time_s)
    assert grouped.reasons[-3:-1] == ("8 experts in one kernel", "mean rows an expert; uneven routing makes the fullest expert later")


def test_experts_in_a_loop_take_the_sum_of_their_products() -> None:
    h200 = machine()
    one = estimate_gemm(Gemm(m=2048, n=14336, k=4096), h200.gpu, h200.profile)
    loop = h200.estimate(replace(EXPERTS, is_loop=True))
    part = power_part(loop)
    assert part is not None
    assert loop.time_s - part.time_s == pytest.approx(8 * one.time_s)
    assert loop.limit_s == pytest.approx(8 * one.limit_s)
    assert "a loop over 8 experts" in loop.reasons


def test_the_weight_gradient_of_experts_contracts_their_rows() -> None:
    h200 = machine()
    grouped = h200.estimate(replace(EXPERTS, layout="TN"))
    assert grouped.time_s == pytest.approx(h200.estimate(Gemm(batch=8, m=14336, n=4096, k=2048, layout="TN")).time_s)


def test_decode_pays_for_the_experts_it_visits() -> None:
    h200 = machine()
    few, many = (
        h200.estimate(replace(EXPERTS, num_rows=rows, num_active_groups=active)) for rows, active in ((2, 2.0), (16, 7.0))
    )  # fmt: skip
    assert few.bound_by == many.bound_by == "memory"
    assert many.time_s / few.time_s == pytest.approx(3.5, rel=0.15)


@dataclass(kw_only=True)
class CountingMachine:
    """Hands every work to a real machine and keeps what was asked."""

    inner: Machine
    asked: list[object] = field(default_factory=list)

    def estimate(self, work):
        self.asked.append(work)
        return self.inner.estimate(work)


def test_identical_work_is_estimated_once_and_notes_stay_apart() -> None:
    counting = CountingMachine(inner=machine())
    plain = Operator(name="mlp_up", kind="gemm", layer="full+dense", part="forward", work=BIG)
    noted = replace(plain, name="mlp_gate", note="heads do not divide")
    other = replace(plain, name="norm1", kind="norm", work=PASS)
    first, second, third, fourth = estimate_operators([plain, noted, other, plain], counting)  # type: ignore[arg-type]
    assert counting.asked == [BIG, PASS]
    assert first is fourth
    assert second.reasons == (*first.reasons, "heads do not divide")
    assert third == counting.inner.estimate(PASS)


@pytest.mark.parametrize("gpu", gpu_names())
def test_every_gpu_estimates_every_kind(gpu: str) -> None:
    loaded = machine(gpu, "dgx-h100")
    works = (BIG, MISALIGNED, FLAT, EXPERTS, FLASH)
    for work in (*(replace(each, dtype="fp16") for each in works), PASS, Collective(name="all_gather", message_bytes=1e7, group_size=4)):
        estimate = loaded.estimate(work)
        assert 0 < estimate.limit_s <= estimate.time_s
        assert estimate.low_s < estimate.time_s < estimate.high_s
