"""The optimizer step and what the host costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shapewright.errors import InputError
from shapewright.measure.points import HostPoint, OptimizerPoint
from shapewright.measure.runners import prepare
from unit.measure.benches import short_bench


@pytest.mark.parametrize("variant", ["fused", "foreach"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_steps_leave_the_pool_alone_and_fill_their_states(variant: Any, dtype: str) -> None:
    bench = short_bench()
    before = bench.operands.take([2**14], dtype, 0)[0].clone()
    prepared = prepare(OptimizerPoint(num_params=1000, num_tensors=3, dtype=dtype, variant=variant), bench)
    timing = bench.clock.time(prepared)
    assert timing.num_copies == len(prepared.calls)
    assert torch.equal(bench.operands.take([2**14], dtype, 0)[0], before)
    optimizer = prepared.calls[0].__self__  # type: ignore[attr-defined]
    assert [each.numel() for each in optimizer.param_groups[0]["params"]] == [334, 333, 333]
    states = list(optimizer.state.values())
    assert all(state["exp_avg"].abs().sum() > 0 for state in states)
    assert {state["exp_avg_sq"].dtype for state in states} == {optimizer.param_groups[0]["params"][0].dtype}
    assert all(state["step"].item() > 1 for state in states)


def test_every_copy_has_its_states_before_it_is_timed() -> None:
    """States made while a graph is captured would be made again in every replay."""
    prepared = prepare(OptimizerPoint(num_params=64, num_tensors=2), short_bench())
    assert all(len(call.__self__.state) == 2 for call in prepared.calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("changes", "field"), [({"dtype": "fp8"}, "dtype"), ({"num_tensors": 65}, "num_tensors")])
def test_what_cannot_step_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare(OptimizerPoint(**({"num_params": 64} | changes)), short_bench())
    assert caught.value.field == field


@pytest.mark.parametrize(("what", "method"), [("launch", "host"), ("module", "host"), ("replay", "graph")])
def test_the_host_is_timed_as_such(what: Any, method: str) -> None:
    bench = short_bench()
    prepared = prepare(HostPoint(what=what), bench)
    assert prepared.method == method
    timing = bench.clock.time(prepared)
    assert timing.method == ("host" if method == "host" else "wall")


def test_the_module_makes_no_graph() -> None:
    found = prepare(HostPoint(what="module"), short_bench()).calls[0]()
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
