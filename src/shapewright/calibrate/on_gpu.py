"""`calibrate` on the GPU at hand: measure for a minute or two, fit, say how well, in one call.

    here = calibrate_here(Request(seconds=165))
    here.calibration.document, here.calibration.parts, here.summary

The rows go to a run file of the user's (`measure.store.runs_folder`), and are safe there from the moment they are measured: a calibration
that is stopped goes on with the rows of the last day's file of the same GPU and seed. `seconds` is wall time, fit included. Errors: no
torch or no GPU is a `MissingError`; a GPU that the catalogue lacks is an `InputError` that says how to describe it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingError, shown
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..hardware.profile import profile_from_json
from ..measure.devices import Device, environment, open_device
from ..measure.executor import Summary, execute
from ..measure.outbox import OnProgress
from ..measure.points import GemmPoint
from ..measure.store import Run, read_run, runs_folder
from ..predict.gemm import product_rates
from ..predict.profiles import load_profile
from .calibration import Base, Calibration, ClassFit, Fitted, base_profile, calibrate_table
from .parts import fit_parts
from .products import Products, Progress, catalogued, may_be_of, predicted
from .sampling import calibration_points, reach_of
from .table import table_of
from .tuning import tune_classes

#: Seconds kept for the fit; and the least share of the time that is measured for.
FIT_S, LEAST_MEASURED = 45.0, 0.5
#: More points than any GPU measures in the time.
MOST_POINTS_A_SECOND = 150
#: A point that takes longer is a row that says so: a product of 15 ms at the peak may take a hundred times as long misaligned.
TIMEOUT_S = 30.0
#: A stopped calibration goes on with a file that was written to less than this many seconds ago.
RESUME_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to calibrate: `gpu` None: as the driver calls it; `library` None: as torch was built; `rows` None: the user's folder of runs."""

    device: str = "cuda"
    gpu: str | None = None
    library: str | None = None
    seconds: float = 165.0
    seed: int = 0
    rows: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The device, what it is called in the catalogue, and the file that its rows go to."""

    device: Device
    gpu: Gpu
    library: str
    path: Path
    is_resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A calibration with the sweep that it was fitted to, and the seconds that measuring and fitting took."""

    calibration: Calibration
    summary: Summary
    path: Path
    measured_s: float
    fitted_s: float


def open_session(request: Request) -> Session:
    """Find the device, its name and its file before anything is measured."""
    device = open_device(request.device)
    gpu = gpu_of(device, request.gpu)
    library = request.library if request.library is not None else library_of(environment(device), gpu)
    base_profile(gpu, library)
    path = request.rows or _run_path(gpu, request.seed)
    return Session(device=device, gpu=gpu, library=library, path=path, is_resumed=path.is_file())


def gpu_of(device: Device, name: str | None) -> Gpu:
    """The GPU of the catalogue, or of the user's TOML file, that `device` is."""
    if name is not None:
        gpu = load_gpu(name)
        found = catalogued(device.gpu) if device.is_gpu else None
        if found is not None and not name.endswith(".toml") and found.name != gpu.name:
            raise InputError(f"this GPU is {found.name}, not {gpu.name}", hint="leave --gpu out")
        return gpu
    if not device.is_gpu:
        raise InputError(
            "a CPU has no profile", hint="describe one in a TOML file of the form of `shapewright gpus` and name it with --gpu"
        )
    found = catalogued(device.gpu)
    if found is None:
        what = f"{shown(device.gpu)} is not in the catalogue"
        raise InputError(
            what, hint="`shapewright calibrate --print-gpu > my-gpu.toml` starts its description; fill it in, then --gpu my-gpu.toml"
        )
    return found


def library_of(found: Mapping[str, Any], gpu: Gpu) -> str:
    """The library profile that torch's build belongs to: cuda13 for CUDA 13.0, cuda12.4 where the GPU has that; "" for one without."""
    if not gpu.libraries:
        return ""
    for key in ("cuda", "rocm"):
        parts = str(found.get(key) or "").split(".")
        if parts[0].isdigit():
            exact = f"{key}{'.'.join(parts[:2])}"
            return exact if exact in gpu.libraries else f"{key}{parts[0]}"
    return gpu.libraries[0]


def _run_path(gpu: Gpu, seed: int) -> Path:
    """The newest file of the GPU and seed of the last day, else a new one."""
    folder = runs_folder()
    if folder is None:
        raise MissingError("there is no folder for your rows", hint="name a file with --resume")
    start = f"calibrate-{''.join(each if each.isalnum() or each in '.-' else '_' for each in gpu.name)}-{seed}-"
    known = sorted((path.stat().st_mtime, path) for path in folder.glob(f"{start}*.jsonl")) if folder.is_dir() else []
    if known and time.time() - known[-1][0] < RESUME_S:
        return known[-1][1]
    return folder / f"{start}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"


def calibrate_here(
    request: Request, session: Session | None = None, *, on_progress: OnProgress | None = None, say: Progress | None = None
) -> Here:  # fmt: skip
    """Measure within `request.seconds` and fit; Ctrl-C ends it with the rows in the session's file."""
    start = time.monotonic()
    session = session or open_session(request)
    measured = measure_here(request, session, start, on_progress)
    between = time.monotonic()
    if say is not None:
        say(f"{measured.num_measured} points measured in {between - start:.0f} s, {measured.num_failed} failed; fitting")
    calibration = fit_run([session.path], session.gpu, session.library, say=say)
    return Here(
        calibration=calibration, summary=measured, path=session.path, measured_s=between - start, fitted_s=time.monotonic() - between
    )  # fmt: skip


def measure_here(request: Request, session: Session, start: float, on_progress: OnProgress | None) -> Summary:
    """The points of the seed, as many as the time allows, in order."""
    budget_s = max(LEAST_MEASURED * request.seconds, request.seconds - FIT_S)
    count = int(MOST_POINTS_A_SECOND * max(budget_s, 1.0))
    reach = reach_of(session.gpu, is_cpu=not session.device.is_gpu)
    with Run.open(session.path) as run:
        points = calibration_points(reach, request.seed, count + len(run.done))
        left_s = max(budget_s - (time.monotonic() - start), 1.0)
        return execute(points, run, device=session.device.name, timeout_s=TIMEOUT_S, progress=on_progress, time_limit_s=left_s)


def is_run(path: Path) -> bool:
    """Whether a file holds rows of a run of ours, of which more than the products can be fitted."""
    try:
        return any("kind" in row for row in read_run(path).rows[:1])
    except InputError:
        return False


def fit_run(paths: Sequence[Path], gpu: Gpu | None, library: str | None, *, say: Progress | None = None) -> Calibration:
    """Fit what run files hold of one GPU: products, then the other parts of the profile."""
    runs = [read_run(path) for path in paths]
    every = [row for run in runs for row in run.latest()]
    gpu = gpu or _only_gpu(every, str(paths[0]))
    names = {name for name in {str(row["gpu"]) for row in every} if may_be_of(name, gpu)}
    own = [row for row in every if str(row["gpu"]) in names]
    plain = [row for row in own if row.get("kind") == GemmPoint.kind and row.get("runtime", "eager") == "eager" and not row.get("split")]
    found = runs[-1].environment
    table = table_of(str(paths[-1]), plain, found)
    if not len(table):
        raise InputError("holds no measured product", where=table.name, hint="measure for longer: --seconds")
    library = library if library is not None else library_of(found, gpu)
    left_out = {"of another GPU": len(every) - len(own)} if len(every) > len(own) else {}
    calibration = calibrate_table(table, gpu, library, fit=tuned, left_out=left_out, progress=say)
    # From the document, not from the profile in force: what another GPU lent counts as unmeasured there.
    parts = fit_parts(own, gpu, profile_from_json(calibration.document))
    origin = {**calibration.document["calibration"], "host_s": dict(parts.host_s)}
    document = {**calibration.document, **parts.document, "calibration": origin}
    profile_from_json(document)
    return replace(calibration, document=document, parts=parts.fits)


def _only_gpu(rows: Sequence[Mapping[str, Any]], where: str) -> Gpu:
    found = {str(row["gpu"]): catalogued(str(row["gpu"])) for row in rows}
    known = {gpu.name: gpu for gpu in found.values() if gpu is not None}
    if len(known) != 1 or None in found.values():
        raise InputError("does not say which one GPU of the catalogue was measured", where=where, hint="name it with --gpu")
    return next(iter(known.values()))


def tuned(products: Products, gpu: Gpu, base: Base, say: Progress | None) -> Fitted:
    """The candidate of each class that errs least, where that is clearly less than the profile in force."""
    library = base.library or None
    rates = product_rates(gpu, str(products.dtype[0]))
    before_s = predicted(products, gpu, library).time_s
    found = tune_classes(products, load_profile(gpu, library).menus, rates, before_s, say)
    classes = tuple(
        ClassFit(
            name=each.name, num_rows=each.num_rows, num_held_out=each.num_held_out, before_percent=_rounded(each.before_percent),
            after_percent=_rounded(each.after_percent), is_adopted=each.menu is not None, remark=each.choice,
        )
        for each in found
    )  # fmt: skip
    menus = {each.name: each.menu for each in found if each.menu is not None}
    return Fitted(classes=classes, menus=menus, errors={each.name: each.errors for each in found if each.menu is not None})


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 2)
