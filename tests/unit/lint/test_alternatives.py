"""Alternatives do not set the price, and a change is for the GPU that proposed it."""

from __future__ import annotations

from collections.abc import Iterator

from shapewright.lint.case import Case
from shapewright.lint.change import Change, Fault
from shapewright.lint.finding import Finding
from shapewright.lint.linter import lint
from shapewright.lint.rule import Rule
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.resolve import load
from shapewright.workload import Workload

PADDED = Change(model=(("vocab_size", 50304),), is_safe=True)
FEWER_LAYERS = Change(model=(("num_hidden_layers", 6),), is_alternative=True)
MORE_LAYERS = Change(model=(("num_hidden_layers", 24),), is_alternative=True)


def found(changes: dict[str, tuple[Change, ...]]) -> Finding | None:
    """What a rule with these changes by GPU finds in GPT-2."""

    def check(case: Case) -> Iterator[Fault]:
        own = changes.get(case.machine.gpu.name, ())
        if own:
            yield Fault(field="vocab_size", value=50257, message="vocab_size 50257", changes=own)

    loaded = load("gpt2")
    machines = [load_machine(gpu) for gpu in ("h200", "a100-40gb")]
    cases = [Case(loaded=loaded, workload=runnable(loaded.shape, Workload(), each.gpu), machine=each) for each in machines]
    findings = lint(cases, [Rule(code="SW999", name="Test", page="A page.", check=check)]).findings
    return findings[0] if findings else None


def test_an_alternative_is_named_and_not_priced() -> None:
    alone, beside = found({"h200": (PADDED,)}), found({"h200": (PADDED, FEWER_LAYERS, MORE_LAYERS)})
    assert alone is not None and beside is not None
    assert beside.price == alone.price
    assert [fix.values for fix in beside.fixes] == [PADDED.values, FEWER_LAYERS.values]  # one that saves nothing is left out


def test_alternatives_alone_are_no_finding() -> None:
    assert found({"h200": (FEWER_LAYERS,)}) is None


def test_a_change_counts_where_it_was_proposed() -> None:
    """Half the layers are the A100's own proposal: the price on the H200 stays that of the padding."""
    fewer = Change(model=(("num_hidden_layers", 6),))
    alone, both = found({"h200": (PADDED,)}), found({"h200": (PADDED,), "a100-40gb": (fewer,)})
    assert alone is not None and both is not None
    prices = {price.gpu: price for price in both.prices}
    assert prices["h200"] == alone.price
    assert prices["a100-40gb"].share > 2 * prices["h200"].share or prices["a100-40gb"].is_raised
    assert [fix.values for fix in both.fixes] == [fewer.values]
    assert [price.gpu for price in both.prices] == ["a100-40gb", "h200"]
