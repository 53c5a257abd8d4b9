"""Remarks for people, on stderr so that stdout stays the answer alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def print_notes(notes: Iterable[str]) -> None:
    """One `note:` line each; repeated remarks once."""
    for note in dict.fromkeys(notes):
        print(f"note: {' '.join(note.split())}", file=sys.stderr)
