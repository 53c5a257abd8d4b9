"""What a calibration did, for people: each alignment class with its rows and its held-out error before and after; or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..calibrate.calibration import Calibration, ClassFit
from .json import SCHEMA_VERSION, plain
from .table import Block, Row, format_hanging, format_pairs, format_table

HEADER = ("class", "rows fitted", "held out", "error before", "after", "")
LEGEND = (
    "Errors are the mean of |predicted / measured - 1| on products whose (n, k) was kept out of the fit; before: by the profile in force."
)


def calibration_text(calibration: Calibration, written: Path | None, previous: Path | None, *, width: int = 80) -> str:
    """The table, then where the profile is and what it replaced."""
    lines = format_table(HEADER, [Block(rows=tuple(_row(each) for each in calibration.classes))], "<>>>><", width=width)
    lines += ["", *format_hanging(LEGEND, width), ""]
    return "\n".join(lines + format_pairs(_facts(calibration, written, previous), width))


def calibration_document(calibration: Calibration, written: Path | None, previous: Path | None) -> dict[str, Any]:
    """The same as JSON; errors in percent."""
    return {
        "schema_version": SCHEMA_VERSION,
        "gpu": calibration.gpu,
        "library": calibration.library,
        "base": calibration.base,
        "profile": None if written is None else str(written),
        "previous": None if previous is None else str(previous),
        "num_rows": calibration.num_rows,
        "num_failed": calibration.num_failed,
        "left_out": dict(calibration.left_out),
        "classes": plain(calibration.classes),
    }


def _row(each: ClassFit) -> Row:
    fitted = str(each.num_rows - each.num_held_out) if each.is_adopted else "0"
    errors = ("-" if error is None else f"{error:.1f} %" for error in (each.before_percent, each.after_percent))
    return Row(cells=(each.name, fitted, str(each.num_held_out), *errors, each.remark))


def _facts(calibration: Calibration, written: Path | None, previous: Path | None) -> list[tuple[str, str]]:
    left = "; ".join(f"{count} left out: {reason}" for reason, count in calibration.left_out.items())
    failed = f"{calibration.num_failed} failed measurements" if calibration.num_failed else ""
    rows = "; ".join(filter(None, (f"{calibration.num_rows} used", failed, left)))
    facts = [("gpu", f"{calibration.gpu} {calibration.library}".strip()), ("rows", rows), ("started from", calibration.base)]
    if written is None:
        return [*facts, ("profile", "not written: no class is predicted better than before")]
    facts += [("profile", str(written)), ("previous", f"kept as {previous}")] if previous else [("profile", str(written))]
    is_used = written == calibration.path
    advice = "explain and predict use it from now on; remove the file to go back" if is_used else f"copy it to {calibration.path} to use it"
    return [*facts, ("now", advice)]
