"""`shapewright paper claims [ID...] --gpu G`: what the paper says, judged on any GPU by prediction and measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, shown, unknown_name
from ..paper.evidence import Evidence
from ..paper.judging import WORDS, Claim, all_claims, judge_claims
from ..paper.plan import claim_points
from ..paper.reports import PAPER_DTYPE
from ..paper.times import Times
from ..report.paper_claims import Answer, claims_text
from .options import Json
from .paper_sources import SourceFlags, paper_gpus, paper_times
from .screen import page_width


def verdicts_of(_type: Any, tokens: Sequence[Any]) -> tuple[str, ...]:
    """Verdicts with commas; their blanks may be hyphens."""
    words = [each.strip().lower().replace("-", " ").replace("_", " ") for each in tokens[0].value.split(",")]
    for each in words:
        if each not in WORDS:
            raise unknown_name("verdict", each, WORDS, where="--verdict")
    return tuple(words)


def paper_claims(
    *claim: Annotated[str, Parameter(help="Numbers of claims, or ranges such as 20-35; left out: all.")],
    flags: SourceFlags | None = None,
    verdict: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Only these: agrees, disagrees, depends, not-testable-here, with commas.", negative="", converter=verdicts_of, n_tokens=1
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Judge the paper's claims on a GPU: agrees, disagrees, depends or not testable here, with the number that decides.

    Times are predicted; with --measured or --rows the measured verdict stands beside the predicted one. --measured measures what the claims
    ask for on the GPU at hand. Claims of counting alone are the same on every GPU.
    """
    own, claims = flags or SourceFlags(), named_claims(claim)
    gpus = paper_gpus(own, PAPER_DTYPE)
    times = paper_times(own, gpus, lambda gpu: claim_points(claims, gpu))
    every = _answers(claims, times)
    chosen = [each for each in every if verdict is None or each.judged.verdict.word in verdict]
    if json:
        from ..report.json import to_json
        from ..report.paper_json import claims_document

        print(to_json(claims_document(chosen)))
    else:
        print(claims_text(chosen, every, width=page_width()))


def named_claims(names: Iterable[str]) -> tuple[Claim, ...]:
    """The claims of these numbers and ranges, in the paper's order; all where none is named."""
    known = {each.id: each for each in all_claims()}
    given = list(names)
    words = [word.strip() for name in given for word in name.split(",") if word.strip()]
    if given and not words:
        raise InputError("no claim is named", hint="name some, such as 43 or 20-35; left out, all are judged")
    wanted = {number for word in words for number in _numbers(word, known)}
    return tuple(each for number, each in known.items() if not words or number in wanted)


def _numbers(word: str, known: dict[int, Claim]) -> Iterable[int]:
    low, _, high = word.partition("-")
    if not low.isdecimal() or len(low) > 4 or not (word == low or (high.isdecimal() and len(high) <= 4)):
        raise InputError(f"claim is {shown(word)}", hint="expected a number such as 43, or a range such as 20-35")
    found = [number for number in range(int(low), int(high or low) + 1) if number in known]
    if not found:
        raise InputError(f"there is no claim {word}", hint=f"they are {min(known)} to {max(known)}" if known else "none is known")
    return found


def _answers(claims: tuple[Claim, ...], times: Sequence[Times]) -> list[Answer]:
    """Verdicts claim by claim, each by every source."""
    columns = [
        [Answer(judged=judged, gpu=each.gpu.name, source=each.source) for judged in judge_claims(Evidence(times=each), claims)]
        for each in times
    ]
    return [answer for row in zip(*columns, strict=True) for answer in row]
