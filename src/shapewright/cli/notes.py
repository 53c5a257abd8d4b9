"""Remarks for people, on stderr so that stdout stays the answer alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable

#: How the note of a model that does not fit begins and ends; the end is said to nobody who used --fit.
NO_FIT, FIT_HINT = "does not fit", " (--fit finds the largest micro-batch)"


def print_notes(notes: Iterable[str]) -> None:
    """One `note:` line each; repeated remarks once."""
    for note in dict.fromkeys(notes):
        print(f"note: {' '.join(note.split())}", file=sys.stderr)
