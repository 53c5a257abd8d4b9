"""`shapewright calibrate`: measures the GPU at hand for two minutes (or takes rows with --from), fits, and keeps the user's profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..errors import InputError
from .extras import needs_extra
from .notes import print_notes
from .options import Count, Json, PositiveNumber
from .screen import page_width

if TYPE_CHECKING:
    from ..calibrate.calibration import Calibration
    from ..calibrate.on_gpu import Here, Request

RowsFiles = Annotated[
    list[str] | None,
    Parameter(
        name="--from", negative="",
        help="Fit these rows instead of measuring: a run of `bench` or `calibrate` (several may be given), or products in a file "
        "(.jsonl, .csv, .parquet, .gz) with m, n, k, us; batch, dtype, layout, gpu.",
    ),
]  # fmt: skip
MeasuredGpu = Annotated[
    str | None, Parameter(name="--gpu", help="What is measured: a known GPU or a TOML file; default: as the driver says.")
]
Library = Annotated[
    str | None, Parameter(name="--library", help="Name of the library profile, such as cuda13; default: as torch was built.")
]
OutFile = Annotated[str | None, Parameter(name=("--output", "--out"), help="Write the profile here instead of your folder of profiles.")]
DeviceName = Annotated[str, Parameter(name="--device", help="cuda, cuda:N or cpu.")]
Seconds = Annotated[PositiveNumber, Parameter(name="--seconds", help="Wall time in seconds, fit included.")]
Seed = Annotated[Count, Parameter(name="--seed", help="Which points are drawn.")]
Resume = Annotated[str | None, Parameter(name="--resume", help="Keep the rows in this file, and go on with those that it holds.")]
PrintGpu = Annotated[
    bool, Parameter(name="--print-gpu", negative="", help="Print the start of a TOML file that describes this GPU, and end.")
]


def calibrate(
    *, rows: RowsFiles = None, device: DeviceName = "cuda", gpu: MeasuredGpu = None, library: Library = None, seconds: Seconds = 165.0,
    seed: Seed = 0, resume: Resume = None, out: OutFile = None, print_gpu: PrintGpu = False, json: Json = False,
) -> None:  # fmt: skip
    """Fit the predictor to a GPU: the one at hand, measured for --seconds, or one whose rows --from names.

    Without --from it measures products, attention and memory-bound kernels on this GPU until the time is nearly over, and fits: two and a
    half minutes in all by default.

    The profile is kept in your folder of profiles (SHAPEWRIGHT_PROFILES, else shapewright/profiles in XDG_DATA_HOME or ~/.local/share),
    where explain and predict find it before the one that ships. A profile that was there before is kept beside it under a number.

    Rows are kept in your folder of runs (SHAPEWRIGHT_RUNS, else shapewright/runs in the same place), or in the file of --resume. After
    Ctrl-C the same command goes on with them within a day, with --resume FILE at any time; --from FILE fits them as they are.
    """
    if print_gpu:
        from ..measure.describe import gpu_description

        print(gpu_description(device), end="")
        return
    with needs_extra("calibrate"):
        from ..calibrate import on_gpu
        from ..calibrate.calibration import check_place, write_profile

    check_place(None if out is None else Path(out))
    here = None
    if rows:
        calibration = _fitted(rows, gpu, library)
    else:
        request = on_gpu.Request(
            device=device, gpu=gpu, library=library, seconds=seconds, seed=seed, rows=None if resume is None else Path(resume)
        )  # fmt: skip
        here = _measured(request)
        calibration = here.calibration
    written = previous = None
    if calibration.is_better:
        written, previous = write_profile(calibration.document, Path(out) if out is not None else calibration.path)
    _print(calibration, here, (written, previous), json=json)


def _print(calibration: Calibration, here: Here | None, places: tuple[Path | None, Path | None], *, json: bool) -> None:
    from ..report.calibration import calibration_document, calibration_text

    if json:
        from ..report.json import to_json

        print(to_json(calibration_document(calibration, *places, here=here)))
    else:
        print(calibration_text(calibration, *places, here=here, width=page_width()))


def _fitted(rows: list[str], gpu: str | None, library: str | None) -> Calibration:
    """Runs of ours with all that they hold, another file for its products."""
    from ..calibrate.calibration import calibrate as fit
    from ..calibrate.on_gpu import fit_run, is_run
    from ..hardware.load import load_gpu

    paths = [Path(each) for each in rows]
    if all(is_run(path) for path in paths):
        return fit_run(paths, None if gpu is None else load_gpu(gpu), library, say=_say)
    if len(paths) > 1:
        raise InputError("several files are fitted together only if all are runs", hint="name one file, or runs of `bench` and `calibrate`")
    return fit(paths[0], gpu, library, progress=_say)


def _measured(request: Request) -> Here:
    """Measure and fit here; Ctrl-C says where the rows are."""
    from ..calibrate.on_gpu import calibrate_here, open_session
    from ..measure.progress import ProgressLine

    session = open_session(request)
    _say(f"measuring {session.gpu.name} {session.library}; rows {'go on' if session.is_resumed else 'are kept'} in {session.path}")
    line = ProgressLine()
    try:
        return calibrate_here(request, session, on_progress=line.show, say=lambda text: (line.close(), _say(text))[1])
    except KeyboardInterrupt:
        line.close()
        again = f"start again within a day to go on, or fit them with --from {session.path}"
        print(f"interrupted: what was measured is kept in {session.path}; {again}", file=sys.stderr)
        raise
    finally:
        line.close()


def _say(text: str) -> None:
    print_notes([text])
