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
    """The dearest price in full, the others as shares."""
    first, *others = finding.prices
    return ", ".join([_full_price(first), *map(_short_price, others)])


def fixes_text(finding: Finding) -> str:
    """ "fix: 10944 (+0.13 % parameters) or 10880 (-0.25 % parameters)"; empty where none is known."""
    fixes = " or ".join(fix_text(fix, finding.field) for fix in finding.fixes)
    return f"fix: {fixes}" if fixes else ""


def _full_price(price: Price) -> str:
    half = number((price.high - price.low) / 2)
    return f"{cost_of_step(price)} a step on {price.gpu} ({units.percent(price.share)} +-{half})"


def _short_price(price: Price) -> str:
    return f"{units.percent(price.share)} on {price.gpu}" if price.is_raised else no_price(price)


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


def no_price(price: Price) -> str:
    """What a GPU says of a fault not raised there: it costs nothing, or no more than the noise tells, or the rule does not see it."""
    if price.share < LEAST_SHARE:
        return f"nothing on {price.gpu}"
    return f"{'no fault' if price.low > 0 else 'within the noise'} on {price.gpu}"


def fix_value(fix: Fix, field_name: str) -> str:
    """ "50304", or "32 with head_dim 80"; the main value's name where it is another field than the finding's."""
    (name, value), *others = fix.values
    main = shown_value(value) if name == field_name else f"{name} {shown_value(value)}"
    return main + "".join(f"{' with' if not place else ','} {name} {shown_value(value)}" for place, (name, value) in enumerate(others))


def value_span(finding: Finding, line: str) -> tuple[int, int] | None:
    """From where to where the finding's value stands in its line; None where it does not (a width that follows from others)."""
    found = re.search(rf"(?<![\w.]){re.escape(shown_value(finding.value))}(?![\w.])", line)
    return found.span() if found else None


def shown_value(value: Value) -> str:
    """A value as configs write it: true, null, 50304, gelu."""
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else one_line(str(value))


def more_tokens(fix: Fix) -> str:
    """ " for 5 times the tokens" of each GPU; empty where a step with the fix is as long as without."""
    return "" if abs(fix.tokens_ratio - 1) < 0.005 else f" for {fix.tokens_ratio:.3g} times the tokens"


def params_text(fix: Fix) -> str:
    """ "+0.005 % parameters"; empty where the model is left as it is."""
    return "" if fix.is_workload or not fix.params_change else f"{units.change(fix.params_change)} parameters"
