"""What goes wrong, said in one line: what, where, what now.

Every failure that a user can cause is a `ShapewrightError`; the command line prints `str(error)` and exits with
`error.exit_code` (2: bad input, 3: missing hardware or optional dependency). Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

MAX_SHOWN_CHARACTERS = 60
MAX_PLACE_CHARACTERS = 120
MAX_MESSAGE_CHARACTERS = 390


class ShapewrightError(Exception):
    """A failure with its place and its remedy.

    `what` states the fault, `where` the file, line or flag, `hint` what to do now, `field` the `ModelShape` or
    `Workload` field at fault (so that a reader can turn it into a line of a file).
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(what)
        self.what, self.where, self.hint, self.field = what, where, hint, field

    def __str__(self) -> str:
        place = f"{_one_line(self.where)}: " if self.where else ""
        remedy = f"; {self.hint}" if self.hint else ""
        message = f"{place}{self.what}{remedy}"
        return message if len(message) <= MAX_MESSAGE_CHARACTERS else message[: MAX_MESSAGE_CHARACTERS - 3] + "..."

    def at(self, where: str) -> ShapewrightError:
        """The same error with its place filled in; a place already known is kept."""
        return type(self)(self.what, where=self.where or where, hint=self.hint, field=self.field)


class InputError(ShapewrightError, ValueError):
    """The user's input is not usable (exit code 2)."""


class MissingError(ShapewrightError):
    """Hardware or an optional dependency is missing (exit code 3)."""

    exit_code = 3


def _one_line(where: str) -> str:
    """A place as it may appear in a message: control characters escaped, and of a long path the end, which tells files apart."""
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in where[-2 * MAX_PLACE_CHARACTERS :])
    return text if len(text) <= MAX_PLACE_CHARACTERS else "..." + text[-MAX_PLACE_CHARACTERS + 3 :]


def shown(value: object) -> str:
    """`value` as it may appear in a one-line message: quoted, control characters escaped, cut to a readable length."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python prints, or a foreign object's own fault
        text = f"a {type(value).__name__} that cannot be printed"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."


def _likeness(one: str, other: str) -> tuple[float, int]:
    """How alike two names are: letters that they share, and where those are as many, letters that they begin with alike."""
    return difflib.SequenceMatcher(None, one, other).ratio(), len(os.path.commonprefix([one, other]))  # noqa: RUF071 - names, not paths


def unknown_name(kind: str, name: object, known: Iterable[str], *, where: str | None = None, field: str | None = None) -> InputError:
    """The error for a name outside `known`: offers the nearest names, or says how many there are."""
    names = sorted(known)
    by_lower = {known_name.lower(): known_name for known_name in names}
    text = str(name).lower()[:200]
    close = difflib.get_close_matches(text, by_lower, n=max(1, len(by_lower)), cutoff=0.5)
    near = [by_lower[match] for match in sorted(close, key=lambda match: _likeness(match, text), reverse=True)[:3]]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif len(names) <= 12:
        hint = f"known: {', '.join(names)}"
    else:
        hint = f"{len(names)} are known, for example {', '.join(names[:3])}"
    return InputError(f"unknown {kind} {shown(name)}", where=where, hint=hint, field=field)
