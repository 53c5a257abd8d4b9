"""What rules about attention propose, where pages cannot show it: cases that they leave alone, and the order of their changes."""

from __future__ import annotations

from typing import Any

import pytest

from shapewright.lint.case import Case
from shapewright.lint.change import Fault
from shapewright.lint.rule import find_rule
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.resolve import load
from shapewright.workload import Workload


def faults(code: str, model: str, gpu: str = "h200", over: dict[str, Any] | None = None, **workload: Any) -> list[Fault]:
    loaded, machine = load(model, overrides=over or {}), load_machine(gpu)
    case = Case(loaded=loaded, workload=runnable(loaded.shape, Workload(**workload), machine.gpu), machine=machine)
    return list(find_rule(code).check(case))


HUNDRED = {"hidden_size": 4000, "num_attention_heads": 40}


def test_a_misaligned_head_is_traded_first_where_it_is_a_share_of_the_width() -> None:
    (fault,) = faults("SW201", "gpt3-2.7b", over=HUNDRED)
    values = [change.values for change in fault.changes]
    assert values[:2] == [(("head_dim", 80), ("num_attention_heads", 50)), (("head_dim", 160), ("num_attention_heads", 25))]
    assert values[2:] == [(("head_dim", 104),), (("head_dim", 96),)]
    assert {change.compare for change in fault.changes} == {"equal_work"}


def test_a_misaligned_head_of_its_own_is_resized_first() -> None:
    (fault,) = faults("SW201", "llama-3.2-1b", over={"head_dim": 100})
    assert [change.values[0][1] for change in fault.changes] == [104, 96, 80, 160]


def test_heads_are_offered_in_multiples_of_8_where_a_vector_is_shorter() -> None:
    """4 elements of 32 bits are one vector."""
    (fault,) = faults("SW201", "llama-3.2-1b", "a100-40gb", over={"head_dim": 101}, dtype="fp32", attention="unfused")
    assert [change.values[0][1] for change in fault.changes] == [104, 96]
    (fault,) = faults("SW203", "gpt3-2.7b", "a100-40gb", dtype="fp32", attention="unfused")
    assert [dict(change.model)["num_attention_heads"] for change in fault.changes] == [20]


@pytest.mark.parametrize("code", ["SW201", "SW202", "SW203"])
def test_latent_attention_is_left_alone(code: str) -> None:
    """Its head sizes are sums of other fields."""
    for attention in ("flash", "unfused"):
        assert faults(code, "deepseek-v2-lite", attention=attention) == []


@pytest.mark.parametrize("code", ["SW201", "SW202", "SW203"])
def test_decoding_is_left_alone(code: str) -> None:
    """One row of scores a head, and keys and values that are not padded in memory."""
    for attention in ("flash", "unfused"):
        assert faults(code, "gpt3-2.7b", "a100-80gb", phase="decode", attention=attention) == []


def test_64_is_tried_downwards_alone() -> None:
    """Wider heads are fewer, whose gain is not alignment."""
    (fault,) = faults("SW201", "gpt3-2.7b", attention="unfused")
    assert [change.values for change in fault.changes] == [(("head_dim", 64), ("num_attention_heads", 40))]


def test_a_head_wider_than_any_kernel() -> None:
    (fault,) = faults("SW202", "llama-3.2-1b", "a100-80gb", over={"head_dim": 320})
    assert fault.message == "head_dim 320 is wider than 256, the largest that fused attention has a kernel for here"
    assert [change.values[0][1] for change in fault.changes] == [256, 192, 256]


@pytest.mark.parametrize("model", ["falcon-7b", "falcon-rw-1b", "falcon-40b"])
def test_only_keys_that_are_shared_without_enable_gqa_fall_to_math(model: str) -> None:
    assert len(faults("SW205", model)) == (model == "falcon-7b")
    assert faults("SW205", model, attention="unfused") == []


def test_unfused_attention_that_would_fall_to_math_stays() -> None:
    assert faults("SW204", "falcon-7b", attention="unfused") == []
    (fault,) = faults("SW204", "falcon-7b", attention="unfused", over={"has_fused_gqa": True})
    assert fault.changes[0].workload == (("attention", "flash"),)


@pytest.mark.parametrize(
    ("model", "caution"),
    [("gemma-2-2b", "a cap on the scores"), ("bloom-560m", "ALiBi"), ("gpt-oss-20b", "attention sinks"), ("llama-2-7b", "")],
)
def test_what_not_every_fused_kernel_takes(model: str, caution: str) -> None:
    (fault,) = faults("SW204", model, attention="unfused")
    assert fault.changes[0].caution == (f"not every fused kernel takes {caution}" if caution else "")


def test_tensor_parallel_shares_the_scores() -> None:
    whole, half = (faults("SW204", "llama-2-7b", attention="unfused", tensor_parallel=t)[0].message for t in (1, 2))
    assert "writes 1.1 GB" in whole and "writes 0.54 GB" in half
