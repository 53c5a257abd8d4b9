"""`rewrite(text, loaded, wanted)`: the text of a model's file with values replaced so that it describes another shape.

A reader tells the line of each field, but not its key: several numbers of a line may be meant (a config in one line), a width may be said
by a variable elsewhere (a launch script), or by a default that the file leaves out. So each way to say the new value is tried, the
likeliest first, and the first text that the reader takes for exactly the wanted shape is kept. All else stays byte for byte: line ends,
byte-order mark, indentation, order of keys. Works for every kind of file that `load_text` reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice, pairwise
from typing import Any

from ..errors import InputError
from ..read.hf import FAMILIES
from ..read.hf_names import ALIASES, TEXT_KEYS
from ..read.located import LocatedObject, load_json
from ..read.resolve import load_text
from ..read.source import LoadedShape
from ..shape import ModelShape

#: Ways to say one field, and texts to read again, before the file is left to its owner.
MAX_WAYS, MAX_TRIES = 12, 200
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """`text` in place of the characters from `start` to `end`; the same position twice: inserted there."""

    start: int
    end: int
    text: str


#: One way to say a field: an edit, or None where it follows from others.
_Way = _Edit | None


def scalars(shape: ModelShape) -> dict[str, Any]:
    """Every plain field of a shape, of its experts and of its latent attention."""
    parts = [part for part in (shape, shape.moe, shape.latent_attention) if part is not None]
    named = {field.name: getattr(part, field.name) for part in parts for field in fields(part)}
    return {name: value for name, value in named.items() if name not in ("moe", "latent_attention")}


def rewrite(text: str, loaded: LoadedShape, wanted: ModelShape) -> tuple[str, LoadedShape] | None:
    """The text that describes `wanted` where `text` describes `loaded`, and what it is then read as; None if no way leads there."""
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    body = text.removeprefix(mark)
    old, new, located = scalars(loaded.shape), scalars(wanted), _located(body)
    changes = {field: (old.get(field), value) for field, value in new.items() if old.get(field) != value}
    ways = [tuple(islice(_ways(body, loaded, located, field, change), MAX_WAYS)) for field, change in changes.items()]
    for chosen in islice(_combinations(ways), MAX_TRIES):
        edited = _edited(body, [way for way in chosen if way is not None])
        again = None if edited is None else _read_as(edited, loaded, wanted)
        if again is not None:
            return f"{mark}{edited}", again
    return None


def repeated_in(text: str, field: str, value: Any) -> tuple[int, ...]:
    """The lines of a JSON config, of its top and its text part, that say this value of a field."""
    located = None if value is None else _located(text)
    if located is None:
        return ()
    owners: list[tuple[tuple[str, ...], Any]] = [((), located.values), *(((key,), located.values.get(key)) for key in TEXT_KEYS)]
    spelled = [(path, owner, key) for path, owner in owners if isinstance(owner, dict) for key in _spellings(owner, field)]
    return tuple(located.lines[*path, key] for path, owner, key in spelled if type(owner.get(key)) is type(value) and owner[key] == value)


def _combinations(ways: Sequence[tuple[_Way, ...]]) -> Iterator[tuple[_Way, ...]]:
    """One way for each field, in every combination, likely ones first."""
    for rank in range(sum(len(each) - 1 for each in ways) + 1):
        yield from _of_rank(ways, rank)


def _of_rank(ways: Sequence[tuple[_Way, ...]], rank: int) -> Iterator[tuple[_Way, ...]]:
    """The combinations whose places in the fields' lists add up to `rank`."""
    if not ways:
        yield from [()] if rank == 0 else []
        return
    for at, way in enumerate(ways[0][: rank + 1]):
        yield from ((way, *rest) for rest in _of_rank(ways[1:], rank - at))


def _read_as(text: str, loaded: LoadedShape, wanted: ModelShape) -> LoadedShape | None:
    """What is read from `text`, if that is the wanted shape, run as before."""
    given = {field: scalars(loaded.shape)[field] for field in loaded.stand_ins}
    try:
        again = load_text(text, name=wanted.name, where=loaded.origin, given=given)
    except InputError:
        return None
    return again if again.shape == wanted and again.workload == loaded.workload else None


def _located(text: str) -> LocatedObject | None:
    """The text as JSON, if it is."""
    try:
        return load_json(text, where="")
    except InputError:
        return None


def _ways(text: str, loaded: LoadedShape, located: LocatedObject | None, field: str, change: tuple[Any, Any]) -> Iterator[_Way]:
    """How the text may say a field's new value, likeliest first."""
    old, new = change
    written, line = json.dumps(new), loaded.lines.get(field)
    start, end = _span(text, line) if line else (0, 0)
    yield from _replacements(text, _literal(old), written, start, end)
    yield None
    if line:
        # null stands for a width that follows from others; a vocabulary that the reader pads is written as another number.
        yield from _replacements(text, _literal(None), written, start, end)
        yield from (edit for edit in _replacements(text, _INTEGER, written, start, end) if text[edit.start : edit.end] != json.dumps(old))
    elif located is not None:
        yield from _insertions(text, located, field, written)
    if located is None:
        yield from _replacements(text, _literal(old), written, 0, start)
        yield from _replacements(text, _literal(old), written, end, len(text))


_INTEGER = re.compile(r"(?<![\w.+-])\d[\d_]*(?![\w.])")


def _literal(value: Any) -> re.Pattern[str]:
    """A value as JSON, YAML and shells write it, not as part of a longer word or number."""
    return re.compile(rf"(?<![\w.+-]){re.escape(json.dumps(value))}(?![\w.])")


def _replacements(text: str, pattern: re.Pattern[str], written: str, start: int, end: int) -> Iterator[_Edit]:
    return (_Edit(start=match.start(), end=match.end(), text=written) for match in pattern.finditer(text, start, end))


def _span(text: str, line: int) -> tuple[int, int]:
    """Where a 1-based line begins and ends."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    end = text.find("\n", start)
    return start, len(text) if end < 0 else end


def _insertions(text: str, located: LocatedObject, field: str, written: str) -> Iterator[_Edit]:
    """A new key before another of the same object, blanks and all as there: of the text part of a multimodal config first."""
    inner = [(key,) for key in TEXT_KEYS if isinstance(located.values.get(key), dict)]
    for path in (*inner, ()):
        owner = located.values[path[0]] if path else located.values
        for key in _spellings(owner, field):
            # Before a key that sorts after it, so that a sorted file stays so; the first key's blanks are not those between two.
            anchor = next((other for other in list(owner)[1:] if other > key), next(reversed(owner), None))
            if key in owner or anchor is None:
                continue
            start, end = _span(text, located.lines[*path, anchor])
            anchored = re.compile(rf"{re.escape(json.dumps(anchor, ensure_ascii=False))}(\s*:\s*)")
            for match in anchored.finditer(text, start, end):
                gap = text[len(text[: match.start()].rstrip()) : match.start()]
                yield _Edit(start=match.start(), end=match.start(), text=f'"{key}"{match[1]}{written},{gap}')


def _spellings(owner: dict[str, Any], field: str) -> tuple[str, ...]:
    """The keys of a field, the family's own first."""
    kind = owner.get("model_type")
    family = FAMILIES.get(ALIASES.get(kind, kind)) if isinstance(kind, str) else None
    return tuple(dict.fromkeys((*(family.keys.get(field, ()) if family else ()), field)))


def _edited(text: str, edits: Sequence[_Edit]) -> str | None:
    """The text with all edits made; None where two want the same place."""
    ordered = sorted(set(edits), key=lambda edit: (edit.start, edit.end))
    if any(later.start < earlier.end for earlier, later in pairwise(ordered)):
        return None
    for edit in reversed(ordered):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
