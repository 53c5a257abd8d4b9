"""From faults to findings: which are raised, in which order, with which fixes; by rules made for the test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shapewright.lint.case import Case
from shapewright.lint.change import Change, Fault
from shapewright.lint.linter import LEAST_SHARE, Linted, lint
from shapewright.lint.rule import Rule, select_rules
from shapewright.predict.explain import load_machine, runnable
from shapewright.read.resolve import load, load_text
from shapewright.workload import Workload

GPUS = ("mi250x", "a100-40gb", "h200")


def cases_of(model: Any, gpus: Sequence[str] = GPUS, **workload: Any) -> list[Case]:
    machines, loaded = [load_machine(gpu) for gpu in gpus], load(model)
    return [
        Case(loaded=loaded, workload=runnable(loaded.shape, Workload(**workload), machine.gpu), machine=machine) for machine in machines
    ]


def rule_of(check: Callable[[Case], Iterator[Fault]], code: str = "SW999", yields_to: tuple[str, ...] = ()) -> Rule:
    return Rule(code=code, name=f"Made{code}", page="Made for a test.\n", check=check, yields_to=yields_to)


def vocabulary_fault(*values: int, field: str = "vocab_size") -> Callable[[Case], Iterator[Fault]]:
    def check(case: Case) -> Iterator[Fault]:
        changes = tuple(Change(model=(("vocab_size", value),), is_safe=True) for value in values)
        yield Fault(field=field, value=case.shape.vocab_size, message="vocab_size is made up", changes=changes)

    return check


def codes(linted: Linted) -> list[str]:
    return [finding.code for finding in linted.findings]


def test_the_dearest_gpu_comes_first_and_decides() -> None:
    (finding,) = lint(cases_of("gpt2"), [rule_of(vocabulary_fault(50304))]).findings
    assert [price.gpu for price in finding.prices] == ["h200", "a100-40gb", "mi250x"]
    shares = [price.share for price in finding.prices]
    assert shares == sorted(shares, reverse=True) and finding.price is finding.prices[0]
    assert [price.is_raised for price in finding.prices] == [True, True, False]
    assert len(finding.fixes[0].step_s) == len(GPUS)


def test_the_fix_states_the_step_as_it_runs_on_each_gpu() -> None:
    (finding,) = lint(cases_of("gpt2"), [rule_of(vocabulary_fault(50304))]).findings
    for price, step_s in zip(finding.prices, finding.fixes[0].step_s, strict=True):
        assert price.step_s - step_s == pytest.approx(price.cost_s)
    assert finding.fixes[0].params_change == pytest.approx(47 * 768 / load("gpt2").shape.num_params)


def test_each_price_names_the_change_that_it_is_of() -> None:
    """What one GPU's memory holds may not fit another's: a change is priced where its rule proposes it."""

    def by_gpu(case: Case) -> Iterator[Fault]:
        yield from vocabulary_fault(50304 if case.machine.gpu.name == "h200" else 50432)(case)

    (finding,) = lint(cases_of("gpt2", ["h200", "a100-40gb"]), [rule_of(by_gpu)]).findings
    assert [price.fix for price in finding.prices] == [(("vocab_size", 50304),), (("vocab_size", 50432),)]
    (fix,) = finding.fixes
    assert fix.value == 50304 and fix.shares[0] == pytest.approx(finding.price.share)
    assert math.isnan(fix.shares[1]) and math.isnan(fix.step_s[1])


def test_a_price_within_the_noise_is_no_finding() -> None:
    """A vocabulary of 50304 tokens that is padded further saves nothing."""
    assert lint(cases_of("gpt2"), [rule_of(vocabulary_fault(50304))]).findings
    assert lint(cases_of(load("gpt2", overrides={"vocab_size": 50304})), [rule_of(vocabulary_fault(50432))]).findings == ()


def test_what_saves_less_than_is_worth_reading_is_no_finding(monkeypatch) -> None:
    """The vocabulary of a large model, clear of the noise: found above the least share of a step, left out below it."""
    cases = cases_of("mt-nlg-530b", ["h200"])
    (finding,) = lint(cases, [rule_of(vocabulary_fault(50304))]).findings
    assert LEAST_SHARE < finding.price.share < 0.01 and finding.price.low > 0
    monkeypatch.setattr("shapewright.lint.linter.LEAST_SHARE", 1.01 * finding.price.share)
    assert lint(cases, [rule_of(vocabulary_fault(50304))]).findings == ()


def test_of_several_fixes_those_that_save_nearly_as_much_stay_in_the_rules_order() -> None:
    (finding,) = lint(cases_of("gpt2", ["h200"]), [rule_of(vocabulary_fault(50259, 50258, 50432, 50304, 50264, 50368))]).findings
    assert [fix.value for fix in finding.fixes] == [50432, 50304, 50264]


def test_a_rule_that_sees_no_fault_on_a_gpu_raises_none_there() -> None:
    def on_one(case: Case) -> Iterator[Fault]:
        if case.machine.gpu.name == "a100-40gb":
            yield from vocabulary_fault(50304)(case)

    (finding,) = lint(cases_of("gpt2"), [rule_of(on_one)]).findings
    assert {price.gpu: price.is_raised for price in finding.prices} == {"a100-40gb": True, "h200": False, "mi250x": False}
    assert finding.price.gpu == "a100-40gb"


def test_the_message_is_that_of_the_dearest_gpu() -> None:
    def named(case: Case) -> Iterator[Fault]:
        for fault in vocabulary_fault(50304)(case):
            yield replace(fault, message=f"vocab_size is made up on {case.machine.gpu.name}")

    (finding,) = lint(cases_of("gpt2"), [rule_of(named)]).findings
    assert finding.message == "vocab_size is made up on h200"


def test_changes_of_several_gpus_are_priced_on_all() -> None:
    def by_gpu(case: Case) -> Iterator[Fault]:
        yield from vocabulary_fault({"h200": 50304, "a100-40gb": 50432, "mi250x": 50264}[case.machine.gpu.name])(case)

    (finding,) = lint(cases_of("gpt2"), [rule_of(by_gpu)]).findings
    assert all(price.cost_s > 0 for price in finding.prices[:2])


def test_a_rule_yields_to_another_that_speaks_of_the_same_field() -> None:
    both = [rule_of(vocabulary_fault(50304), "SW998", yields_to=("SW999",)), rule_of(vocabulary_fault(50304))]
    assert codes(lint(cases_of("gpt2", ["h200"]), both)) == ["SW999"]
    other = [rule_of(vocabulary_fault(50304), "SW998", yields_to=("SW999",)), rule_of(vocabulary_fault(50304, field="hidden_size"))]
    assert sorted(codes(lint(cases_of("gpt2", ["h200"]), other))) == ["SW998", "SW999"]


def test_findings_are_sorted_by_price() -> None:
    linted = lint(cases_of("gpt3-2.7b", ["h200"], attention="unfused"), select_rules())
    shares = [finding.price.share for finding in linted.findings]
    assert len(shares) >= 3 and shares == sorted(shares, reverse=True)


def test_a_change_that_cannot_be_made_leaves_the_others() -> None:
    (finding,) = lint(cases_of("gpt2", ["h200"]), [rule_of(vocabulary_fault(-1, 50304))]).findings
    assert [fix.value for fix in finding.fixes] == [50304]
    assert lint(cases_of("gpt2", ["h200"]), [rule_of(vocabulary_fault(-1))]).findings == ()
    assert lint(cases_of("gpt2", ["h200"]), [rule_of(vocabulary_fault())]).findings == ()


def test_a_finding_points_at_the_line_that_says_its_field() -> None:
    text = '{\n  "model_type": "gpt2",\n  "n_embd": 768,\n  "n_head": 12,\n  "n_layer": 12,\n  "vocab_size": 50257\n}\n'
    loaded = load_text(text, name="mine", where="mine/config.json")
    (finding,) = lint(cases_of(loaded, ["h200"]), [rule_of(vocabulary_fault(50304))]).findings
    assert (finding.file, finding.line, finding.model) == ("mine/config.json", 6, "mine")


def test_a_finding_about_the_run_points_at_the_training_file() -> None:
    text = "hidden_size: 2048\nnum_layers: 24\nnum_attention_heads: 16\ntrain_micro_batch_size_per_gpu: 1\nseq_length: 2048\n"
    loaded = load_text(text, name="mine", where="mine.yml")

    def check(case: Case) -> Iterator[Fault]:
        change = Change(workload=(("micro_batch", 8), ("global_batch", 8)), against=(("global_batch", 8),))
        yield Fault(field="micro_batch", value=case.workload.micro_batch, message="micro_batch is made up", changes=(change,))

    (said,) = lint(cases_of(loaded, ["h200"], micro_batch=1), [rule_of(check)]).findings
    assert (said.file, said.line) == ("mine.yml", 4)
    (flagged,) = lint(cases_of(loaded, ["h200"], micro_batch=2), [rule_of(check)]).findings
    assert flagged.line is None, "a flag said 2, the file says 1"


def test_the_catalogue_has_no_lines() -> None:
    (finding,) = lint(cases_of("gpt2", ["h200"]), [rule_of(vocabulary_fault(50304))]).findings
    assert (finding.file, finding.line) == ("catalogue", None)
