"""docs/zoo.md: what the linter says of every model of the catalogue on four GPUs. Shares are of the time of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..hardware.load import load_gpu
from ..lint.case import cases_of, within_positions
from ..lint.finding import Finding, Price
from ..lint.linter import Linted, lint
from ..lint.rule import select_rules
from ..predict.explain import load_machine
from ..predict.operators import Machine
from ..read import catalogue
from ..read.resolve import load
from ..workload import Workload
from . import units
from .accuracy_page import markdown_table
from .lint_words import fix_value, shown_value

GPUS = ("a100-40gb", "h100", "h200", "mi250x")
_INTRODUCTION = """# The zoo

What `shapewright lint` says of every model of the catalogue (`shapewright models`) on four GPUs. This page is written by
`scripts/write_zoo.py`; a test keeps it true to the code. Sequences are cut to the positions that a model has.

A price is the share of the step's predicted time that the best fix saves, at equal work. A dash: no fault there, or a price within
the predictor's noise. What each rule says, and what was measured: `shapewright rule CODE`. That a public model has a finding does
not mean that its authors erred: they may not have cared for that GPU, or have padded at run time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corner:
    """A workload that the zoo is asked for, and the rules that look (none named: all)."""

    title: str
    flags: str
    workload: Workload
    select: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()


CORNERS = (
    Corner(title="Training", flags="", workload=Workload()),
    Corner(
        title="Heads in unfused attention", flags=" --attention unfused --select SW201 --select SW203",
        workload=Workload(attention="unfused"), select=("SW201", "SW203"), given=frozenset({"attention"}),
    ),
    Corner(
        title="Decoding in eager mode", flags=" --phase decode --micro-batch 8 --context 2048 --runtime eager --select SW1 --select SW503",
        workload=Workload(phase="decode", micro_batch=8, context=2048, runtime="eager"), select=("SW1", "SW503"),
        given=frozenset({"phase", "micro_batch", "context", "runtime"}),
    ),
)  # fmt: skip


def zoo_page() -> str:
    """The page as Markdown; it ends with a newline."""
    names = "".join(f"- `{gpu}`: {load_gpu(gpu).full_name}\n" for gpu in GPUS)
    return "\n".join([_INTRODUCTION, names, *map(corner_text, CORNERS)])


def corner_text(corner: Corner) -> str:
    """One section: the command, a line a finding, and the models without any."""
    machines = [load_machine(gpu) for gpu in GPUS]
    found = [linted for name in catalogue.names() if (linted := lint_known(name, corner, machines))]
    command = f"    shapewright lint MODEL{''.join(f' --gpu {gpu}' for gpu in GPUS)}{corner.flags}\n"
    return "\n".join([f"## {corner.title}\n", command, _table(found), _clean(found)])


def lint_known(name: str, corner: Corner, machines: Sequence[Machine]) -> Linted | None:
    """The findings of a model of the catalogue, at no more tokens than it has positions; None where it has no such phase (encoders)."""
    loaded = load(name)
    if loaded.shape.kind == "encoder" and corner.workload.phase == "decode":
        return None
    asked = within_positions(corner.workload, loaded.shape)
    return lint(cases_of(loaded, asked, machines, corner.given), select_rules(corner.select))


def _table(found: Iterable[Linted]) -> str:
    rows = [_row(linted, finding) for linted in found for finding in linted.findings]
    sides = "<<<" + ">" * len(GPUS) + "<"
    return markdown_table(("model", "finding", "value", *GPUS, "fix"), rows, sides) if rows else "No findings.\n"


def _row(linted: Linted, finding: Finding) -> tuple[str, ...]:
    prices = {price.gpu: price for price in finding.prices}
    fixes = " or ".join(fix_value(fix, finding.field) for fix in finding.fixes)
    shown = f"{finding.field} {shown_value(finding.value)}"
    return linted.loaded.shape.name, f"{finding.code} {finding.name}", shown, *(_price(prices[gpu]) for gpu in GPUS), fixes


def _price(price: Price) -> str:
    return units.percent(price.share) if price.is_raised else "-"


def _clean(found: Iterable[Linted]) -> str:
    names = [linted.loaded.shape.name for linted in found if not linted.findings]
    return f"Without findings ({len(names)}): {', '.join(names)}.\n" if names else ""
