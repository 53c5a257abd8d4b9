"""`LintRun`: what one call of `shapewright lint` found, which every output format shows.

Shares are of the step's time, costs in seconds. A place is `config.json:14`, `config.json` where the line is not known, and the model's
name where it was read from no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..lint.finding import Finding
from ..lint.linter import Linted
from ..lint.rule import Rule

#: Origins of models that no file describes.
NO_FILES = ("catalogue", "flags")
#: Models that a note about several names.
MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRun:
    """The models of a call with their findings, the rules that looked, and the share from which on a finding fails the call.

    `failures` are arguments that could not be linted and why, `notes` pairs of a model's place and what is worth knowing of how it was
    read; `texts` holds the text of files that findings name.
    """

    rules: tuple[Rule, ...]
    fail_over: float
    linted: tuple[Linted, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def added(self, linted: Linted, *, notes: Iterable[str] = (), texts: Mapping[str, str] | None = None) -> LintRun:
        """The run with one more model, the `notes` of how it was read and the `texts` of its files."""
        more = replace(self, linted=(*self.linted, linted), texts={**self.texts, **(texts or {})})
        return more.noted(linted, notes)

    def noted(self, linted: Linted, notes: Iterable[str]) -> LintRun:
        """The run with more `notes` about one of its models."""
        place_of = model_place(linted)
        return replace(self, notes=(*self.notes, *((place_of, note) for note in dict.fromkeys(notes))))

    def failed(self, argument: str, message: str) -> LintRun:
        """The run with one more argument that could not be linted."""
        return replace(self, failures=(*self.failures, (argument, message)))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all models, model by model, dearest first in each."""
        return tuple(finding for each in self.linted for finding in each.findings)

    @property
    def failing(self) -> tuple[Finding, ...]:
        """Findings whose dearest price reaches the threshold."""
        return tuple(finding for finding in self.findings if self.is_failing(finding))

    def is_failing(self, finding: Finding) -> bool:
        """Whether the finding alone would fail the call."""
        return finding.price.share >= self.fail_over

    @property
    def spoken_notes(self) -> tuple[str, ...]:
        """Every note once, with the models that it is about where it is not about all."""
        about: dict[str, list[str]] = {}
        for place_of, note in self.notes:
            about.setdefault(note, []).append(place_of)
        return tuple(_spoken(note, places, len(self.linted)) for note, places in about.items())

    def line_of(self, finding: Finding) -> str | None:
        """The line of the file that sets the finding's field; None where it is not known."""
        lines = self.texts.get(finding.file, "").split("\n")
        return lines[finding.line - 1].rstrip("\r") if finding.line is not None and finding.line <= len(lines) else None


def _spoken(note: str, places: Sequence[str], num_models: int) -> str:
    if len(places) == num_models:
        return note
    if len(places) == 1:
        return f"{places[0]}: {note}"
    named, others = places[:MAX_NAMED], len(places) - MAX_NAMED
    return f"{', '.join(named)}{f' and {others} more' if others > 0 else ''}: {note}"


def file_of(finding: Finding, linted: Linted) -> str | None:
    """The file, or Hub id, of a finding; None for a model of the catalogue or of flags.

    Of several files that were merged it is the one that says the field, the first where none does.
    """
    files = tuple(linted.loaded.files.values())
    if files and finding.file not in files:
        return files[0]
    return None if finding.file in NO_FILES else finding.file


def place(finding: Finding) -> str:
    """Where the fault is, as people read it."""
    name = finding.model if finding.file in NO_FILES else finding.file
    return one_line(name + ("" if finding.line is None else f":{finding.line}"))


def model_file(linted: Linted) -> str | None:
    """The file, or Hub id, of a model; None for one of the catalogue or of flags."""
    return None if linted.loaded.origin in NO_FILES else linted.loaded.origin


def model_place(linted: Linted) -> str:
    """The file of a model, or its name."""
    return one_line(model_file(linted) or linted.loaded.shape.name)


def one_line(text: str) -> str:
    """`text` with its control characters escaped, so that no file's name or content can break a line or move the cursor."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
