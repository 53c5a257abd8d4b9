"""What the programs `python -m shapewright.measure` and `python -m shapewright.decode` share: how they say that something went wrong.

sys.exit(exit_code(lambda: measured(options), kept="what was measured is kept, go on with: python -m ..."))
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ..errors import InputError, ShapewrightError
from .store import runs_folder

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says a usage error in one line, as every other error."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, hint=f"see `{self.prog} --help`")


def exit_code(work: Callable[[], int], *, kept: str) -> int:
    """What `work` ends with; an error or Ctrl-C is one line on stderr, the latter with what is `kept`."""
    try:
        return work()
    except ShapewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted; {kept}", file=sys.stderr)
        return INTERRUPTED


def check_time_limit(seconds: float | None) -> None:
    """`--time-limit` is above 0 where it is given."""
    if seconds is not None and not seconds > 0:
        raise InputError(f"--time-limit is {seconds:g}", hint="expected seconds above 0")


def default_out(name: str) -> Path:
    """`NAME.jsonl` in the folder of runs."""
    folder = runs_folder()
    if folder is None:
        raise InputError("there is no folder for runs", hint="name the file with --out RUN.jsonl")
    return folder / f"{name}.jsonl"
