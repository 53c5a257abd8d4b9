"""The command line: one thin module a command, imported only when the command runs.

Exit codes: 0 clean, 1 findings over the threshold, 2 bad input, 3 missing hardware or optional dependency. A failure is one line on
stderr; stdout carries the answer and nothing else.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from ..errors import ShapewrightError

#: What a shell reports for a process that SIGPIPE (13) or SIGINT (2) ended: 128 + the signal.
EXIT_BROKEN_PIPE, EXIT_INTERRUPTED = 141, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to those of the process."""
    if sys.stdout is None:  # closed by whoever started us: there is nobody to answer
        return EXIT_BROKEN_PIPE
    for stream in (sys.stdout, sys.stderr):
        _escape_unprintable(stream)
    try:
        # Inside the try, so that Ctrl-C while modules load ends as cleanly as later.
        from .app import run

        code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except ShapewrightError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else "the answer: " if error.errno == errno.ENOSPC else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    return code


def _fail(message: str, code: int) -> int:
    """One line on stderr, whatever a file name or value holds."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _escape_unprintable(stream: TextIO) -> None:
    """Print a character that the terminal's encoding lacks as an escape rather than fail on it."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again on the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
