"""What a calibration did, for people: each alignment class with its rows and its held-out error before and after; or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calibrate.calibration import Calibration, ClassFit
from ..hardware.load import gpu_names, load_gpu
from .json import SCHEMA_VERSION, plain
from .table import Block, Row, format_hanging, format_pairs, format_table
from .units import seconds

if TYPE_CHECKING:
    from ..calibrate.on_gpu import Here

HEADER = ("class", "rows fitted", "held out", "error before", "after", "")
LEGEND = (
    "Errors are the mean of |predicted / measured - 1| on products whose (n, k) was kept out of the fit; before: by the profile in force."
)


def calibration_text(
    calibration: Calibration, written: Path | None, previous: Path | None, *, here: Here | None = None, width: int = 80
) -> str:  # fmt: skip
    """The table, then where the profile is and what it replaced; `here`: where and how long the rows were measured."""
    blocks = [Block(rows=tuple(_row(each) for each in calibration.classes))]
    if calibration.parts:
        blocks.append(Block(title="other parts", rows=tuple(_row(each) for each in calibration.parts)))
    lines = format_table(HEADER, blocks, "<>>>><", width=width)
    lines += ["", *format_hanging(LEGEND, width), ""]
    facts = _facts(calibration, written, previous)
    return "\n".join(lines + format_pairs([*facts[:2], *_session(calibration, here), *facts[2:]], width))


def calibration_document(
    calibration: Calibration, written: Path | None, previous: Path | None, *, here: Here | None = None
) -> dict[str, Any]:  # fmt: skip
    """The same as JSON; errors in percent, times in seconds. What was measured here stands there only then."""
    return _plain_document(calibration, written, previous) | _session_document(calibration, here)


def _plain_document(calibration: Calibration, written: Path | None, previous: Path | None) -> dict[str, Any]:
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


def _session_document(calibration: Calibration, here: Here | None) -> dict[str, Any]:
    """What only a run of ours has."""
    if here is None and not calibration.parts:
        return {}
    document: dict[str, Any] = {
        "parts": plain(calibration.parts),
        "host_s": dict(calibration.document["calibration"].get("host_s", {})),
        "before_percent": calibration.before_percent,
        "after_percent": calibration.after_percent,
    }
    if here is None:
        return document
    return document | {
        "rows_file": str(here.path), "measured_s": round(here.measured_s, 1), "fitted_s": round(here.fitted_s, 1),
        "points_per_s": round(here.summary.rate_per_s, 1), "num_measured": here.summary.num_measured,
    }  # fmt: skip


def _session(calibration: Calibration, here: Here | None) -> list[tuple[str, str]]:
    """Facts of a run of ours: the error over all products, the host, time spent, the file."""
    if here is None and not calibration.parts:
        return []
    before, after = calibration.before_percent, calibration.after_percent
    facts = [] if before is None else [("held out", f"{before:.1f} % before, {after:.1f} % now, mean over all products")]
    host = calibration.document["calibration"].get("host_s", {})
    if host:
        facts.append(("host", ", ".join(f"{name} {seconds(time_s)}" for name, time_s in host.items()) + " (told, not adopted)"))
    if here is not None:
        rate = f"{here.summary.num_measured} points, {here.summary.rate_per_s:.0f} a second"
        facts.append(("time", f"{here.measured_s:.0f} s measuring ({rate}), {here.fitted_s:.0f} s fitting"))
        facts.append(("rows in", str(here.path)))
    return facts


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
    first = next(iter(load_gpu(calibration.gpu).libraries), "") if calibration.gpu in gpu_names() else calibration.library
    flag = "" if calibration.library == first else f" with --library {calibration.library}"
    advice = (
        f"explain and predict use it{flag} from now on; remove the file to go back"
        if is_used
        else f"copy it to {calibration.path} to use it"
    )
    return [*facts, ("now", advice)]
