"""The paper's claims as data, and their verdicts on a GPU.

    for each in judge_claims(Evidence(times=Predicted(gpu=load_gpu("h200")))): each.claim.id, each.verdict.word, each.verdict.reading

Claims stand in `claims/*.toml`: id, where it is said, what it says and what is expected (in our words), how it is tested, known errors of
the paper. Each file names the module of `judges/` whose functions `claim_<id>` decide. A verdict is

- agrees / disagrees: the number decides
- depends: true for some shapes, GPUs or libraries and false for others; the reading says which
- not testable here: nothing in this package or on this machine can tell (no accuracy experiments, no such GPU, not measured)
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal

from .evidence import Evidence, NoTimeError, recorded_points
from .times import Measured

Word = Literal["agrees", "disagrees", "depends", "not testable here"]
WORDS: tuple[Word, ...] = ("agrees", "disagrees", "depends", "not testable here")
#: Clocks whose largest is no more than this times the smallest are one.
ALIKE_CLOCKS = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The word, the number that decides (None: none does) with its unit ("" for a plain ratio or count), and one sentence that reads it."""

    word: Word
    value: float | None
    unit: str
    reading: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim. `text`: what the paper says; `expected`: the number that it gives or implies; `how`: how this package tests it; `error`:
    what is known to be wrong with it, or nothing; `is_arithmetic`: the same on every GPU, by whatever source."""

    id: int
    where: str
    text: str
    expected: str
    how: str
    error: str
    is_arithmetic: bool
    judges: str

    @property
    def judge(self) -> Callable[[Evidence], Verdict]:
        return getattr(import_module(f"{__package__}.judges.{self.judges}"), f"claim_{self.id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A claim and its verdict by one evidence."""

    claim: Claim
    verdict: Verdict


@cache
def all_claims() -> tuple[Claim, ...]:
    """Every claim, by its number."""
    found = []
    for path in (files("shapewright.paper") / "claims").iterdir():
        if path.name.endswith(".toml"):
            data = tomllib.loads(path.read_text("utf-8"))
            found += [_claim(entry, data["judges"]) for entry in data["claims"]]
    return tuple(sorted(found, key=lambda claim: claim.id))


def judge_claims(evidence: Evidence, claims: tuple[Claim, ...] | None = None) -> list[Judged]:
    """Verdicts of all claims (or of some), in their order."""
    return [Judged(claim=claim, verdict=judged(claim, evidence)) for claim in claims or all_claims()]


def judged(claim: Claim, evidence: Evidence) -> Verdict:
    """One verdict; a time that is missing makes the claim untestable by this evidence."""
    try:
        found = claim.judge(evidence)
        return replace(found, reading=found.reading + _clocks(claim, evidence))
    except NoTimeError:
        what = "not measured here" if evidence.is_measured else f"nothing predicts it on {evidence.gpu.name}"
        return Verdict(word="not testable here", value=None, unit="", reading=what)


def _clocks(claim: Claim, evidence: Evidence) -> str:
    """The clocks at which the claim's rows were measured, where they differ: a card lowers them at its power limit. Small gains drown."""
    if claim.is_arithmetic or not isinstance(evidence.times, Measured):
        return ""
    points = recorded_points([claim.judge], evidence.gpu, evidence.dtype)
    clocks = [clock for point in points if (clock := evidence.times.clock_hz(point)) is not None]
    if not clocks or max(clocks) <= ALIKE_CLOCKS * min(clocks):
        return ""
    return f"; measured at clocks of {min(clocks) / 1e6:.0f} to {max(clocks) / 1e6:.0f} MHz"


def _claim(entry: Mapping[str, Any], judges: str) -> Claim:
    return Claim(
        id=entry["id"], where=entry["where"], text=entry["text"], expected=entry["expected"], how=entry["how"],
        error=entry.get("error", ""), is_arithmetic=entry.get("is_arithmetic", False), judges=judges,
    )  # fmt: skip
