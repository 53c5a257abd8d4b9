"""Many works at once take the same times as one after another."""

from __future__ import annotations

import pytest

from shapewright.operators.lower import lower
from shapewright.operators.types import Gemm, GroupedGemm
from shapewright.predict.explain import load_machine, runnable
from shapewright.predict.operators import estimate_works
from shapewright.read.resolve import load_shape
from shapewright.workload import Workload

#: Sums of 32-bit numbers differ in their last digits.
CLOSE = 1e-5


@pytest.mark.parametrize("gpu", ["h200", "v100-16gb", "mi250x"])
@pytest.mark.parametrize("model", ["gpt3-2.7b", "mixtral-8x7b", "falcon-7b"])
@pytest.mark.parametrize("phase", ["train", "decode"])
def test_one_by_one_and_together(gpu: str, model: str, phase: str) -> None:
    machine, shape = load_machine(gpu), load_shape(model)
    workload = runnable(shape, Workload(phase=phase), machine.gpu)  # type: ignore[arg-type]
    assert workload.dtype is not None
    works = [operator.work for operator in lower(shape, workload, workload.dtype)]
    together = estimate_works(works, machine)
    assert together.keys() == set(works)
    for work in works:
        one, many = machine.estimate(work), together[work]
        for name in ("time_s", "low_s", "high_s", "limit_s"):
            assert getattr(many, name) == pytest.approx(getattr(one, name), rel=CLOSE), (work, name)
        assert (many.provenance, many.bound_by) == (one.provenance, one.bound_by), work


def test_a_loop_over_experts_is_one_product_repeated() -> None:
    machine = load_machine("h200")
    loop = GroupedGemm(num_rows=1024, num_groups=8, num_active_groups=8.0, n=14336, k=4096, is_loop=True)
    product = Gemm(m=128, n=14336, k=4096)
    together = estimate_works([loop, product], machine)
    assert together[loop].time_s == pytest.approx(8 * together[product].time_s, rel=0.02)


def test_nothing_to_estimate() -> None:
    assert estimate_works([], load_machine("h200")) == {}
