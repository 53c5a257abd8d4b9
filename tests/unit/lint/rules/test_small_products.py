"""Small products and experts' widths: which changes hang together, where pages cannot show it."""

from __future__ import annotations

from typing import Any

from shapewright.lint.case import Case
from shapewright.lint.change import Fault
from shapewright.lint.rule import find_rule
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.resolve import load
from shapewright.workload import Workload


def faults(code: str, model: str, over: dict[str, Any] | None = None, **workload: Any) -> list[Fault]:
    loaded, machine = load(model, overrides=over or {}), load_machine("h200")
    case = Case(loaded=loaded, workload=runnable(loaded.shape, Workload(**workload), machine.gpu), machine=machine)
    return list(find_rule(code).check(case))


def test_joins_stand_beside_the_shape() -> None:
    (fault,) = faults("SW502", "smollm2-135m", phase="decode")
    assert fault.field == "hidden_size"
    assert [(change.values[0][0], change.is_alternative) for change in fault.changes] == [
        ("hidden_size", False), ("is_qkv_fused", True), ("is_gate_up_fused", True)
    ]  # fmt: skip
    (fault,) = faults("SW502", "pythia-410m", phase="decode")  # one product makes queries, keys and values, and its MLP has no gate
    assert [change.values[0][0] for change in fault.changes] == ["hidden_size"]
    assert faults("SW502", "llama-3.1-8b", phase="decode", micro_batch=1) == []


def test_shared_experts_of_the_same_fault_move_along() -> None:
    odd = {"moe_intermediate_size": 1407}
    (fault,) = faults("SW401", "deepseek-v2-lite", {**odd, "shared_expert_intermediate_size": 2814})
    assert fault.field == "moe_intermediate_size"
    for change in fault.changes:
        values = dict(change.model)
        assert values["shared_expert_intermediate_size"] == 2 * int(values["moe_intermediate_size"] or 0)
    (fault,) = faults("SW401", "deepseek-v2-lite", odd)  # 2816 is no multiple of 1407, and aligned
    assert all(len(change.model) == 1 for change in fault.changes)
    both = faults("SW401", "deepseek-v2-lite", {**odd, "shared_expert_intermediate_size": 2815})
    assert [each.field for each in both] == ["moe_intermediate_size", "shared_expert_intermediate_size"]
