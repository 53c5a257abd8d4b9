"""`shapewright calibrate --from ROWS --gpu G`: fits the predictor to measured products and keeps the result as the user's profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .extras import needs_extra
from .notes import print_notes
from .options import Json
from .screen import page_width

RowsFile = Annotated[
    str, Parameter(name="--from", help="Measured products (.jsonl, .csv, .parquet, .gz): m, n, k, us; batch, dtype, layout, gpu.")
]
MeasuredGpu = Annotated[str | None, Parameter(name="--gpu", help="The GPU that was measured; may be left out where the rows name it.")]
Library = Annotated[str | None, Parameter(name="--library", help="Name of the library profile, such as cuda13; default: the GPU's own.")]
OutFile = Annotated[str | None, Parameter(name="--out", help="Write the profile here instead of your folder of profiles.")]


def calibrate(*, rows: RowsFile, gpu: MeasuredGpu = None, library: Library = None, out: OutFile = None, json: Json = False) -> None:
    """Fit the predictor to a GPU's measured products.

    The profile is kept in your folder of profiles (SHAPEWRIGHT_PROFILES, else shapewright/profiles in XDG_DATA_HOME or ~/.local/share),
    where explain and predict find it before the one that ships. A profile that was there before is kept beside it under a number.
    """
    with needs_extra("calibrate"):
        from ..calibrate.calibration import calibrate as fit
        from ..calibrate.calibration import check_place, write_profile
    from ..report.calibration import calibration_document, calibration_text

    check_place(None if out is None else Path(out))
    calibration = fit(Path(rows), gpu, library, progress=lambda step: print_notes([step]))
    written = previous = None
    if calibration.is_better:
        written, previous = write_profile(calibration.document, Path(out) if out is not None else calibration.path)
    if json:
        from ..report.json import to_json

        print(to_json(calibration_document(calibration, written, previous)))
    else:
        print(calibration_text(calibration, written, previous, width=page_width()))
