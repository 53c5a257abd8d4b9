"""docs/paper/claims.md: every claim of the paper with its verdicts by each source.

    claims_page(book)

A table of all claims first, then each with what it says, what is expected, how it is tested, the paper's known errors, and a line a source.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..paper.judging import Claim
from .accuracy_page import markdown_table
from .paper_book import FIRST, SOURCES, Book, cell
from .paper_claims import value_text

#: Parts of the paper, by the module that judges their claims.
TITLES = {
    "introduction": "Abstract and introduction", "background": "Products, alignment, tiles and waves",
    "layer": "The layer, its sizes and systems",
    "products": "Products measured", "heads": "Heads and hidden size", "rules": "Alignment, tiles, waves, batch",
    "sizing": "Splits over GPUs, GPT-3 2.7B", "modifications": "Modified layers, SwiGLU and inference", "nodes": "Nodes of six GPUs",
    "discussion": "Discussion and conclusion", "appendices": "Appendices", "decoding": "Another paper's decoding chart",
}  # fmt: skip
_HEAD = """# Claims

[The paper's rules, revisited in 2026]({first})

What the paper says, in our words, and what becomes of it. *Agrees* and *disagrees*: the number decides. *Depends*: true
for some shapes, GPUs or libraries, or not for the reason given. *Not testable here*: nothing in this package, or in
what was measured, can tell. Claims of counting are the same on every GPU and have one verdict.
"""


def claims_page(book: Book) -> str:
    """The page as Markdown; it ends with a newline."""
    claims = [each.claim for each in next(iter(book.judged.values()))]
    rows = [_row(book, claim) for claim in claims]
    table = markdown_table(("", "where", *SOURCES.values()), rows, "><<<<")
    parts = [_HEAD.format(first=FIRST), table]
    for module, own in groupby(claims, key=lambda claim: claim.judges):
        parts += [f"## {TITLES[module]}\n", *("\n".join(_claim(book, claim)) for claim in own)]
    return "\n".join(parts)


def _row(book: Book, claim: Claim) -> tuple[str, ...]:
    verdicts = book.verdicts(claim.id)
    if claim.is_arithmetic:
        one = _words(book, claim, "measured")
        return f"[{claim.id}](#claim-{claim.id})", claim.where, f"any GPU: {one}", "", ""
    return f"[{claim.id}](#claim-{claim.id})", claim.where, *(cell_words(verdicts, source) for source in SOURCES)


def cell_words(verdicts: dict, source: str) -> str:
    """Verdict and number of one source."""
    return f"{verdicts[source].word}{_value(value_text(verdicts[source]))}" if source in verdicts else cell(None)


def _words(book: Book, claim: Claim, source: str) -> str:
    return cell_words(book.verdicts(claim.id), source)


def _value(text: str) -> str:
    return "" if text == "-" else f", {text}"


def _claim(book: Book, claim: Claim) -> Iterator[str]:
    """One claim and its verdicts."""
    yield f'<a id="claim-{claim.id}"></a>\n\n**{claim.id}** ({claim.where}). {claim.text}\n'
    yield f"Expected: {claim.expected}. Tested by: {claim.how}."
    if claim.error:
        yield f"\n**Known error of the paper:** {claim.error}"
    yield ""
    verdicts = book.verdicts(claim.id)
    for source in ("measured",) if claim.is_arithmetic else SOURCES:
        name = "any GPU" if claim.is_arithmetic else SOURCES[source]
        yield f"- {name}: **{verdicts[source].word}**{_value(value_text(verdicts[source]))}; {verdicts[source].reading}."
    yield ""
