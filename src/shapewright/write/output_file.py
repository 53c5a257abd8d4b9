"""Where an answer is written: a file appears only when it is complete, and one that holds something is replaced only where asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..errors import InputError


@contextmanager
def complete_file(target: Path, *, mode: int = 0o666) -> Iterator[TextIO]:
    """A file written beside its place and then moved there with the permissions of `mode`, less the umask; on failure nothing is left."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as sink:
            yield sink
        Path(draft).chmod(mode & ~_umask())
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def refuse_overwriting(target: Path, *, force: bool, flag: str = "-o", place: str = "file") -> None:
    """Refuse a place that holds something or cannot hold a file; `place` is what the flag names."""
    if target.exists() and not target.is_file():
        raise InputError("is not a regular file", where=str(target), hint=f"name a file after {flag}, or - for stdout")
    # Written beside its place and moved there, a file would take the place of the link, not of what it leads to.
    if target.is_symlink():
        raise InputError("is a link", where=str(target), hint=f"name the file that it leads to, or another, after {flag}")
    # An empty file, such as mktemp makes, has nothing to lose.
    if target.exists() and target.stat().st_size and not force:
        raise InputError("already exists", where=str(target), hint=f"name another {place} after {flag}, or add --force")
    if not target.parent.is_dir():
        raise InputError("its folder does not exist", where=str(target), hint="create it first")


def _umask() -> int:
    """The process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
