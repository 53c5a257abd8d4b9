"""Optional parts of the installation: what a command needs beyond the core, said in one line where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MissingError


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns a package that cannot be imported into an error that names the extra to install."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("shapewright"):  # a fault of ours, which no extra mends
            raise
        raise MissingError(f"this needs {error.name}", hint=f"pip install 'shapewright[{extra}]'") from None
