"""docs/paper/README.md, the first page of the book: the paper's rules judged again, what was measured, and how far predictions lie off.

    first_page(book)

`Book` holds everything that the pages are made of; nothing is read or measured here. Percent unless a unit is named, GPU time in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..paper.comparing import DROP, TIE, Comparison
from ..paper.judging import WORDS, Judged, Verdict
from ..paper.readings import Rule, Told
from ..paper.reports import FigureReport
from .accuracy_page import markdown_table
from .paper_claims import value_text

FIRST, APPENDIX = "README.md", "figures-appendix-b.md"
#: Name under which the image of Appendix B's one page is kept.
MULTIPLES = "figures-21-47"
#: Sources in the order of the columns, as `paper.readings` calls them, and the words above them.
SOURCES = {"a100": "A100-40GB predicted", "h200": "H200 predicted", "measured": "H200 measured"}
#: What a verdict says of a rule.
STANDING = {"agrees": "holds", "depends": "holds in part", "disagrees": "does not hold", "not testable here": "not tested"}
#: Pages of figures: file, title and figures.
CHAPTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "figures-products.md": ("Products", ("5a", "5b", "5c", "6a", "6b", "6c", "6d", "14")),
    "figures-attention.md": ("Attention", ("7a", "7b", "8", "9", "17", "18", "12")),
    "figures-mlp-and-logits.md": ("QKV, MLP and logits", ("10a", "10b", "15", "16", "19", "20a", "20b")),
    "figures-layers.md": ("Layers", ("1", "2", "11", "3", "4")),
    "figures-models.md": ("Whole models", ("13", "S4")),
    APPENDIX: ("Appendix B: attention's products for 8 to 512 heads", tuple(str(number) for number in range(21, 48))),
}
#: What a figure's prediction is to reach: mean error in %, share of x in the right order, share of drops found.
GOAL_ERROR, GOAL_ORDER = 6.0, 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run of measurements: its file, rows by outcome, the seconds from the start of each process to its last row, and the
    environment."""

    file: str
    num_rows: int
    num_failed: int
    span_s: float
    environment: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What the pages say. `reports` by figure; `judged` by source, all claims; `told` by the reading's id; `logs`: errors against the
    authors' logs as comparisons written out; `images`: the file of each figure and of the page of Appendix B."""

    reports: Mapping[str, FigureReport]
    judged: Mapping[str, Sequence[Judged]]
    told: Mapping[str, Told]
    rules: Sequence[Rule]
    runs: Sequence[RunFacts]
    logs: Sequence[Mapping[str, Any]] = ()
    images: Mapping[str, str] = field(default_factory=dict)

    def verdicts(self, claim: int) -> dict[str, Verdict]:
        """The verdicts on a claim, by source."""
        return {source: each.verdict for source, judged in self.judged.items() for each in judged if each.claim.id == claim}

    def comparison(self, figure: str) -> Comparison | None:
        """The H200's prediction against its measurement."""
        return next((each for each in self.reports[figure].comparisons if each.source == "measured"), None)

    def reading(self, name: str) -> str:
        """The text of a reading; nothing where it would not be true."""
        told = self.told.get(name)
        return "" if told is None or told.broken else told.text


def figure_link(figure: str, words: str = "") -> str:
    """A link to a figure's place in the book."""
    page = next(page for page, (_, figures) in CHAPTERS.items() if figure in figures)
    return f"[{words or f'Figure {figure}'}]({page}#figure-{figure.lower()})"


def claim_link(claim: int) -> str:
    return f"[{claim}](claims.md#claim-{claim})"


def first_page(book: Book, goals: str = "") -> str:
    """The page as Markdown; `goals`: the table of what predictions are to reach. It ends with a newline."""
    parts = [_INTRODUCTION, _headline(book), _rules(book), _one_by_one(book), _counts(book), _measured(book)]
    parts += [f"## Prediction and measurement\n\n{goals}" if goals else "", _errors(book), _logs(book)]
    return "\n".join([*(each for each in parts if each), _REBUILDING + _pages()])


def _pages() -> str:
    """Links to the pages of figures."""
    return "".join(
        f"- [{title}]({page}): Figure{'s' if len(figures) > 1 else ''} {_listed(figures)}\n" for page, (title, figures) in CHAPTERS.items()
    )


def _listed(figures: Sequence[str]) -> str:
    return f"{figures[0]} to {figures[-1]}" if len(figures) > 10 else ", ".join(figures)


_INTRODUCTION = """# The paper's rules, revisited in 2026

"The Case for Co-Designing Model Architectures with Hardware" (Anthony et al. 2024) measured transformers' products on
V100 and A100 with CUDA 11 and drew rules for model shapes from them. Here every figure and claim of it is predicted for
the A100 and for an H200, measured on an H200 with CUDA 13, and judged. Every number of these pages is computed from
rows in this repository.
"""
_VERDICTS = """The paper makes {total} claims that can be told apart ([all of them](claims.md)). {counted} are matters
of counting, the same on every GPU; the others are judged on each. A claim depends where it holds for some shapes and
not for others, or not for the reason given.
"""
_MEASURED = """{total:,} points on one H200 in {minutes:.1f} minutes, {failed} of which failed: products, batched
products and kernels bound by memory by replay of CUDA graphs with cold operands, in fp16 at b = 4, s = 2048 where a
figure does not vary them; layers and models by the wall clock ([how time is
measured](../measuring.md#how-time-is-measured)). The paper's curves are the slowest of 200 calls, ours medians. Figure
S4 and its claims take the rows of [decoding](../decode.md) instead.

Versions here: {versions}.

Versions of the paper (section IV-B): PyTorch 1.12.1 and CUDA 11.3 on V100, 1.13.1 and 11.7 on A100, 2.1.0 and 12.2.2 on
H100, 2.1.1 and ROCm 5.6.0 on MI250X.
"""
_NEARNESS = f"""Errors of the H200's predictions against its measurements, at the measured x, without sign, in % (of shares: in
points). The charts' predictions are those of a long run at the card's power limit. Rows were taken between that and a
burst at the full clock, as their own clock tells, and here each prediction stands where the clock of its row does.
Order: x at which no pair of series that lie more than {100 * TIE:g} % apart is predicted the other way round by more than that
(of bars: pairs). Drops: falls of more than {100 * DROP:g} % from one x to the next that the prediction shows within one
step, by half at least.
"""
_LOGS = """Predictions at the points of the authors' own logs (EleutherAI/cookbook, sizing/), with the launch that one
call between two events holds. The logs are not part of this repository; these errors are kept in
[errors.json](errors.json), and computed anew where the logs are given.
"""
_REBUILDING = """## How to rebuild these pages

    pip install -e '.[report]'
    python scripts/write_paper.py                # from the rows in benchmarks/h200/paper
    python scripts/write_paper.py LOGS_DIR       # with a folder of the authors' logs, gemm.csv and layers.csv

One figure or the claims on another GPU, predicted, and on yours, measured:

    shapewright paper figure 7a --gpu v100-16gb,h100 -o figures      # charts need the `report` extra
    shapewright paper figure all --measured -o figures
    shapewright paper claims --gpu mi250x

## Pages

- [Claims](claims.md): all claims with their verdicts
"""


def _headline(book: Book) -> str:
    lines = [text for name in book.told if name.startswith("headline") and (text := book.reading(name))]
    return "\n".join(f"{place}. {text}" for place, text in enumerate(lines, start=1)) + "\n"


def _rules(book: Book) -> str:
    """The table: a rule, the number that decides it, and its verdicts."""
    rows = []
    for rule in book.rules:
        verdicts = book.verdicts(rule.claim)
        cells = [cell(verdicts.get(source)) for source in SOURCES]
        rows.append((f"[{rule.name}](#rule-{rule.claim})", rule.number, *cells))
    header = ("rule of the paper", "the number that decides", *SOURCES.values())
    return f"## The rules\n\n{markdown_table(header, rows, '<<<<<')}"


def cell(verdict: Verdict | None) -> str:
    """Standing and number of one source, in two lines."""
    if verdict is None:
        return "-"
    value = value_text(verdict)
    return STANDING[verdict.word] + (f"<br>{value}" if value != "-" else "")


def _one_by_one(book: Book) -> str:
    """What each rule is worth today, with its claim and figures."""
    lines = ["## Rule by rule\n"]
    for rule in book.rules:
        verdicts = book.verdicts(rule.claim)
        source = "measured" if verdicts["measured"].word != "not testable here" else "h200"
        claims = ", ".join(claim_link(each) for each in (rule.claim, *rule.claims))
        figures = "".join(f", {figure_link(each)}" for each in rule.figures)
        words = f"{STANDING[verdicts[source].word]} on the H200{'' if source == 'measured' else ' as predicted'}"
        plural = "claims" if rule.claims else "claim"
        lines.append(
            f'- <a id="rule-{rule.claim}"></a>**{rule.name}**: {words}. {book.reading(rule.reading.id)} ({plural} {claims}{figures})'
        )
    return "\n".join(lines) + "\n"


def _counts(book: Book) -> str:
    """How many claims came out how."""
    every = next(iter(book.judged.values()))
    counted = [each.verdict.word for each in every if each.claim.is_arithmetic]
    rows = []
    for source, judged in book.judged.items():
        words = [each.verdict.word for each in judged if not each.claim.is_arithmetic]
        rows.append((SOURCES[source], *(str(words.count(word)) for word in WORDS), str(len(words))))
    rows.append(("any GPU (counting alone)", *(str(counted.count(word)) for word in WORDS), str(len(counted))))
    text = _VERDICTS.format(total=len(every), counted=len(counted))
    return f"## Verdicts\n\n{text}\n{markdown_table(('', *WORDS, 'claims'), rows, '<>>>>>')}"


def _measured(book: Book) -> str:
    """Runs, time, card and versions, beside the paper's."""
    rows = [(run.file, f"{run.num_rows:,}", str(run.num_failed), f"{run.span_s / 60:.1f}") for run in book.runs]
    versions = dict.fromkeys(_versions(run.environment) for run in book.runs)
    text = _MEASURED.format(
        total=sum(run.num_rows for run in book.runs), failed=sum(run.num_failed for run in book.runs),
        minutes=sum(run.span_s for run in book.runs) / 60, versions="; ".join(versions),
    )  # fmt: skip
    table = markdown_table(("run in `benchmarks/h200/paper`", "points", "failed", "minutes"), rows, "<>>>")
    return f"## What was measured\n\n{text}\n{table}"


def _versions(environment: Mapping[str, Any]) -> str:
    names = (
        ("gpu", "{}"),
        ("torch", "PyTorch {}"),
        ("cuda", "CUDA {}"),
        ("cudnn", "cuDNN {}"),
        ("driver", "driver {}"),
        ("triton", "Triton {}"),
    )
    return ", ".join(form.format(environment[name]) for name, form in names if environment.get(name))


def _errors(book: Book) -> str:
    """Each figure's prediction against its measurement, Appendix B as one line."""
    found = {figure: each for figure in book.reports if (each := book.comparison(figure)) is not None}
    appendix = set(CHAPTERS[APPENDIX][1])
    rows = [(figure_link(figure), *comparison_cells(each)) for figure, each in found.items() if figure not in appendix]
    own = [each for figure, each in found.items() if figure in appendix]
    if own:
        rows.append((f"[Figures 21 to 47]({APPENDIX})", *pooled_cells(own)))
    header = ("figure", "points", "mean", "median", "90th percentile", "order", "drops")
    return f"### Figure by figure\n\n{_NEARNESS}\n{markdown_table(header, rows, '<>>>>>>')}"


def comparison_cells(each: Comparison) -> tuple[str, ...]:
    """Points, errors, order and drops of one comparison."""
    unit = "points" if each.unit == "%" else "%"
    order = "" if each.order is None else f"{100 * each.order:.0f} % of {each.num_ordered_x:,}"
    drops = f"{each.num_drops_found} of {each.num_drops}" if each.num_drops else ""
    errors = (f"{value:.1f} {unit}" for value in (each.mean, each.median, each.p90))
    return (f"{each.num_points:,}", *errors, order, drops)


def pooled_cells(own: Sequence[Comparison]) -> tuple[str, ...]:
    """Several figures as one: errors weighted by points, the median and 90th percentile left out, since they do not add up."""
    points = sum(each.num_points for each in own)
    mean = sum(each.mean * each.num_points for each in own) / points
    num_x = sum(each.num_ordered_x for each in own)
    right = sum((each.order or 0.0) * each.num_ordered_x for each in own)
    drops, found = sum(each.num_drops for each in own), sum(each.num_drops_found for each in own)
    return f"{points:,}", f"{mean:.1f} %", "", "", f"{100 * right / num_x:.0f} % of {num_x:,}" if num_x else "", f"{found} of {drops}"


def _logs(book: Book) -> str:
    """Predictions against the authors' logs, as they were when the logs were at hand."""
    if not book.logs:
        return ""
    rows = [
        (
            figure_link(each["figure"]), each["gpu"], f"{each['num_points']:,}", f"{each['mean']:.1f} %", f"{each['median']:.1f} %",
            "" if each["order"] is None else f"{100 * each['order']:.0f} % of {each['num_ordered_x']:,}",
            f"{each['num_drops_found']} of {each['num_drops']}" if each["num_drops"] else "",
        )
        for each in book.logs
    ]  # fmt: skip
    header = ("figure", "GPU", "points", "mean", "median", "order", "drops")
    return f"### The authors' logs\n\n{_LOGS}\n{markdown_table(header, rows, '<<>>>>>')}"
