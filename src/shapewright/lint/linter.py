"""`lint(cases, rules)`: the findings of one model on one or several machines, dearest first.

Rules look at each case (a machine each); faults of the same rule and field are one finding, whose changes are priced on every machine. A
finding is raised where its price stands clear of the predictor's noise on at least one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..read.source import LoadedShape
from .case import Case, Variant
from .change import Change, Fault, Value
from .finding import Finding, Fix, Price
from .pricing import Pricer, Saving, per_token
from .rule import Rule

#: Shares of the step below which a finding would not be worth reading.
LEAST_SHARE = 0.001
#: A fix is worth naming where it saves this much of what the best one saves.
NEARLY_BEST = 0.7
MAX_FIXES = 3
#: Digits of a share in which GPUs are told apart; below stand the last digits of sums of 32-bit numbers.
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """The findings of a model, dearest first, and its step on each machine (GPU name -> seconds)."""

    loaded: LoadedShape
    findings: tuple[Finding, ...]
    step_s: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    """A rule's fault, as found on the first machine that has it, with the changes that any machine proposes."""

    rule: Rule
    fault: Fault
    messages: Mapping[str, str]
    """GPU that has the fault -> what the rule says of it there."""
    proposed: frozenset[tuple[str, tuple[tuple[str, Value], ...]]]
    """GPU and values of a change: what one GPU's memory holds may not fit another's."""

    def is_for(self, change: Change, gpu: str) -> bool:
        """Whether the change is one for that GPU; where the rule sees no fault, all show what they would do."""
        return gpu not in self.messages or (gpu, change.values) in self.proposed


def lint(cases: Sequence[Case], rules: Iterable[Rule]) -> Linted:
    """Findings of one model; `cases` are the same model on different machines."""
    pricers = [Pricer(case.machine) for case in cases]
    suspects = _suspects(cases, rules)
    for case, pricer in zip(cases, pricers, strict=True):
        pricer.prepare(_variants(case, suspects))
    priced = [_finding(suspect, cases, pricers) for suspect in suspects]
    findings = _without_silenced([(suspect.rule, found) for suspect, found in zip(suspects, priced, strict=True) if found])
    steps = tuple((case.machine.gpu.name, pricer.step_s(case.now)) for case, pricer in zip(cases, pricers, strict=True))
    return Linted(loaded=cases[0].loaded, findings=tuple(sorted(findings, key=lambda found: -found.price.share)), step_s=steps)


def _suspects(cases: Sequence[Case], rules: Iterable[Rule]) -> list[_Suspect]:
    """Every fault that a rule sees on some machine; a field is one suspect of a rule."""
    suspects: dict[tuple[str, str], _Suspect] = {}
    for rule in rules:
        for case in cases:
            for fault in rule.check(case):
                known = suspects.get((rule.code, fault.field))
                merged = fault if known is None else replace(known.fault, changes=_union(known.fault.changes, fault.changes))
                gpu = case.machine.gpu.name
                messages = {**(known.messages if known else {}), gpu: fault.message}
                proposed = (known.proposed if known else frozenset()) | {(gpu, change.values) for change in fault.changes}
                suspects[rule.code, fault.field] = _Suspect(rule=rule, fault=merged, messages=messages, proposed=proposed)
    return list(suspects.values())


def _union(first: Sequence[Change], second: Sequence[Change]) -> tuple[Change, ...]:
    known = {change.values for change in first}
    return (*first, *(change for change in second if change.values not in known))


def _variants(case: Case, suspects: Iterable[_Suspect]) -> list[Variant]:
    changes = [change for suspect in suspects for change in suspect.fault.changes]
    tried = [variant for change in changes for variant in (change.applied(case), change.baseline(case))]
    return [case.now, *(variant for variant in tried if variant is not None)]


def _finding(suspect: _Suspect, cases: Sequence[Case], pricers: Sequence[Pricer]) -> Finding | None:
    """The finding with its prices; None where no machine's price stands clear of the noise."""
    savings = {
        change: [pricer.saving(case, change) for case, pricer in zip(cases, pricers, strict=True)] for change in suspect.fault.changes
    }
    main = {change: each for change, each in savings.items() if not change.is_alternative}
    gpus = [case.machine.gpu.name for case in cases]
    own = [{change: each[place] for change, each in main.items() if suspect.is_for(change, gpu)} for place, gpu in enumerate(gpus)]
    prices = [_price(case, each, suspect) for case, each in zip(cases, own, strict=True)]
    order = sorted(range(len(cases)), key=lambda place: (not prices[place].is_raised, -round(prices[place].share, DIGITS)))
    if not prices[order[0]].is_raised:
        return None
    fault, loaded = suspect.fault, cases[0].loaded
    for_dearest = [(change, each) for change, each in savings.items() if suspect.is_for(change, gpus[order[0]])]
    fixes = [(change, [each[place] if suspect.is_for(change, gpus[place]) else None for place in order]) for change, each in for_dearest]
    return Finding(
        code=suspect.rule.code, name=suspect.rule.name, model=loaded.shape.name, file=_file(loaded, fault.field),
        line=_line(loaded, fault.field, fault.value), field=fault.field, value=fault.value, message=suspect.messages[gpus[order[0]]],
        prices=tuple(prices[place] for place in order), fixes=_fixes(fixes, cases[order[0]]),
    )  # fmt: skip


def _price(case: Case, savings: Mapping[Change, Saving | None], suspect: _Suspect) -> Price:
    """The saving of the best change on one machine, raised where its rule sees the fault there; none where no change can be made."""
    known = [(change, saving) for change, saving in savings.items() if saving is not None]
    gpu = case.machine.gpu.name
    if not known:
        return Price(gpu=gpu, cost_s=0.0, step_s=float("inf"), low=0.0, high=0.0, is_raised=False)
    change, best = max(known, key=lambda each: each[1].low)
    is_raised = gpu in suspect.messages and best.low > 0 and best.share >= LEAST_SHARE
    return Price(
        gpu=gpu, cost_s=best.cost_s, step_s=best.now_s, low=best.low, high=best.high, is_raised=is_raised, fix=change.values
    )  # fmt: skip


def _fixes(fixes: Iterable[tuple[Change, list[Saving | None]]], case: Case) -> tuple[Fix, ...]:
    """The changes that save nearly as much as the best on the dearest machine, and alternatives that save at all, in the rule's order."""
    usable = [(change, savings, savings[0]) for change, savings in fixes if savings[0] is not None]
    best = max((own for change, _, own in usable if not change.is_alternative), key=lambda saving: saving.low)
    enough = NEARLY_BEST * best.share
    good = [(change, savings) for change, savings, own in usable if (own.share > 0 if change.is_alternative else own.share >= enough)]
    return tuple(_fix(change, savings, case) for change, savings in good[:MAX_FIXES])


def _fix(change: Change, savings: Sequence[Saving | None], case: Case) -> Fix:
    variant = change.applied(case)
    assert variant is not None
    return Fix(
        values=change.values, params_change=variant.shape.num_params / case.shape.num_params - 1,
        step_s=tuple(float("nan") if saving is None else saving.fix_s for saving in savings),
        shares=tuple(float("nan") if saving is None else saving.share for saving in savings), is_safe=change.is_safe,
        is_workload=not change.model, caution=change.caution, tokens_ratio=1 / per_token(case.now, variant),
    )  # fmt: skip


def _without_silenced(found: Sequence[tuple[Rule, Finding]]) -> list[Finding]:
    """Findings but for those whose rule leaves the field to another that speaks of it."""
    spoken = {(finding.code, finding.field) for _, finding in found}
    return [finding for rule, finding in found if not any((code, finding.field) in spoken for code in rule.yields_to)]


#: Fields whose line stands in for that of a field that follows from them.
_STAND_INS = {
    "head_dim": ("num_attention_heads", "hidden_size"),
    "num_key_value_heads": ("num_attention_heads",),
    "has_fused_gqa": ("num_key_value_heads", "num_attention_heads"),
    "intermediate_size": ("hidden_size",),
    "moe_intermediate_size": ("intermediate_size",),
}


def _said_by(loaded: LoadedShape, field: str) -> str:
    """The field whose line in the file says `field`."""
    return next((name for name in (field, *_STAND_INS.get(field, ())) if name in loaded.lines), field)


def _line(loaded: LoadedShape, field: str, value: Value) -> int | None:
    """The line that says the field; none where a flag says otherwise than the file does."""
    if field in loaded.workload and loaded.workload[field] != value:
        return None
    return loaded.lines.get(_said_by(loaded, field))


def _file(loaded: LoadedShape, field: str) -> str:
    return loaded.files.get(_said_by(loaded, field), loaded.origin)
