"""The words of a finding that its forms share: what it costs where, and what mends it.

    vocab_size 50257 is odd: ...; costs 40.5 of 357 ms a step on h200 (11.3 % +-1.1), 6.0 % on a100-40gb; fix: 50304 (+0.005 % parameters)

Half the interval from the 10th to the 90th percentile stands behind +-.
"""

from __future__ import annotations

import re

from ..lint.change import Value
from ..lint.finding import Finding, Fix, Price
from ..lint.linter import LEAST_SHARE
from . import units
from .lint_run import one_line


def sentence(finding: Finding) -> str:
    """The whole finding in one line: what, what it costs, dearest GPU first, and the fixes."""
    return "; ".join(filter(None, (one_line(finding.message), f"costs {prices_text(finding)}", fixes_text(finding))))


def prices_text(finding: Finding) -> str:
    """The dearest price in full, the others as shares, then what is said of GPUs without a price."""
    first, *others = (price for price in finding.prices if price.is_raised)
    return ", ".join([_full_price(first), *(_short_price(price, finding) for price in others), *no_prices(finding)])


def fixes_text(finding: Finding) -> str:
    """ "fix: 10944 (+0.13 % parameters) or 10880 (-0.25 % parameters)"; empty where none is known."""
    fixes = " or ".join(fix_text(fix, finding.field) for fix in finding.fixes)
    return f"fix: {fixes}" if fixes else ""


def _full_price(price: Price) -> str:
    half = number((price.high - price.low) / 2)
    return f"{cost_of_step(price)} a step on {price.gpu} ({units.percent(price.share)} +-{half})"


def _short_price(price: Price, finding: Finding) -> str:
    return f"{units.percent(price.share)} on {price.gpu}{other_fix(price, finding)}"


def other_fix(price: Price, finding: Finding) -> str:
    """ " for 4": the fix that a GPU's price is of, where it is none of those that are shown."""
    if not price.fix or price.fix in [fix.values for fix in finding.fixes]:
        return ""
    return f" for {values_text(price.fix, finding.field)}"


def number(share: float) -> str:
    """A share in percent without the sign."""
    return units.percent(share).removesuffix(" %")


def fix_text(fix: Fix, field_name: str) -> str:
    """The better values, and what they change of the parameters."""
    params = params_text(fix)
    return fix_value(fix, field_name) + (f" ({params})" if params else "")


def cost_of_step(price: Price) -> str:
    """ "40.5 of 357 ms", or "2.10 ms of 2.12 s" where the units differ."""
    cost, step = units.seconds(price.cost_s), units.seconds(price.step_s)
    number, _, unit = cost.rpartition(" ")
    return f"{number if step.endswith(f' {unit}') else cost} of {step}"


def no_prices(finding: Finding) -> list[str]:
    """What is said of the GPUs where the fault is not raised, those of which the same is said together."""
    said: dict[str, list[str]] = {}
    for price in finding.prices:
        if not price.is_raised:
            said.setdefault(_why_not(price), []).append(price.gpu)
    return [f"{why} on {', '.join(gpus)}" for why, gpus in said.items()]


def _why_not(price: Price) -> str:
    """The fix costs time there, or saves nothing, or no more than the noise tells, or the rule sees no fault."""
    if price.high < 0 and price.share <= -LEAST_SHARE:
        return f"the fix costs {units.percent(-price.share)}"
    if price.share < LEAST_SHARE:
        return "nothing"
    return "no fault" if price.low > 0 else "within the noise"


def fix_value(fix: Fix, field_name: str) -> str:
    """ "50304", or "32 with head_dim 80"; the main value's name where it is another field than the finding's."""
    return values_text(fix.values, field_name)


def values_text(values: tuple[tuple[str, Value], ...], field_name: str) -> str:
    """The same of bare values."""
    (name, value), *others = values
    main = shown_value(value) if name == field_name else f"{name} {shown_value(value)}"
    return main + "".join(f"{' with' if not place else ','} {name} {shown_value(value)}" for place, (name, value) in enumerate(others))


def value_span(finding: Finding, line: str) -> tuple[int, int] | None:
    """From where to where the finding's value stands in its line; None where it does not (a width that follows from others)."""
    found = re.search(rf"(?<![\w.]){re.escape(shown_value(finding.value))}(?![\w.])", line)
    return found.span() if found else None


def shown_value(value: Value) -> str:
    """A value as configs write it: true, null, 50304, gelu."""
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else one_line(str(value))


def params_text(fix: Fix) -> str:
    """ "+0.005 % parameters"; empty where the model is left as it is."""
    return "" if fix.is_workload or not fix.params_change else f"{units.change(fix.params_change)} parameters"
